//! What an isolate keeps between requests. Every value is taken out and put back, or swapped, whole: a request that is killed
//! half-way leaves at worst an empty place, which the next one fills, and never a lock that nobody opens.

use std::{cell::Cell, rc::Rc};

use shared::{
    decide::{Memory, Verdict},
    policy::{ActivePolicy, Attempt, Freshness},
    time::UnixMillis,
};

use crate::{configuration::Configuration, entropy, metrics::Counters, store};

/// The policy in force, and when the origin last confirmed it.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub(crate) policy: Rc<ActivePolicy>,
    pub(crate) made_at: UnixMillis,
}

thread_local! {
    static CONFIGURATION: Cell<Option<Rc<Configuration>>> = const { Cell::new(None) };
    static IN_FORCE: Cell<Option<InForce>> = const { Cell::new(None) };
    static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
    static COUNTERS: Cell<Option<Box<Counters>>> = const { Cell::new(None) };
    static LAST_ATTEMPT: Cell<Option<Attempt>> = const { Cell::new(None) };
    static CHANGE_SEEN_AT: Cell<Option<UnixMillis>> = const { Cell::new(None) };
    static ASKED_FOR_KEY_AT: Cell<Option<UnixMillis>> = const { Cell::new(None) };
    static VERDICT: Cell<Option<Verdict>> = const { Cell::new(None) };
    static NAME: Cell<Option<Rc<str>>> = const { Cell::new(None) };
    static LAST_GOOD: Cell<Option<store::Copy>> = const { Cell::new(None) };
    static STORE_HAD_NOTHING: Cell<bool> = const { Cell::new(false) };
}

fn copy_of<T: Clone>(cell: &Cell<Option<T>>) -> Option<T> {
    let value = cell.take();
    cell.set(value.clone());
    value
}

/// What the edge was deployed with, once it has been read.
pub(crate) fn configuration() -> Option<Rc<Configuration>> {
    CONFIGURATION.with(copy_of)
}

/// Keeps the configuration.
pub(crate) fn keep_configuration(configuration: &Rc<Configuration>) {
    CONFIGURATION.set(Some(Rc::clone(configuration)));
}

/// The policy in force.
pub(crate) fn in_force() -> Option<InForce> {
    IN_FORCE.with(copy_of)
}

/// Puts a policy in force, or the same one with a later confirmation.
pub(crate) fn put_in_force(policy: InForce) {
    IN_FORCE.set(Some(policy));
}

/// Runs `work` with what is remembered of earlier requests.
pub(crate) fn with_memory<R>(work: impl FnOnce(&mut Memory) -> R) -> R {
    let mut memory = MEMORY.take().unwrap_or_else(|| {
        // Without randomness the key is known, and still no token can answer for another that its sender does not hold.
        Box::new(entropy::bytes16().map_or_else(Memory::default, Memory::new))
    });
    let result = work(&mut memory);
    MEMORY.set(Some(memory));
    result
}

/// Runs `work` with the counters.
pub(crate) fn with_counters<R>(work: impl FnOnce(&mut Counters) -> R) -> R {
    let mut counters = COUNTERS.take().unwrap_or_default();
    let result = work(&mut counters);
    COUNTERS.set(Some(counters));
    result
}

/// The last attempt to refresh the policy.
pub(crate) fn last_attempt() -> Option<Attempt> {
    LAST_ATTEMPT.get()
}

/// Notes an attempt to refresh, or with `None` that the last one succeeded.
pub(crate) fn note_attempt(attempt: Option<Attempt>) {
    LAST_ATTEMPT.set(attempt);
}

/// Notes that the origin accepted a change through this isolate.
pub(crate) fn note_change(now: UnixMillis) {
    CHANGE_SEEN_AT.set(Some(now));
}

/// When an unknown `kid` last made this isolate ask for a newer policy.
pub(crate) fn asked_for_key_at() -> Option<UnixMillis> {
    ASKED_FOR_KEY_AT.get()
}

/// Notes that an unknown `kid` makes this isolate ask.
pub(crate) fn note_asked_for_key(now: UnixMillis) {
    ASKED_FOR_KEY_AT.set(Some(now));
}

/// The isolate's name, which is fresh and tells nothing: the id of the first request for which it asked the origin.
pub(crate) fn name(request_id: &str) -> Rc<str> {
    NAME.with(copy_of).unwrap_or_else(|| {
        let name: Rc<str> = request_id.into();
        NAME.set(Some(Rc::clone(&name)));
        name
    })
}

/// Notes the verdict on the request that is judged, for whoever goes on with it before another one is judged.
pub(crate) fn note_verdict(verdict: Option<Verdict>) {
    VERDICT.set(verdict);
}

/// The noted verdict, which is not noted any more.
pub(crate) fn noted_verdict() -> Option<Verdict> {
    VERDICT.take()
}

/// The policy as it may be written into the store.
pub(crate) fn last_good() -> Option<store::Copy> {
    LAST_GOOD.with(copy_of)
}

/// Keeps the policy as it may be written into the store.
pub(crate) fn note_last_good(copy: Option<store::Copy>) {
    LAST_GOOD.set(copy);
}

/// Whether the store had no copy to go by when it was last asked.
pub(crate) fn store_had_nothing() -> bool {
    STORE_HAD_NOTHING.get()
}

/// Notes whether the store had a copy to go by.
pub(crate) fn note_store_had_nothing(had_nothing: bool) {
    STORE_HAD_NOTHING.set(had_nothing);
}

impl InForce {
    /// What is to be done before deciding by this policy.
    pub(crate) fn freshness(&self, now: UnixMillis) -> Freshness {
        let bounds = self.policy.policy.freshness;
        bounds.judge_after_change(self.made_at, now, LAST_ATTEMPT.get(), CHANGE_SEEN_AT.get())
    }
}
