//! The outer door: a worker that reads a request, asks [`shared::decide`] and does what it says. No rule may live here.
//!
//! `entry.mjs` calls [`judge`] once per request, with the request's head on the desk. What needs no I/O is answered at once, by a
//! text: a good request to a project by the plan of its forwarding, a refusal by the answer. Everything else becomes a promise
//! ([`deliberate()`]).

mod access_log;
mod answer;
mod body;
mod certificate;
mod clock;
mod configuration;
mod deliberate;
mod desk;
mod entropy;
mod exact;
mod head;
mod isolate;
mod location;
mod lookup;
mod metrics;
mod origin;
mod plan;
mod refresh;
mod respond;
mod signature;
mod store;
mod upstream;

pub use exact::{arrivals_over_until, count_exactly};
pub use upstream::{body_too_large, is_own_cookie, upstream_answered, upstream_failed, upstream_took};

use js_sys::{Object, Promise, futures::future_to_promise};
use shared::{
    decide::{Document, Facts, LookedUp, Verdict, decide, is_counted_by_location},
    policy::Freshness,
    time::UnixMillis,
};
use wasm_bindgen::prelude::*;
use worker_sys::Context;

use crate::{
    configuration::Configuration,
    deliberate::{Before, Platform},
    head::Head,
    isolate::InForce,
    respond::{Responder, answer_at_once},
};

/// Where the desk stands in this module's memory, and so where the entry writes and reads.
#[wasm_bindgen]
pub fn desk_address() -> usize {
    desk::address()
}

/// How many bytes the desk has.
#[wasm_bindgen]
pub fn desk_bytes() -> usize {
    desk::BYTES
}

/// The names of the headers that a plan sets, a line each: see [`plan`].
#[wasm_bindgen]
pub fn header_names() -> String {
    plan::names()
}

/// What to do with the request whose head lies on the desk ([`head::Head::parse`]): the length of the text that lies there afterwards,
/// or 0 where only [`deliberate()`] can tell. The text is the plan of a forwarding ([`plan`]), an answer ([`answer`]), or `b`:
/// the body is wanted first, for [`judge_form`].
#[wasm_bindgen]
pub fn judge(head_bytes: usize) -> usize {
    isolate::note_verdict(None);
    desk::exchange(|desk| first_answer(str::from_utf8(desk.get(..head_bytes)?).ok()?, None))
}

/// As [`judge`], for a request whose body was asked for; it lies behind the head.
#[wasm_bindgen]
pub fn judge_form(head_bytes: usize, form_bytes: usize) -> usize {
    isolate::note_verdict(None);
    desk::exchange(|desk| {
        let (head, rest) = desk.split_at_checked(head_bytes)?;
        first_answer(str::from_utf8(head).ok()?, Some(rest.get(..form_bytes)?))
    })
}

/// What to do with a request, by a promise: a text as of [`judge`], or a response. `form` is its body, if that was read; `is_counted`
/// says that it was judged for that.
#[wasm_bindgen]
pub fn deliberate(
    head: String,
    form: Option<Vec<u8>>,
    is_counted: bool,
    request: web_sys::Request,
    env: Object,
    context: Context,
) -> Promise {
    let before = Before { verdict: isolate::noted_verdict(), is_counted, form, ..Before::default() };
    future_to_promise(deliberate::run(head, Platform { request, env, context }, before))
}

/// The answer to a request that needs no I/O before it is decided. Where there is none, the verdict is noted, if there was one.
fn first_answer(head: &str, form: Option<&[u8]>) -> Option<String> {
    let now = clock::now();
    let (configuration, in_force) = (isolate::configuration()?, isolate::in_force()?);
    if in_force.freshness(now) != Freshness::Serve {
        return None;
    }
    let head = Head::parse(head);
    let verdict = first_decision(&configuration, &in_force, &head, form, now);
    let responder = Responder { configuration: &configuration, head: &head, began: now };
    let answer = match &verdict {
        Verdict::NeedsForm(limit) => ask_for_body(&configuration, &head, *limit),
        // As long as they like.
        Verdict::Answer(Document::Metrics | Document::ServerMetadata | Document::JwkSet) => None,
        verdict => answer_at_once(&responder, verdict, Some(&in_force)),
    };
    if answer.is_none() {
        isolate::note_verdict(Some(verdict));
    }
    answer
}

/// Has the entry read a body whose length is announced, to which the platform holds the caller, and that a form may have: a byte more
/// than that can be said to be too much. Nothing where somebody else counts the request first.
fn ask_for_body(configuration: &Configuration, head: &Head<'_>, limit: usize) -> Option<String> {
    let announced = head.header("content-length")?.trim().parse::<usize>().ok()?;
    let is_counted_elsewhere =
        configuration.has(location::BINDING) && is_counted_by_location(head.method, head.target);
    (announced <= limit && !is_counted_elsewhere).then(|| "b".into())
}

fn first_decision(
    configuration: &Configuration,
    in_force: &InForce,
    head: &Head<'_>,
    form: Option<&[u8]>,
    now: UnixMillis,
) -> Verdict {
    let peer = configuration.peer(head);
    // A request whose body was asked for was counted then.
    let looked_up = LookedUp { form, already_charged: form.is_some(), ..LookedUp::default() };
    let facts = Facts { looked_up, ..head.facts(&peer) };
    isolate::with_memory(|memory| decide(&configuration.gate(in_force), &facts, memory, now))
}
