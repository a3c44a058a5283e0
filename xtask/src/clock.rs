//! Time in xtask. The only place that reads a clock; everything else asks here.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Measures how long a step takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring now.
    #[expect(clippy::disallowed_methods, reason = "the one place where xtask reads its clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A moment after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    started: Stopwatch,
    limit: Duration,
}

impl Deadline {
    /// A deadline `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { started: Stopwatch::start(), limit }
    }

    /// What is left, or `None` when the deadline has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        self.limit.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Tries `probe` every `interval` until it gives a value or `limit` has passed.
pub(crate) fn poll<T>(
    limit: Duration,
    interval: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        let left = deadline.remaining()?;
        std::thread::sleep(interval.min(left));
    }
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place where xtask reads its clock")]
pub(crate) fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis())
}

/// `1.2 s`, `350 ms`, `4 min 12 s`: how a duration is shown to people.
pub(crate) fn human(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..100_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        assert_eq!(human(Duration::from_millis(7)), "7 ms");
        assert_eq!(human(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(human(Duration::from_secs(252)), "4 min 12 s");
    }

    #[test]
    fn polling_ends_with_the_deadline() {
        assert_eq!(poll(Duration::from_millis(20), Duration::from_millis(5), || None::<()>), None);
        let mut tries = 0;
        let found = poll(Duration::from_secs(5), Duration::from_millis(1), || {
            tries += 1;
            (tries == 3).then_some(tries)
        });
        assert_eq!(found, Some(3));
    }
}
