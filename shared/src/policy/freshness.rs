//! How old a policy may be. It may not fetch: it says what the shell must do before it decides.
//!
//! Age counts from when the policy was made. Young: serve. Older than `soft_seconds`: serve while this request refreshes in
//! the background. Older than `stale_seconds`: refresh first, so that a revocation bites within the published bound even
//! after a quiet hour; while the origin cannot be reached, serve on. Older than `hard_seconds`: refuse.

use serde::{Deserialize, Serialize};

use crate::time::UnixMillis;

/// How long a request waits for its own refresh while an older policy could serve it, in seconds.
pub const REFRESH_SECONDS: u32 = 1;
/// After a failed refresh, how long other requests go on without trying again, in milliseconds.
const RETRY_AFTER_MILLIS: u64 = 1_000;
/// How long one refresh may take before another request starts its own, in milliseconds. A request may be killed in
/// mid-flight, so that no flag may say for ever that somebody is refreshing.
const ATTEMPT_MILLIS: u64 = 2_000;

/// How long after an unknown `kid` made us ask, no other one does, in milliseconds: anybody can invent one.
const UNKNOWN_KEY_COOLDOWN_MILLIS: u64 = 5_000;

/// Whether a token's unknown `kid` may make this isolate ask for a newer policy; `last` is when one last did.
pub fn may_refresh_for_key(now: UnixMillis, last: Option<UnixMillis>) -> bool {
    last.is_none_or(|last| now.since(last) >= UNKNOWN_KEY_COOLDOWN_MILLIS)
}

/// Ages, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshnessBounds {
    /// Up to this age nothing is fetched.
    pub soft_seconds: u64,
    /// From this age a request waits for its own refresh before it is decided.
    pub stale_seconds: u64,
    /// From this age nothing is decided by it.
    pub hard_seconds: u64,
}

impl Default for FreshnessBounds {
    fn default() -> Self {
        Self { soft_seconds: 3, stale_seconds: 5, hard_seconds: 300 }
    }
}

/// The last refresh that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began; of a failed one, when it failed.
    pub at: UnixMillis,
    /// Whether it is known to have failed.
    pub failed: bool,
    /// Whether the one before it had failed: then one request tries, and the others do not wait for an origin that is gone.
    pub after_failure: bool,
}

impl Attempt {
    /// An attempt that begins at `now`, after `last`.
    pub fn begin(now: UnixMillis, last: Option<Self>) -> Self {
        let after_failure = last.is_some_and(|last| last.failed || last.after_failure);
        Self { at: now, failed: false, after_failure }
    }

    /// This attempt, which failed at `now`.
    #[must_use]
    pub const fn fail(self, now: UnixMillis) -> Self {
        Self { at: now, failed: true, ..self }
    }

    /// Whether other requests may go on with a stale policy: the origin did not answer just now, or did not last time and is
    /// being tried again.
    pub fn excuses(&self, now: UnixMillis) -> bool {
        self.just_failed(now) || (self.after_failure && self.is_under_way(now))
    }

    /// Whether it failed so recently that nobody should try again yet.
    pub fn just_failed(&self, now: UnixMillis) -> bool {
        self.failed && now.since(self.at) < RETRY_AFTER_MILLIS
    }

    /// Whether somebody is at it, as far as can be known.
    pub fn is_under_way(&self, now: UnixMillis) -> bool {
        !self.failed && now.since(self.at) < ATTEMPT_MILLIS
    }
}

/// What to do before deciding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Decide.
    Serve,
    /// Decide, and refresh beside it.
    ServeAndRefresh,
    /// Refresh, then decide: by the new policy, or by this one if the origin cannot be reached.
    RefreshFirst,
    /// Refresh, then decide: by the new policy or not at all.
    Expired,
}

/// From when the age of a policy counts: when it was made, by the origin's clock; when it arrived, where that clock is ahead of
/// ours. Otherwise a policy "made" in an hour would be young, and never looked at again, until then.
#[must_use]
pub fn age_counts_from(made_at: UnixMillis, arrived_at: UnixMillis) -> UnixMillis {
    made_at.min(arrived_at)
}

