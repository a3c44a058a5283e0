//! Requests that need I/O before or after they are decided: a policy, a body, a signature, the origin. It may not decide: it
//! fetches what a verdict asks for, adds it to the facts and asks again.

use std::rc::Rc;

use js_sys::{Object, Reflect, futures::future_to_promise};
use shared::{
    decide::{
        Facts, MAX_ORIGIN_BODY_BYTES, PlatformAnswer, QuestionId, Refusal, Verdict, decide,
        decide_without_policy, may_revoke, origin_unavailable,
    },
    policy::{Freshness, may_refresh_for_key},
    problem::ProblemType,
    time::UnixMillis,
};
use wasm_bindgen::prelude::*;
use worker_sys::Context;

use crate::{
    body::{self, BodyFault},
    clock,
    configuration::Configuration,
    head::Head,
    isolate::{self, InForce},
    origin,
    refresh::{self, OnBehalfOf},
    respond::{self, Responder, answer_at_once},
    signature,
};

/// How many look-ups one request may ask for: a form, a key, a signature, and the signature again when the policy changed meanwhile;
/// one more for the last decision.
const MAX_LOOK_UPS: usize = 5;

/// What the platform hands over with a request.
pub(crate) struct Platform {
    pub(crate) request: web_sys::Request,
    pub(crate) env: Object,
    pub(crate) context: Context,
}

/// What was looked up for a request so far.
#[derive(Default)]
struct LookedUp {
    form: Option<Vec<u8>>,
    signatures: Vec<(QuestionId, PlatformAnswer)>,
    refreshed: bool,
}

struct Deliberation<'a> {
    configuration: Rc<Configuration>,
    head: &'a Head<'a>,
    address: String,
    platform: Platform,
    began: UnixMillis,
}

/// Goes on until there is an answer: the plan of a forwarding, or a response. `first` is a verdict that was reached already.
pub(crate) async fn run(
    head: String,
    platform: Platform,
    first: Option<Verdict>,
) -> Result<JsValue, JsValue> {
    let began = clock::now();
    let head = Head::parse(&head);
    let configuration = match isolate::configuration() {
        Some(configuration) => configuration,
        None => match read_configuration(&platform.env) {
            Some(configuration) => configuration,
            None => return not_configured(&head),
        },
    };
    let address = head.address(&configuration.client_address);
    Deliberation { configuration, head: &head, address, platform, began }.run(first).await
}

