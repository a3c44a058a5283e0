//! Limits, sizes and times.

use std::collections::HashSet;

use shared::gcra::Quota;
use shared::policy::{Limit, Tier};

use super::super::amount::Amount;
use super::super::file;
use super::Rules;

/// Limits in one place, at most: every one of them is counted for every request.
const LIMITS: usize = 8;
/// The largest bound of a body: a TiB.
const MAX_BODY_BYTES: u64 = 1 << 40;
/// The longest an upstream may be waited for, in milliseconds.
const MAX_TIMEOUT_MILLIS: u64 = 600_000;
/// Below this an edge would refuse while it only fetches the next policy; beyond the other it decides nothing at all.
const HARD_SECONDS: std::ops::RangeInclusive<u64> = 10..=300;

/// The bounds that a service and a route both can have.
pub(super) struct Bounds {
    pub(super) max_body_bytes: Option<u64>,
    pub(super) timeout_millis: Option<u32>,
    pub(super) hard_seconds: Option<u64>,
}

impl Rules {
    pub(super) fn bounds(
        &mut self,
        max_body: Option<Amount>,
        timeout: Option<Amount>,
        hard_limit: Option<Amount>,
    ) -> Bounds {
        let max_body_bytes = max_body.map(|amount| {
            self.at("max_body", |rules| {
                amount.bytes().filter(|bytes| *bytes <= MAX_BODY_BYTES).unwrap_or_else(|| {
                    rules.fault(
                        "a size is bytes, or a number with B, kB, MB, GB, KiB, MiB or GiB, up to 1024GiB",
                    );
                    0
                })
            })
        });
        let timeout_millis = timeout.map(|amount| {
            self.at("timeout", |rules| {
                let fits = |millis: &u64| (1..=MAX_TIMEOUT_MILLIS).contains(millis);
                amount.millis().filter(fits).and_then(|millis| u32::try_from(millis).ok()).unwrap_or_else(|| {
                    rules.fault("a timeout is 1ms to 10m, written like 500ms, 30s or 2m; a bare number is seconds");
                    0
                })
            })
        });
        let hard_seconds = hard_limit.map(|amount| {
            self.at("hard_limit", |rules| {
                whole_seconds(&amount).filter(|seconds| HARD_SECONDS.contains(seconds)).unwrap_or_else(|| {
                    rules.fault("a hard limit is 10s to 300s in whole seconds: how old the policy may be that decides");
                    0
                })
            })
        });
        Bounds { max_body_bytes, timeout_millis, hard_seconds }
    }

    pub(super) fn limits(&mut self, limits: Vec<file::Limit>) -> Vec<Limit> {
        self.at_most("limit", limits.len(), LIMITS);
        let mut seen = HashSet::new();
        self.each("limit", limits, |rules, limit| rules.limit(&limit, &mut seen))
    }

    fn limit(&mut self, limit: &file::Limit, seen: &mut HashSet<(&'static str, u32, bool)>) -> Limit {
        let requests =
            u32::try_from(limit.requests).ok().filter(|requests| (1..=1_000_000_000).contains(requests));
        if requests.is_none() {
            self.at("requests", |rules| {
                rules.fault("a limit lets 1 to 1000000000 requests through in a window");
            });
        }
        let window = whole_seconds(&limit.window)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| (1..=86_400).contains(seconds));
        if window.is_none() {
            self.at("window", |rules| {
                rules.fault("a window is 1s to 24h in whole seconds, written like 60s or 5m");
            });
        }
        let (requests, window_seconds) = (requests.unwrap_or(1), window.unwrap_or(1));
        if window.is_some() && !seen.insert((limit.by.name(), window_seconds, limit.tier == Tier::Exact)) {
            self.at("by", |rules| {
                rules.fault(format!(
                    "there are two limits by {} of the same window and tier; the smaller is enough",
                    limit.by.name()
                ));
            });
        }
        Limit { by: limit.by, quota: Quota { requests, window_seconds }, tier: limit.tier }
    }

    /// How long a preflight may be remembered.
    pub(super) fn max_age(&mut self, amount: Option<Amount>) -> u32 {
        let Some(amount) = amount else { return super::DEFAULT_MAX_AGE_SECONDS };
        let seconds = whole_seconds(&amount).and_then(|seconds| u32::try_from(seconds).ok());
        seconds.filter(|seconds| *seconds <= 86_400).unwrap_or_else(|| {
            self.at("max_age", |rules| {
                rules.fault("max_age is 0s to 24h in whole seconds, written like 600s or 10m");
            });
            0
        })
    }
}

fn whole_seconds(amount: &Amount) -> Option<u64> {
    amount.millis().filter(|millis| millis.is_multiple_of(1_000)).map(|millis| millis / 1_000)
}
