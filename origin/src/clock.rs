//! Time and randomness as values that are handed in. The only place of the binary that reads either from its surroundings;
//! `clippy.toml` bans it everywhere else. It may not hold any state but a test's own clock.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

/// Where the wall clock is read. Cloning is cheap, and clones of a manual clock are the same clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that stands still until it is moved, in microseconds since the Unix epoch.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `at` until [`Clock::advance`] moves it.
    pub fn fixed(at: OffsetDateTime) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(microseconds(at))))
    }

    /// The time in UTC, to the microsecond, which is what Postgres keeps: a time survives being stored and read again.
    #[allow(clippy::disallowed_methods, reason = "the one place of this binary that reads the wall clock")]
    pub fn now(&self) -> OffsetDateTime {
        let micros = match self {
            Self::System => microseconds(OffsetDateTime::now_utc()),
            Self::Manual(at) => at.load(Ordering::SeqCst),
        };
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Whole seconds since the Unix epoch, as JWT claims count them (RFC 7519, 2).
    pub fn unix_seconds(&self) -> u64 {
        u64::try_from(self.now().unix_timestamp()).unwrap_or(0)
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_millis(&self) -> u64 {
        u64::try_from(self.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
    }

    /// A monotonic instant, for measuring how long something took on this machine. Never moved by [`Clock::advance`].
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place of this binary that reads the monotonic clock"
    )]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Moves a manual clock forward. The machine's clock is not moved.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(at) = self {
            at.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

fn microseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// Where random bytes come from.
#[derive(Clone, Debug)]
pub enum Randomness {
    /// The operating system's generator.
    System,
    /// A reproducible stream for tests; predictable, so never for anything that leaves a test.
    Seeded(Arc<AtomicU64>),
}

impl Randomness {
    /// A reproducible stream.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(AtomicU64::new(seed)))
    }

    /// `N` random bytes. A machine that cannot give any cannot run an auth gateway: the process aborts.
    #[allow(clippy::disallowed_methods, reason = "the one place of this binary that draws randomness")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0_u8; N];
        match self {
            Self::System => {
                if let Err(error) = getrandom::fill(&mut bytes) {
                    tracing::error!(%error, "the operating system gives no random bytes; stopping");
                    std::process::abort();
                }
            }
            Self::Seeded(counter) => {
                for chunk in bytes.chunks_mut(32) {
                    let block = Sha256::digest(counter.fetch_add(1, Ordering::SeqCst).to_be_bytes());
                    for (to, from) in chunk.iter_mut().zip(block) {
                        *to = from;
                    }
                }
            }
        }
        bytes
    }

    /// A UUID of version 7 (RFC 9562, 5.7): it sorts by the time it was made.
    pub fn uuid(&self, clock: &Clock) -> Uuid {
        uuid::Builder::from_unix_timestamp_millis(clock.unix_millis(), &self.bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_for_all_its_clones() {
        let clock = Clock::fixed(time::macros::datetime!(2026-11-21 10:00:00.123_456_789 UTC));
        assert_eq!(clock.now(), time::macros::datetime!(2026-11-21 10:00:00.123_456 UTC));
        clock.clone().advance(Duration::from_secs(90));
        assert_eq!(clock.now(), time::macros::datetime!(2026-11-21 10:01:30.123_456 UTC));
    }

    #[test]
    fn seeded_randomness_repeats_and_the_machine_does_not() {
        assert_eq!(Randomness::seeded(7).bytes::<40>(), Randomness::seeded(7).bytes::<40>());
        assert_ne!(Randomness::System.bytes::<32>(), Randomness::System.bytes::<32>());
    }

    #[test]
    fn identifiers_are_of_version_7_and_sort_by_time() {
        let (clock, randomness) =
            (Clock::fixed(time::macros::datetime!(2026-11-21 10:00 UTC)), Randomness::System);
        let first = randomness.uuid(&clock);
        clock.advance(Duration::from_millis(1));
        assert_eq!(first.get_version_num(), 7);
        assert!(first < randomness.uuid(&clock));
    }
}
