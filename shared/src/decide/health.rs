//! Which upstream takes a request: by weight, near by before far away, and not one that failed just now. It may not know why an
//! upstream failed; it forgets nobody's failure because another one was well.

use alloc::string::String;

use crate::{bounded::BoundedMap, policy::Upstream, time::UnixMillis};

/// Failures within [`WINDOW_MILLIS`] after which an upstream is left alone.
const FAILURES: u8 = 3;
/// How long a failure counts, in milliseconds.
const WINDOW_MILLIS: u64 = 10_000;
/// How long an upstream is left alone the first time, in milliseconds; doubled each time a probe fails.
const FIRST_EJECTION_MILLIS: u64 = 2_000;
/// How long at most.
const LONGEST_EJECTION_MILLIS: u64 = 60_000;
/// How long a probe may take before another request becomes one, in milliseconds.
const PROBE_MILLIS: u64 = 5_000;
/// Upstreams whose health is kept, per generation: an upstream that is well needs no entry.
const ENTRIES: usize = 1_024;

/// The health of upstreams, as this door sees it.
pub(super) struct Health {
    ailing: BoundedMap<String, Ailment>,
    turn: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ailment {
    failures: u8,
    last_failure: UnixMillis,
    /// Until when it is left alone.
    ejected_until: Option<UnixMillis>,
    ejections: u8,
    probed_at: Option<UnixMillis>,
}

/// The upstream that takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen<'a> {
    pub(super) upstream: &'a Upstream,
    /// It was left alone, and this request finds out whether it is well again.
    pub(super) is_probe: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self { ailing: BoundedMap::new(ENTRIES), turn: 0 }
    }
}

impl Health {
    /// Chooses among `upstreams`, but for those of `excluded`; `None` when there is no other.
    pub(super) fn choose<'a>(
        &mut self,
        upstreams: &'a [Upstream],
        region: Option<&str>,
        excluded: &[&str],
        now: UnixMillis,
    ) -> Option<Chosen<'a>> {
        // The usual case costs nothing.
        if let ([only], []) = (upstreams, excluded)
            && self.ailing.is_empty()
        {
            return Some(Chosen { upstream: only, is_probe: false });
        }
        let left = |upstream: &&Upstream| !excluded.contains(&upstream.url.as_str());
        if let Some(upstream) = upstreams.iter().filter(left).find(|upstream| self.is_due(&upstream.url, now))
        {
            self.note_probe(&upstream.url, now);
            return Some(Chosen { upstream, is_probe: true });
        }
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        let well = |upstream: &&Upstream| left(upstream) && !self.is_ejected(&upstream.url);
        let near = |upstream: &&Upstream| region.is_some() && upstream.region.as_deref() == region;
        let weighs = |upstream: &&Upstream| upstream.weight > 0;
        // With all of them ejected any is better than none: the ejection may be the network's fault here.
        let chosen = by_weight(upstreams, |one| well(one) && weighs(one) && near(one), turn)
            .or_else(|| by_weight(upstreams, |one| well(one) && weighs(one), turn))
            .or_else(|| upstreams.iter().find(well))
            .or_else(|| by_weight(upstreams, |one| left(one) && weighs(one), turn))
            .or_else(|| upstreams.iter().find(left))?;
        Some(Chosen { upstream: chosen, is_probe: self.is_ejected(&chosen.url) })
    }

    /// Notes that an upstream failed: it did not answer, not in time, or said that it cannot (502, 503, 504).
    pub(super) fn failed(&mut self, base: &str, now: UnixMillis) {
        let before = self.ailing.get(&String::from(base)).copied();
        let recent = before.filter(|ailment| {
            ailment.ejected_until.is_some() || now.since(ailment.last_failure) < WINDOW_MILLIS
        });
        let mut ailment = recent.unwrap_or(Ailment {
            failures: 0,
            last_failure: now,
            ejected_until: None,
            ejections: 0,
            probed_at: None,
        });
        ailment.failures = ailment.failures.saturating_add(1);
        ailment.last_failure = now;
        let probe_failed = ailment.ejected_until.is_some_and(|until| now >= until);
        if probe_failed || (ailment.ejected_until.is_none() && ailment.failures >= FAILURES) {
            let pause = FIRST_EJECTION_MILLIS
                .saturating_mul(1_u64.checked_shl(ailment.ejections.into()).unwrap_or(u64::MAX))
                .min(LONGEST_EJECTION_MILLIS);
            ailment.ejected_until = Some(now.plus_millis(pause));
            ailment.ejections = ailment.ejections.saturating_add(1);
            ailment.probed_at = None;
        }
        self.ailing.insert(base.into(), ailment);
    }

    /// Notes that an upstream answered a probe: it is well.
    pub(super) fn answered(&mut self, base: &str) {
        self.ailing.remove(&String::from(base));
    }

    /// How many upstreams are left alone.
    pub(super) fn ejected(&self) -> usize {
        self.ailing.values().filter(|ailment| ailment.ejected_until.is_some()).count()
    }

    fn of(&self, base: &str) -> Option<&Ailment> {
        if self.ailing.is_empty() { None } else { self.ailing.get(&String::from(base)) }
    }

    fn is_ejected(&self, base: &str) -> bool {
        self.of(base).is_some_and(|ailment| ailment.ejected_until.is_some())
    }

    /// Whether it was left alone long enough, and nobody is probing it.
    fn is_due(&self, base: &str, now: UnixMillis) -> bool {
        self.of(base).is_some_and(|ailment| {
            ailment.ejected_until.is_some_and(|until| now >= until)
                && ailment.probed_at.is_none_or(|at| now.since(at) >= PROBE_MILLIS)
        })
    }

    fn note_probe(&mut self, base: &str, now: UnixMillis) {
        if let Some(ailment) = self.of(base).copied() {
            self.ailing.insert(base.into(), Ailment { probed_at: Some(now), ..ailment });
        }
    }
}

