//! What an upstream did with a request that was sent to it. It may not choose another one: `decide` does, once it is told.

use js_sys::{Object, futures::future_to_promise};
use shared::decide::Refusal;
use wasm_bindgen::prelude::*;
use worker_sys::Context;

use crate::{
    clock,
    deliberate::{self, Before, Platform},
    head::Head,
    isolate,
    respond::{self, Responder},
};

/// What to do with a request whose upstream did not answer: the plan of another forwarding, or a refusal, by a promise. `failed`
/// names all those that it was sent to in vain, a line each.
#[wasm_bindgen]
pub fn upstream_failed(
    head: String,
    failed: String,
    timed_out: bool,
    request: web_sys::Request,
    env: Object,
    context: Context,
) -> js_sys::Promise {
    isolate::with_counters(|counters| {
        counters.upstream_failure(if timed_out { "timed_out" } else { "unreachable" });
    });
    if let Some(base) = failed.lines().next_back() {
        isolate::with_memory(|memory| memory.upstream_failed(base, clock::now()));
    }
    let before = Before { verdict: None, failed_upstreams: failed, upstream_timed_out: timed_out };
    future_to_promise(deliberate::run(head, Platform { request, env, context }, before))
}

/// Takes note of an answer that says something of the upstream's health: a server's error, or whatever a probe brought.
#[wasm_bindgen]
pub fn upstream_answered(base: &str, status: u16) {
    let is_failure = matches!(status, 502..=504);
    if is_failure {
        isolate::with_counters(|counters| counters.upstream_failure("said_so"));
    }
    isolate::with_memory(|memory| {
        if is_failure {
            memory.upstream_failed(base, clock::now());
        } else {
            memory.upstream_answered(base);
        }
    });
}

/// The answer to a request whose body grew beyond `limit` bytes while it was sent on.
#[wasm_bindgen]
pub fn body_too_large(head: &str, limit: &str) -> Result<web_sys::Response, JsValue> {
    let head = Head::parse(head);
    let refusal = Refusal::body_too_large(limit);
    match isolate::configuration() {
        Some(configuration) => {
            let began = clock::now();
            Responder { configuration: &configuration, head: &head, began }.refuse(&refusal)
        }
        None => respond::rendered(&refusal.render("", head.request_id), head.method),
    }
}

/// Whether an upstream's `Set-Cookie` would set a cookie of the gateway's own. A browser may take a cookie without a name for one
/// whose name stands in its value, and the case of a prefix for the same.
#[wasm_bindgen]
pub fn is_own_cookie(set_cookie: &str) -> bool {
    const PREFIX: &str = "__Host-gateward_";
    let pair =
        set_cookie.trim_start_matches(|character: char| character.is_ascii_whitespace() || character == '=');
    pair.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_own_cookie_is_known() {
        for cookie in [
            "__Host-gateward_session=x; Path=/",
            " \t__host-Gateward_x=",
            "=__Host-gateward_session=x",
            "= =__Host-gateward_session",
        ] {
            assert!(is_own_cookie(cookie), "{cookie}");
        }
        for cookie in [
            "",
            "a=__Host-gateward_session",
            "__Host-gateward",
            "__Host-other=1",
            "ä__Host-gateward_session=1",
        ] {
            assert!(!is_own_cookie(cookie), "{cookie}");
        }
    }
}
