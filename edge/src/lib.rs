//! The outer door: a worker that reads a request, asks [`shared::decide`] and does what it says. No rule may live here.
//!
//! `entry.mjs` calls [`judge`] once per request. What needs no I/O is answered at once: a good request to a project by the plan
//! of its forwarding, a refusal by a response. Everything else becomes a promise ([`deliberate`]).

mod access_log;
mod body;
mod certificate;
mod clock;
mod configuration;
mod deliberate;
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

use js_sys::{Object, futures::future_to_promise};
use shared::{
    decide::{Verdict, decide},
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

/// What to do with a request: the plan of its forwarding (text), a response, or a promise of either. `head` is what
/// [`head::Head::parse`] takes apart.
#[wasm_bindgen]
pub fn judge(
    head: String,
    request: web_sys::Request,
    env: Object,
    context: Context,
) -> Result<JsValue, JsValue> {
    let first = match first_verdict(&head)? {
        First::Answer(answer) => return Ok(answer),
        First::Verdict(verdict) => Some(verdict),
        First::NotYet => None,
    };
    let platform = Platform { request, env, context };
    let before = Before { verdict: first, ..Before::default() };
    Ok(future_to_promise(deliberate::run(head, platform, before)).into())
}

enum First {
    /// Nothing more is needed.
    Answer(JsValue),
    /// A verdict that asks for something, or for the origin.
    Verdict(Verdict),
    /// There is no policy to decide by yet, or it must be refreshed first.
    NotYet,
}

/// The verdict of a request that needs no I/O before it is decided.
fn first_verdict(head: &str) -> Result<First, JsValue> {
    let now = clock::now();
    let (Some(configuration), Some(in_force)) = (isolate::configuration(), isolate::in_force()) else {
        return Ok(First::NotYet);
    };
    if in_force.freshness(now) != Freshness::Serve {
        return Ok(First::NotYet);
    }
    let head = Head::parse(head);
    let verdict = first_decision(&configuration, &in_force, &head, now);
    let responder = Responder { configuration: &configuration, head: &head, began: now };
    let answer = answer_at_once(&responder, &verdict, Some(&in_force))?;
    Ok(answer.map_or(First::Verdict(verdict), First::Answer))
}

fn first_decision(
    configuration: &Configuration,
    in_force: &InForce,
    head: &Head<'_>,
    now: UnixMillis,
) -> Verdict {
    let peer = configuration.peer(head);
    isolate::with_memory(|memory| decide(&configuration.gate(in_force), &head.facts(&peer), memory, now))
}
