//! How much a destination is given at a time that takes its events one by one: about as much as it takes before the forwarder would
//! think it away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A number of rows that follows what was possible.
#[derive(Debug)]
pub(super) struct Pace {
    rows: AtomicUsize,
    most: usize,
}

impl Pace {
    /// Begins with `first` rows and never goes past `most`.
    pub(super) fn new(first: usize, most: usize) -> Self {
        Self { rows: AtomicUsize::new(first), most }
    }

    /// The rows of the next call.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    /// Learns from a call of `rows` rows of which `delivered` were taken: half as much where there was no time for all of them, twice
    /// as much where a full call took less than half of `window`.
    pub(super) fn learn(
        &self,
        window: Duration,
        took: Duration,
        rows: usize,
        delivered: usize,
        ran_out: bool,
    ) {
        let size = self.rows();
        let next = if ran_out {
            delivered.min(size) / 2
        } else if rows >= size && took < window / 2 {
            size * 2
        } else {
            size
        };
        self.rows.store(next.clamp(1, self.most), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_was_possible_within_its_bounds() {
        let second = Duration::from_secs(1);
        let pace = Pace::new(32, 100);
        pace.learn(second, second / 4, 32, 32, false);
        assert_eq!(pace.rows(), 64);
        pace.learn(second, second / 4, 20, 20, false);
        assert_eq!(pace.rows(), 64, "it was not full");
        pace.learn(second, second, 64, 64, false);
        assert_eq!(pace.rows(), 64, "there was no time for more");
        pace.learn(second, second / 4, 64, 64, false);
        assert_eq!(pace.rows(), 100);
        pace.learn(second, second * 2, 100, 7, true);
        assert_eq!(pace.rows(), 3);
        pace.learn(second, second * 2, 3, 0, true);
        assert_eq!(pace.rows(), 1);
    }
}