/// One of those that `may` take it, in proportion to weight. The turns of a door are spread by multiples of the golden ratio, which
/// stays even for any one service however its requests lie between others'.
fn by_weight(upstreams: &[Upstream], may: impl Fn(&&Upstream) -> bool, turn: u64) -> Option<&Upstream> {
    let total: u64 = upstreams.iter().filter(&may).map(|upstream| u64::from(upstream.weight)).sum();
    let spread = u128::from(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut place = u64::try_from(spread.saturating_mul(total.into()) >> 64).unwrap_or_default();
    upstreams.iter().filter(may).find(|upstream| match place.checked_sub(upstream.weight.into()) {
        Some(rest) => {
            place = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec::Vec};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn upstream(url: &str, weight: u32, region: Option<&str>) -> Upstream {
        Upstream { url: url.into(), weight, region: region.map(Into::into) }
    }

    fn counts(
        health: &mut Health,
        upstreams: &[Upstream],
        region: Option<&str>,
        now: UnixMillis,
    ) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..1_000 {
            let chosen = health.choose(upstreams, region, &[], now).unwrap();
            *counts.entry(chosen.upstream.url.clone()).or_default() += 1;
        }
        counts
    }

    fn fail(health: &mut Health, url: &str, now: UnixMillis) {
        for _ in 0..FAILURES {
            health.failed(url, now);
        }
    }

    #[test]
    fn shares_follow_the_weights_whatever_lies_between() {
        let upstreams = [upstream("a", 3, None), upstream("b", 1, None), upstream("c", 0, None)];
        let mut health = Health::default();
        let shares = counts(&mut health, &upstreams, None, NOW);
        assert!((740..=760).contains(&shares["a"]) && shares["a"] + shares["b"] == 1_000, "{shares:?}");
        // Another service takes every second turn.
        let two = [upstream("x", 1, None), upstream("y", 1, None)];
        let mut first = 0;
        for _ in 0..1_000 {
            first += u32::from(health.choose(&two, None, &[], NOW).unwrap().upstream.url == "x");
            health.choose(&upstreams, None, &[], NOW);
        }
        assert!((450..=550).contains(&first), "{first}");
    }

    #[test]
    fn the_own_region_first_and_another_when_it_is_down() {
        let upstreams =
            [upstream("eu", 1, Some("eu")), upstream("us", 9, Some("us")), upstream("any", 1, None)];
        let mut health = Health::default();
        assert_eq!(counts(&mut health, &upstreams, Some("eu"), NOW), BTreeMap::from([("eu".into(), 1_000)]));
        let elsewhere = counts(&mut health, &upstreams, Some("ap"), NOW);
        assert!(elsewhere["us"] > 700 && elsewhere.len() == 3, "{elsewhere:?}");
        fail(&mut health, "eu", NOW);
        let without = counts(&mut health, &upstreams, Some("eu"), NOW);
        assert!(!without.contains_key("eu") && without.len() == 2, "{without:?}");
    }

    #[test]
    fn ejected_on_errors_and_back_after_a_probe() {
        let upstreams = [upstream("a", 1, None), upstream("b", 1, None)];
        let mut health = Health::default();
        health.failed("a", NOW);
        health.failed("a", NOW);
        assert_eq!(counts(&mut health, &upstreams, None, NOW).len(), 2);
        // Failures that lie apart do not add up.
        health.failed("a", NOW.plus_millis(WINDOW_MILLIS));
        assert_eq!(health.ejected(), 0);
        let now = NOW.plus_millis(20_000);
        fail(&mut health, "a", now);
        assert_eq!(counts(&mut health, &upstreams, None, now), BTreeMap::from([("b".into(), 1_000)]));
        // After its time one request probes, and no other one meanwhile.
        let later = now.plus_millis(FIRST_EJECTION_MILLIS);
        let probe = health.choose(&upstreams, None, &[], later).unwrap();
        assert_eq!((probe.upstream.url.as_str(), probe.is_probe), ("a", true));
        assert_eq!(counts(&mut health, &upstreams, None, later), BTreeMap::from([("b".into(), 1_000)]));
        // A failed probe: twice as long.
        health.failed("a", later);
        let again = later.plus_millis(FIRST_EJECTION_MILLIS);
        assert_eq!(counts(&mut health, &upstreams, None, again), BTreeMap::from([("b".into(), 1_000)]));
        let twice = later.plus_millis(FIRST_EJECTION_MILLIS * 2);
        assert!(health.choose(&upstreams, None, &[], twice).unwrap().is_probe);
        health.answered("a");
        assert_eq!(counts(&mut health, &upstreams, None, twice).len(), 2);
        assert_eq!(health.ejected(), 0);
    }

    #[test]
    fn a_probe_that_never_comes_back_is_replaced() {
        let upstreams = [upstream("a", 1, None), upstream("b", 1, None)];
        let mut health = Health::default();
        fail(&mut health, "a", NOW);
        let due = NOW.plus_millis(FIRST_EJECTION_MILLIS);
        assert!(health.choose(&upstreams, None, &[], due).unwrap().is_probe);
        assert!(!health.choose(&upstreams, None, &[], due.plus_millis(PROBE_MILLIS - 1)).unwrap().is_probe);
        assert!(health.choose(&upstreams, None, &[], due.plus_millis(PROBE_MILLIS)).unwrap().is_probe);
    }

    #[test]
    fn with_all_ejected_any_is_tried_and_a_failed_one_not_again() {
        let upstreams = [upstream("a", 1, None), upstream("b", 1, None)];
        let mut health = Health::default();
        fail(&mut health, "a", NOW);
        fail(&mut health, "b", NOW);
        assert_eq!(counts(&mut health, &upstreams, None, NOW).len(), 2);
        let other: Vec<_> = (0..10)
            .map(|_| health.choose(&upstreams, None, &["a"], NOW).unwrap().upstream.url.clone())
            .collect();
        assert!(other.iter().all(|url| url == "b"));
        assert_eq!(health.choose(&upstreams, None, &["a", "b"], NOW), None);
        assert_eq!(health.choose(&[], None, &[], NOW), None);
    }
}
