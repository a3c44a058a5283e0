//! What an upstream did with a request that was sent to it. It may not choose another one: `decide` does, once it is told.

use js_sys::{Object, futures::future_to_promise};
use shared::decide::Refusal;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, RequestInit, RequestRedirect, WorkerGlobalScope};
use worker_sys::Context;

use crate::{
    answer, clock,
    deliberate::{self, Before, Platform},
    head::Head,
    isolate,
    respond::Responder,
};

/// How long an upstream may take to say that it is there, in milliseconds.
const ANSWER_MILLIS: u32 = 2_000;

/// What to do with a request whose upstream did not answer: the plan of another forwarding, or a refusal, by a promise. `began` is
/// when it was sent first, in Unix milliseconds; `failed` names all those that it was sent to in vain, a line each.
#[wasm_bindgen]
pub fn upstream_failed(
    head: String,
    began: f64,
    failed: String,
    timed_out: bool,
    request: web_sys::Request,
    env: Object,
    context: Context,
) -> js_sys::Promise {
    let kind = if timed_out { "timed_out" } else { "unreachable" };
    if let Some(base) = failed.lines().next_back() {
        if request.body().is_none() {
            blame(base, kind);
        } else {
            blame_after_asking(base.to_owned(), kind, &context);
        }
    }
    let before = Before {
        began: Some(clock::at(began)),
        failed_upstreams: failed,
        upstream_timed_out: timed_out,
        ..Before::default()
    };
    future_to_promise(deliberate::run(head, Platform { request, env, context }, before))
}

fn blame(base: &str, kind: &'static str) {
    isolate::with_counters(|counters| counters.upstream_failure(kind));
    isolate::with_memory(|memory| memory.upstream_failed(base, clock::now()));
}

/// A body that breaks off or tarries at the caller's end looks like an upstream that failed. So that no caller can have one left
/// alone, the upstream is asked itself first, beside the answer to the caller.
fn blame_after_asking(base: String, kind: &'static str, context: &Context) {
    let asking = future_to_promise(async move {
        if answers(&base).await.is_err() {
            blame(&base, kind);
        } else {
            isolate::with_counters(|counters| counters.upstream_failure("body"));
        }
        Ok(JsValue::UNDEFINED)
    });
    if context.wait_until(&asking).is_err() {
        worker_sys::console_error!("the platform took no background work");
    }
}

/// Whether an upstream answers at all; whatever it says.
async fn answers(base: &str) -> Result<(), JsValue> {
    let init = RequestInit::new();
    init.set_method("HEAD");
    init.set_redirect(RequestRedirect::Manual);
    init.set_signal(Some(&AbortSignal::timeout_with_u32(ANSWER_MILLIS)));
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    JsFuture::from(scope.fetch_with_str_and_init(base, &init)).await.map(drop)
}

/// Takes note of an answer that says something of the upstream's health: a server's error, or whatever a probe brought.
#[wasm_bindgen]
pub fn upstream_answered(base: &str, status: u16, is_probe: bool) {
    let is_failure = matches!(status, 502..=504);
    if is_failure {
        blame(base, "said_so");
    } else if is_probe {
        isolate::with_memory(|memory| memory.upstream_answered(base));
    }
}

/// Takes note of how long an upstream took to begin its answer, in milliseconds; less than nothing when the clock was set back.
#[wasm_bindgen]
pub fn upstream_took(millis: i32) {
    isolate::with_counters(|counters| counters.upstream_took(millis.max(0).unsigned_abs()));
}

/// The answer to a request whose body grew beyond `limit` bytes while it was sent on.
#[wasm_bindgen]
pub fn body_too_large(head: &str, began: f64, limit: &str) -> Option<String> {
    let head = Head::parse(head);
    let refusal = Refusal::body_too_large(limit);
    match isolate::configuration() {
        Some(configuration) => {
            let began = clock::at(began);
            Responder { configuration: &configuration, head: &head, began }.refuse(&refusal)
        }
        None => answer::write(&refusal.render("", head.request_id), head.method),
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