impl Deliberation<'_> {
    async fn run(&self, first: Option<Verdict>) -> Result<JsValue, JsValue> {
        if first.is_none() {
            let token = self.configuration.metrics_token.as_ref();
            let without_policy = decide_without_policy(&self.facts(&LookedUp::default()), token);
            if matches!(without_policy, Verdict::Answer(_)) {
                self.refresh_beside();
                return self.answer(&without_policy, isolate::in_force().as_ref());
            }
            if !self.has_policy().await {
                return self.answer(&without_policy, None);
            }
        }
        let mut looked_up = LookedUp::default();
        let mut charged = first.is_some();
        let mut reached = first;
        for _ in 0..MAX_LOOK_UPS {
            let Some(in_force) = isolate::in_force() else { break };
            let verdict = reached.take().unwrap_or_else(|| {
                let mut facts = self.facts(&looked_up);
                facts.looked_up.already_charged = charged;
                let gate = self.configuration.gate(&in_force);
                isolate::with_memory(|memory| decide(&gate, &facts, memory, clock::now()))
            });
            charged = true;
            match verdict {
                Verdict::NeedsForm(limit) => {
                    // One byte more than a form may have, so that the next verdict can say so.
                    match body::read(self.platform.request.body(), limit.saturating_add(1)).await {
                        Ok(form) => looked_up.form = Some(form),
                        Err(fault) => return self.refuse(&refusal_of(&fault, limit)),
                    }
                }
                Verdict::NeedsKey => {
                    self.refresh_for_key().await;
                    looked_up.refreshed = true;
                }
                Verdict::NeedsSignature(question) => {
                    let answer = signature::check(&question).await;
                    looked_up.signatures.push((question.id(), answer));
                }
                Verdict::Origin(to_origin) => {
                    return self.forward(&in_force, &to_origin.target, looked_up).await;
                }
                // Nothing gives these yet.
                Verdict::NeedsCredential(_) | Verdict::NeedsConfirmation(_) | Verdict::NeedsCharge(_) => {
                    break;
                }
                Verdict::Refuse(_)
                | Verdict::Redirect(_)
                | Verdict::Answer(_)
                | Verdict::Preflight(_)
                | Verdict::Upstream(_) => {
                    return self.answer(&verdict, Some(&in_force));
                }
            }
        }
        self.refuse(&Refusal::problem(ProblemType::Internal, "The edge could not come to a decision."))
    }

    fn facts<'b>(&'b self, looked_up: &'b LookedUp) -> Facts<'b> {
        Facts {
            looked_up: shared::decide::LookedUp {
                form: looked_up.form.as_deref(),
                signatures: &looked_up.signatures,
                refreshed: looked_up.refreshed,
                ..shared::decide::LookedUp::default()
            },
            ..self.head.facts(&self.address)
        }
    }

    fn responder(&self) -> Responder<'_> {
        Responder { configuration: &self.configuration, head: self.head, began: self.began }
    }

    fn answer(&self, verdict: &Verdict, in_force: Option<&InForce>) -> Result<JsValue, JsValue> {
        let answer = answer_at_once(&self.responder(), verdict, in_force)?;
        answer.ok_or_else(|| "a verdict without an answer".into())
    }

    fn refuse(&self, refusal: &Refusal) -> Result<JsValue, JsValue> {
        self.responder().refuse(refusal).map(Into::into)
    }

    /// Whether there is a policy to decide by, once it has been refreshed as far as its age asks.
    async fn has_policy(&self) -> bool {
        let now = clock::now();
        match isolate::in_force().map(|in_force| in_force.freshness(now)) {
            Some(Freshness::Serve) => return true,
            Some(Freshness::ServeAndRefresh) => {
                self.refresh_beside();
                return true;
            }
            Some(Freshness::RefreshFirst) => self.refresh(refresh::REFRESH_MILLIS).await,
            Some(Freshness::Expired) | None
                if isolate::last_attempt().is_some_and(|last| last.just_failed(now)) =>
            {
                return false;
            }
            Some(Freshness::Expired) | None => self.refresh(refresh::LOAD_MILLIS).await,
        }
        isolate::in_force().is_some_and(|in_force| in_force.freshness(clock::now()) != Freshness::Expired)
    }

    fn on_behalf_of(&self) -> OnBehalfOf {
        OnBehalfOf { request_id: self.head.request_id.to_owned(), address: self.address.clone() }
    }

    async fn refresh(&self, time_limit_millis: u32) {
        refresh::refresh(&self.configuration, &self.on_behalf_of(), time_limit_millis).await;
    }

    /// An unknown `kid` may be a new key's: asks for a newer policy, unless another one just did.
    async fn refresh_for_key(&self) {
        let now = clock::now();
        if may_refresh_for_key(now, isolate::asked_for_key_at()) {
            isolate::note_asked_for_key(now);
            self.refresh(refresh::REFRESH_MILLIS).await;
        }
    }

    /// Refreshes while this request is answered; the platform keeps the request's I/O alive for it.
    fn refresh_beside(&self) {
        let now = clock::now();
        if isolate::last_attempt().is_some_and(|last| last.just_failed(now) || last.is_under_way(now)) {
            return;
        }
        let (configuration, on_behalf_of) = (Rc::clone(&self.configuration), self.on_behalf_of());
        let refresh = future_to_promise(async move {
            refresh::refresh(&configuration, &on_behalf_of, refresh::LOAD_MILLIS).await;
            Ok(JsValue::UNDEFINED)
        });
        if self.platform.context.wait_until(&refresh).is_err() {
            worker_sys::console_error!("the platform took no background work");
        }
    }

    /// Forwards to the origin what was read of the body for the decision, or else the body.
    async fn forward(
        &self,
        in_force: &InForce,
        target: &str,
        looked_up: LookedUp,
    ) -> Result<JsValue, JsValue> {
        let body = match looked_up.form {
            Some(form) => form,
            None if matches!(self.head.method, "GET" | "HEAD") => Vec::new(),
            None => match body::read(self.platform.request.body(), MAX_ORIGIN_BODY_BYTES).await {
                Ok(body) => body,
                Err(fault) => return self.refuse(&refusal_of(&fault, MAX_ORIGIN_BODY_BYTES)),
            },
        };
        let version = in_force.policy.version;
        let answer =
            origin::forward(&self.configuration, self.head, target, body, &self.address, version).await;
        match answer {
            Ok(answer) => {
                let accepted = answer.status() < 400;
                if accepted && may_revoke(self.head.method, target) {
                    isolate::note_change(clock::now());
                }
                Ok(self.responder().record("to_origin", answer).into())
            }
            Err(fault) => {
                worker_sys::console_error!(
                    "the origin did not answer: {}",
                    String::from(Object::from(fault).to_string())
                );
                self.refuse(&origin_unavailable(&self.facts(&LookedUp::default())))
            }
        }
    }
}

fn refusal_of(fault: &BodyFault, limit: usize) -> Refusal {
    match fault {
        BodyFault::TooLarge => Refusal::body_too_large(limit),
        BodyFault::Broken => {
            Refusal::problem(ProblemType::RequestMalformed, "The body broke off before its end.")
        }
    }
}

/// Reads the bindings and keeps them; `None` when some are wrong, which the log then lists.
fn read_configuration(env: &Object) -> Option<Rc<Configuration>> {
    let read = |name: &str| Reflect::get(env, &name.into()).ok().and_then(|binding| binding.as_string());
    match Configuration::read(read) {
        Ok(configuration) => {
            let configuration = Rc::new(configuration);
            isolate::keep_configuration(&configuration);
            Some(configuration)
        }
        Err(faults) => {
            for fault in faults {
                worker_sys::console_error!("configuration: {fault}");
            }
            None
        }
    }
}

fn not_configured(head: &Head<'_>) -> Result<JsValue, JsValue> {
    let refusal =
        Refusal::problem(ProblemType::Internal, "The edge is not configured; its log lists every fault.");
    respond::rendered(&refusal.render("", head.request_id), head.method).map(Into::into)
}