impl FreshnessBounds {
    /// How long a revocation may take to bite while the origin can be reached, in seconds: as long as an older policy serves without
    /// a look, and as long as the look may take.
    pub fn revocation_bound_seconds(&self) -> u64 {
        self.stale_seconds.saturating_add(REFRESH_SECONDS.into())
    }

    /// Like [`Self::judge`], in an isolate that saw the origin accept a change at `changed_at`: a policy made before that is
    /// refreshed by the next request before its decision, for as long as another isolate may take to learn of the change. Those
    /// that come while it does go on.
    pub fn judge_after_change(
        &self,
        made_at: UnixMillis,
        now: UnixMillis,
        last: Option<Attempt>,
        changed_at: Option<UnixMillis>,
    ) -> Freshness {
        let out_of_date = changed_at.is_some_and(|changed_at| {
            made_at <= changed_at && now.since(changed_at) < self.stale_seconds.saturating_mul(1000)
        });
        match self.judge(made_at, now, last) {
            Freshness::Serve | Freshness::ServeAndRefresh
                if last.is_some_and(|last| last.just_failed(now) || last.is_under_way(now)) =>
            {
                Freshness::Serve
            }
            Freshness::Serve | Freshness::ServeAndRefresh if out_of_date => Freshness::RefreshFirst,
            judged => judged,
        }
    }

