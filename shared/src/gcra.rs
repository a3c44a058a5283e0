//! The Generic Cell Rate Algorithm (ITU-T I.371), as a quota of requests in a window. It may not keep state: the
//! theoretical arrival time goes in and comes out. Approximate where every isolate keeps its own state.

use serde::{Deserialize, Serialize};

use crate::time::UnixMillis;

/// `requests` at once, refilled evenly over `window_seconds` (draft-ietf-httpapi-ratelimit-headers: `q` and `w`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Requests in a window, and in a burst. 0 lets nothing through.
    pub requests: u32,
    /// Length of the window in seconds; 0 counts as 1.
    pub window_seconds: u32,
}

/// Theoretical arrival time in microseconds since the epoch: all the state one key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalTime(u64);

impl ArrivalTime {
    /// The time that [`Self::micros`] gave.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch, for whoever keeps states elsewhere.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The latest state that is over at `now`.
    pub const fn over_until(now: UnixMillis) -> Self {
        Self(now.0.saturating_mul(1000))
    }

    /// Whether a key with this state has its full quota again at `now`, so that the state may be forgotten.
    pub const fn is_over(self, now: UnixMillis) -> bool {
        self.0 <= Self::over_until(now).0
    }
}

/// What the quota says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the request is within the quota.
    pub allowed: bool,
    /// The state to keep; unchanged by a refused request.
    pub state: ArrivalTime,
    /// Requests that would pass at once after this one.
    pub remaining: u32,
    /// Seconds until the quota is whole again, rounded up.
    pub reset_seconds: u64,
    /// Seconds until one request would pass, rounded up; 0 when this one did.
    pub retry_after_seconds: u64,
}

impl Quota {
    /// Judges one request at `now`; `state` is what the last request of the same key left, if it is remembered.
    pub fn check(self, state: Option<ArrivalTime>, now: UnixMillis) -> Outcome {
        let now = now.0.saturating_mul(1000);
        let window = u64::from(self.window_seconds.max(1)).saturating_mul(1_000_000);
        // A state further ahead than one window can only come from a clock that was set back: it is forgotten.
        let arrival = state
            .map(|state| state.0)
            .filter(|at| *at <= now.saturating_add(window))
            .map_or(now, |at| at.max(now));
        let Some(interval) = window.checked_div(u64::from(self.requests)) else {
            let wait = window.div_ceil(1_000_000);
            return Outcome {
                allowed: false,
                state: ArrivalTime(arrival),
                remaining: 0,
                reset_seconds: wait,
                retry_after_seconds: wait,
            };
        };
        let next = arrival.saturating_add(interval);
        let ahead = next.saturating_sub(now);
        let allowed = ahead <= window;
        let kept = if allowed { next } else { arrival };
        let used = kept.saturating_sub(now);
        let remaining = window.saturating_sub(used).checked_div(interval.max(1)).unwrap_or_default();
        Outcome {
            allowed,
            state: ArrivalTime(kept),
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX).min(self.requests),
            reset_seconds: used.div_ceil(1_000_000),
            retry_after_seconds: if allowed {
                0
            } else {
                ahead.saturating_sub(window).div_ceil(1_000_000).max(1)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { requests: 3, window_seconds: 60 };

    #[test]
    fn a_burst_then_an_even_refill() {
        let start = UnixMillis(1_000_000);
        let mut state = None;
        for remaining in [2, 1, 0] {
            let outcome = QUOTA.check(state, start);
            assert!(outcome.allowed);
            assert_eq!(outcome.remaining, remaining);
            state = Some(outcome.state);
        }
        let refused = QUOTA.check(state, start);
        assert_eq!((refused.allowed, refused.retry_after_seconds, refused.reset_seconds), (false, 20, 60));
        assert_eq!(Some(refused.state), state);
        assert!(!QUOTA.check(state, start.plus_millis(19_999)).allowed);
        assert!(QUOTA.check(state, start.plus_millis(20_000)).allowed);
        assert!(
            refused.state.is_over(start.plus_millis(60_000))
                && !refused.state.is_over(start.plus_millis(59_999))
        );
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let start = UnixMillis(10_000_000);
        let outcome = QUOTA.check(None, start);
        assert!(QUOTA.check(Some(outcome.state), UnixMillis(1_000_000)).allowed);
    }

    #[test]
    fn a_quota_of_nothing_lets_nothing_through() {
        let outcome = Quota { requests: 0, window_seconds: 10 }.check(None, UnixMillis(5));
        assert_eq!((outcome.allowed, outcome.retry_after_seconds), (false, 10));
    }

    proptest! {
        /// In any window no more than twice the quota passes (a burst and a refill), and what is refused costs nothing.
        #[test]
        fn never_more_than_a_burst_and_a_refill(gaps in proptest::collection::vec(0u64..5_000, 1..400)) {
            let quota = Quota { requests: 10, window_seconds: 10 };
            let (mut now, mut state, mut passed) = (UnixMillis(1_700_000_000_000), None, std::vec::Vec::new());
            for gap in gaps {
                now = now.plus_millis(gap);
                let outcome = quota.check(state, now);
                state = Some(outcome.state);
                if outcome.allowed {
                    passed.push(now.0);
                }
                prop_assert!(outcome.allowed || outcome.retry_after_seconds >= 1);
                prop_assert!(outcome.allowed || quota.check(state, now.plus_millis(outcome.retry_after_seconds * 1000)).allowed);
            }
            for (index, from) in passed.iter().enumerate() {
                let within = passed[index..].iter().filter(|at| **at < from + 10_000).count();
                prop_assert!(within <= 20);
            }
        }
    }
}