    /// Judges a policy made at `made_at`; `last` is the isolate's last attempt to refresh.
    pub fn judge(&self, made_at: UnixMillis, now: UnixMillis, last: Option<Attempt>) -> Freshness {
        let age = now.since(made_at);
        let exceeds = |seconds: u64| age >= seconds.saturating_mul(1000);
        let somebody_tries = last.is_some_and(|last| last.is_under_way(now));
        let is_excused = last.is_some_and(|last| last.excuses(now));
        if exceeds(self.hard_seconds) {
            Freshness::Expired
        } else if !exceeds(self.soft_seconds) || is_excused {
            Freshness::Serve
        } else if exceeds(self.stale_seconds) {
            Freshness::RefreshFirst
        } else if somebody_tries {
            Freshness::Serve
        } else {
            Freshness::ServeAndRefresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_whose_clock_is_ahead_is_asked_again_all_the_same() {
        let arrived = UnixMillis(1_000_000);
        let from = age_counts_from(arrived.plus_millis(3_600_000), arrived);
        assert_eq!(
            FreshnessBounds::default().judge(from, arrived.plus_millis(5_000), None),
            Freshness::RefreshFirst
        );
        // One that is behind gives no policy a second youth.
        assert_eq!(age_counts_from(UnixMillis(5), arrived), UnixMillis(5));
    }

    #[test]
    fn each_age_has_its_duty() {
        let bounds = FreshnessBounds::default();
        let made = UnixMillis(1_000_000);
        let judge = |age: u64, last: Option<Attempt>| bounds.judge(made, made.plus_millis(age), last);
        assert_eq!(judge(0, None), Freshness::Serve);
        assert_eq!(judge(2_999, None), Freshness::Serve);
        assert_eq!(judge(3_000, None), Freshness::ServeAndRefresh);
        assert_eq!(judge(5_000, None), Freshness::RefreshFirst);
        assert_eq!(judge(299_999, None), Freshness::RefreshFirst);
        assert_eq!(judge(300_000, None), Freshness::Expired);
        // A clock behind the origin's sees a policy of age 0, not a panic.
        assert_eq!(bounds.judge(made, UnixMillis(0), None), Freshness::Serve);
    }

    #[test]
    fn a_change_seen_here_is_looked_for_at_once() {
        let bounds = FreshnessBounds::default();
        let made = UnixMillis(1_000_000);
        let judge = |age: u64, last: Option<Attempt>, changed_after: u64| {
            bounds.judge_after_change(
                made,
                made.plus_millis(age),
                last,
                Some(made.plus_millis(changed_after)),
            )
        };
        assert_eq!(judge(100, None, 50), Freshness::RefreshFirst);
        assert_eq!(judge(100, None, 0), Freshness::RefreshFirst);
        assert_eq!(judge(4_000, None, 3_000), Freshness::RefreshFirst);
        // Somebody does so already.
        let under_way = Attempt::begin(made.plus_millis(60), None);
        assert_eq!(judge(100, Some(under_way), 50), Freshness::Serve);
        assert_eq!(judge(3_000, Some(under_way), 50), Freshness::RefreshFirst);
        // A policy that was made after the change has it.
        let before = UnixMillis(made.0 - 1);
        assert_eq!(bounds.judge_after_change(made, made, None, Some(before)), Freshness::Serve);
        // An origin that cannot be reached, or whose clock is behind, does not make every request wait.
        let failed = Attempt { at: made.plus_millis(90), failed: true, after_failure: false };
        assert_eq!(judge(100, Some(failed), 50), Freshness::Serve);
        let ahead = made.plus_millis(6_000);
        assert_eq!(
            bounds.judge_after_change(
                ahead.plus_millis(0),
                ahead.plus_millis(1_000),
                None,
                Some(made.plus_millis(1_000))
            ),
            Freshness::Serve
        );
        assert_eq!(
            bounds.judge_after_change(made, made.plus_millis(300_000), None, Some(made)),
            Freshness::Expired
        );
    }

    #[test]
    fn an_invented_kid_asks_once_in_a_while() {
        let now = UnixMillis(1_000_000);
        assert!(may_refresh_for_key(now, None));
        assert!(!may_refresh_for_key(now.plus_millis(4_999), Some(now)));
        assert!(may_refresh_for_key(now.plus_millis(5_000), Some(now)));
    }

    fn judge_late(bounds: &FreshnessBounds, made: UnixMillis, now: UnixMillis, last: Attempt) -> Freshness {
        bounds.judge(made, now, Some(last))
    }

    #[test]
    fn one_request_refreshes_and_an_outage_does_not_slow_the_others() {
        let bounds = FreshnessBounds::default();
        let made = UnixMillis(1_000_000);
        let now = made.plus_millis(4_000);
        let trying = Attempt { at: UnixMillis(now.0 - 100), failed: false, after_failure: false };
        assert_eq!(bounds.judge(made, now, Some(trying)), Freshness::Serve);
        // Whoever was refreshing never came back: the next one takes over.
        let lost = Attempt { at: UnixMillis(now.0 - 2_000), failed: false, after_failure: false };
        assert_eq!(bounds.judge(made, now, Some(lost)), Freshness::ServeAndRefresh);
        let late = made.plus_millis(60_000);
        let failed = Attempt { at: UnixMillis(late.0 - 500), failed: true, after_failure: false };
        assert_eq!(bounds.judge(made, late, Some(failed)), Freshness::Serve);
        let failed_long_ago = Attempt { at: UnixMillis(late.0 - 1_000), failed: true, after_failure: false };
        assert_eq!(bounds.judge(made, late, Some(failed_long_ago)), Freshness::RefreshFirst);
        // The origin was gone: one request tries it again, the others do not wait.
        let again = Attempt::begin(late, Some(failed_long_ago));
        assert_eq!(judge_late(&bounds, made, late.plus_millis(1_999), again), Freshness::Serve);
        assert_eq!(judge_late(&bounds, made, late.plus_millis(2_000), again), Freshness::RefreshFirst);
        assert_eq!(
            judge_late(&bounds, made, late.plus_millis(2_000), again.fail(late.plus_millis(1_500))),
            Freshness::Serve
        );
        // It was there a moment ago: everybody waits, so that a revocation bites.
        assert_eq!(
            judge_late(&bounds, made, late.plus_millis(10), Attempt::begin(late, None)),
            Freshness::RefreshFirst
        );
        // Past the hard limit nothing excuses.
        assert_eq!(bounds.judge(made, made.plus_millis(300_000), Some(failed)), Freshness::Expired);
    }
}
