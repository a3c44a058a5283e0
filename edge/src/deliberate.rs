//! Requests that need I/O before or after they are decided: a policy, a body, a signature, the origin. It may not decide: it
//! fetches what a verdict asks for, adds it to the facts and asks again.

use std::rc::Rc;

use js_sys::{Object, Reflect, futures::future_to_promise};
use shared::{
    decide::{
        ChargeAnswer, Facts, MAX_ORIGIN_BODY_BYTES, PlatformAnswer, QuestionId, Refusal, ToOrigin, Verdict,
        decide, decide_without_policy, is_counted_by_location, may_revoke, origin_unavailable,
        refused_by_location,
    },
    policy::{Freshness, may_refresh_for_key},
    problem::ProblemType,
    time::UnixMillis,
};
use wasm_bindgen::prelude::*;
use worker_sys::Context;

use crate::{
    answer,
    body::{self, BodyFault},
    clock,
    configuration::{Binding, Configuration, POLICY_STORE},
    exact,
    head::{Head, Peer},
    isolate::{self, InForce},
    location,
    lookup::{self, Found},
    origin::{self, Body},
    refresh::{self, OnBehalfOf},
    respond::{Responder, answer_at_once},
    signature, store,
};

/// How many look-ups one request may ask for: a form, a key, a credential, a signature and another one of a proof, a confirmation and
/// a count; signature and confirmation again when the policy changed meanwhile; one more for the last decision.
const MAX_LOOK_UPS: usize = 10;

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
    credential: Option<Found>,
    confirmation: Option<Found>,
    charges: Vec<ChargeAnswer>,
    refreshed: bool,
}

/// How far a request has come already.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// When it came, if not just now.
    pub(crate) began: Option<UnixMillis>,
    /// A verdict that was reached.
    pub(crate) verdict: Option<Verdict>,
    /// Whether it was counted.
    pub(crate) is_counted: bool,
    /// Its body, where that was read.
    pub(crate) form: Option<Vec<u8>>,
    /// Upstreams that did not answer it, a line each.
    pub(crate) failed_upstreams: String,
    /// Whether the last of them took too long.
    pub(crate) upstream_timed_out: bool,
}

struct Deliberation<'a> {
    configuration: Rc<Configuration>,
    head: &'a Head<'a>,
    peer: Peer,
    platform: Platform,
    began: UnixMillis,
    failed_upstreams: Vec<&'a str>,
    upstream_timed_out: bool,
}

/// Goes on until there is an answer: the plan of a forwarding, or a response.
pub(crate) async fn run(head: String, platform: Platform, before: Before) -> Result<JsValue, JsValue> {
    let Before { began, verdict, is_counted, form, failed_upstreams, upstream_timed_out } = before;
    let began = began.unwrap_or_else(clock::now);
    let head = Head::parse(&head);
    let configuration = match isolate::configuration() {
        Some(configuration) => configuration,
        None => match read_configuration(&platform.env) {
            Some(configuration) => configuration,
            None => return not_configured(&head),
        },
    };
    let peer = configuration.peer(&head);
    let failed_upstreams: Vec<&str> = failed_upstreams.lines().collect();
    let deliberation = Deliberation {
        configuration,
        head: &head,
        peer,
        platform,
        began,
        failed_upstreams,
        upstream_timed_out,
    };
    deliberation.run(verdict, is_counted, form).await
}

impl Deliberation<'_> {
    async fn read_body(&self, limit: usize) -> Result<Vec<u8>, BodyFault> {
        body::of_request(&self.platform.request, self.head.header("content-length"), limit).await
    }

    async fn run(
        &self,
        first: Option<Verdict>,
        is_counted: bool,
        form: Option<Vec<u8>>,
    ) -> Result<JsValue, JsValue> {
        let is_repeated = !self.failed_upstreams.is_empty();
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
        if let Some(refusal) = self.refusal_of_location().await {
            return self.refuse(&refusal);
        }
        let mut looked_up = LookedUp { form, ..LookedUp::default() };
        let mut is_counted = is_counted || first.is_some() || is_repeated;
        let mut reached = first;
        for _ in 0..MAX_LOOK_UPS {
            let Some(in_force) = isolate::in_force() else { break };
            let verdict = reached.take().unwrap_or_else(|| {
                let mut facts = self.facts(&looked_up);
                facts.looked_up.already_charged = is_counted;
                let gate = self.configuration.gate(&in_force);
                isolate::with_memory(|memory| decide(&gate, &facts, memory, clock::now()))
            });
            is_counted = true;
            match verdict {
                Verdict::NeedsForm(limit) => {
                    // One byte more than a form may have, so that the next verdict can say so.
                    match self.read_body(limit.saturating_add(1)).await {
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
                Verdict::NeedsCredential(question) => {
                    let on_behalf_of = self.asking(&in_force);
                    let found = lookup::credential(&self.configuration, on_behalf_of, &question).await;
                    looked_up.credential = Some(found);
                }
                Verdict::NeedsConfirmation(question) => {
                    let on_behalf_of = self.asking(&in_force);
                    let found = lookup::confirmation(&self.configuration, on_behalf_of, &question).await;
                    looked_up.confirmation = Some(found);
                }
                Verdict::NeedsCharge(charges) => {
                    looked_up.charges.extend(exact::charge(&self.platform.env, &charges).await);
                }
                Verdict::Origin(to_origin) => return self.forward(&in_force, &to_origin, looked_up).await,
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

    /// The refusal of a request that its location has counted too often; without such a limit there is none.
    async fn refusal_of_location(&self) -> Option<Refusal> {
        let is_counted = self.configuration.has(location::BINDING)
            && is_counted_by_location(self.head.method, self.head.target);
        if !is_counted {
            return None;
        }
        let key = self.facts(&LookedUp::default()).address_bytes();
        let key = format!("{:032x}", u128::from_be_bytes(key));
        refused_by_location(location::allows(&self.platform.env, &key).await)
    }

    fn facts<'b>(&'b self, looked_up: &'b LookedUp) -> Facts<'b> {
        Facts {
            looked_up: shared::decide::LookedUp {
                form: looked_up.form.as_deref(),
                signatures: &looked_up.signatures,
                credential: looked_up.credential.as_ref().map(Found::as_answer),
                confirmation: looked_up.confirmation.as_ref().map(Found::as_answer),
                charges: &looked_up.charges,
                refreshed: looked_up.refreshed,
                already_charged: false,
                failed_upstreams: &self.failed_upstreams,
                upstream_timed_out: self.upstream_timed_out,
            },
            ..self.head.facts(&self.peer)
        }
    }

    fn responder(&self) -> Responder<'_> {
        Responder { configuration: &self.configuration, head: self.head, began: self.began }
    }

    fn answer(&self, verdict: &Verdict, in_force: Option<&InForce>) -> Result<JsValue, JsValue> {
        said(answer_at_once(&self.responder(), verdict, in_force))
    }

    fn refuse(&self, refusal: &Refusal) -> Result<JsValue, JsValue> {
        said(self.responder().refuse(refusal))
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
            Some(Freshness::Expired) | None => self.load().await,
        }
        isolate::in_force().is_some_and(|in_force| in_force.freshness(clock::now()) != Freshness::Expired)
    }

    fn on_behalf_of(&self) -> OnBehalfOf {
        OnBehalfOf { request_id: self.head.request_id.to_owned(), address: self.peer.address.clone() }
    }

    fn asking(&self, in_force: &InForce) -> lookup::OnBehalfOf<'_> {
        lookup::OnBehalfOf {
            request_id: self.head.request_id,
            address: &self.peer.address,
            policy_version: in_force.policy.version,
        }
    }

    async fn refresh(&self, time_limit_millis: u32) {
        let (configuration, on_behalf_of) = (Rc::clone(&self.configuration), self.on_behalf_of());
        let changed = refresh::refresh(&configuration, &on_behalf_of, time_limit_millis).await;
        if changed || store::is_due(clock::now()) {
            let env = self.platform.env.clone();
            self.go_on_beside(after_refresh(configuration, on_behalf_of, env, changed));
        }
    }

    /// Has a policy in force where there is none to decide by: the origin's, or else the store's copy. With a copy to hope for, the
    /// origin is not waited for as long.
    async fn load(&self) {
        let has_store = self.configuration.has(POLICY_STORE);
        let hopes_for_copy = has_store && !isolate::store_had_nothing();
        self.refresh(if hopes_for_copy { refresh::REFRESH_MILLIS } else { refresh::LOAD_MILLIS }).await;
        let is_served = || {
            isolate::in_force().is_some_and(|in_force| in_force.freshness(clock::now()) != Freshness::Expired)
        };
        if has_store && !is_served() {
            refresh::take_from_store(&self.configuration, &self.platform.env).await;
            if hopes_for_copy && !is_served() {
                // There was none: the origin has all the time that it has without a store.
                self.refresh(refresh::LOAD_MILLIS).await;
            }
        }
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
        let env = self.platform.env.clone();
        self.go_on_beside(async move {
            // This request's answer first: what signing and asking take is not its business.
            clock::next_turn().await;
            let now = clock::now();
            if isolate::last_attempt().is_some_and(|last| last.just_failed(now) || last.is_under_way(now)) {
                return;
            }
            let changed = refresh::refresh(&configuration, &on_behalf_of, refresh::LOAD_MILLIS).await;
            after_refresh(configuration, on_behalf_of, env, changed).await;
        });
    }

    /// Goes on with something while this request is answered, and after it.
    fn go_on_beside(&self, work: impl Future<Output = ()> + 'static) {
        let work = future_to_promise(async move {
            work.await;
            Ok(JsValue::UNDEFINED)
        });
        if self.platform.context.wait_until(&work).is_err() {
            worker_sys::console_error!("the platform took no background work");
        }
    }

    /// Forwards to the origin what was read of the body for the decision, or else the body.
    async fn forward(
        &self,
        in_force: &InForce,
        to_origin: &ToOrigin,
        looked_up: LookedUp,
    ) -> Result<JsValue, JsValue> {
        let ToOrigin { target, answer: edits, max_streamed_bytes } = to_origin;
        let body = match looked_up.form {
            Some(form) => Body::Whole(form),
            None if matches!(self.head.method, "GET" | "HEAD") => Body::Whole(Vec::new()),
            // An announced length was judged with the head; the origin counts what comes without one.
            None if max_streamed_bytes.is_some() => Body::Streamed(self.platform.request.body()),
            None => match self.read_body(MAX_ORIGIN_BODY_BYTES).await {
                Ok(body) => Body::Whole(body),
                Err(fault) => return self.refuse(&refusal_of(&fault, MAX_ORIGIN_BODY_BYTES)),
            },
        };
        let version = in_force.policy.version;
        let answer =
            origin::forward(&self.configuration, self.head, target, body, &self.peer.address, version).await;
        match answer {
            Ok(answer) => {
                for (name, value) in edits {
                    answer.headers().set(name, value)?;
                }
                let accepted = answer.status() < 400;
                if accepted && may_revoke(self.head.method, target) {
                    isolate::note_change(clock::now());
                }
                self.responder().record("to_origin", answer.status());
                Ok(answer.into())
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

/// What follows a refresh that succeeded, for whoever starts next and for the origin.
async fn after_refresh(
    configuration: Rc<Configuration>,
    on_behalf_of: OnBehalfOf,
    env: Object,
    changed: bool,
) {
    if changed {
        refresh::acknowledge(&configuration, &on_behalf_of).await;
    }
    store::write_if_due(&env).await;
}

/// A text for the entry to act on.
fn said(text: Option<String>) -> Result<JsValue, JsValue> {
    text.map(Into::into).ok_or_else(|| "a verdict without an answer".into())
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
    let read = |name: &str| {
        let binding = Reflect::get(env, &name.into()).ok()?;
        match binding.as_string() {
            Some(text) => Some(Binding::Text(text)),
            None => binding.is_object().then_some(Binding::Object),
        }
    };
    match Configuration::read(read) {
        Ok(configuration) => {
            if let Some(missing) = configuration.missing() {
                worker_sys::console_log!("{missing}");
            }
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
    said(answer::write(&refusal.render("", head.request_id), head.method))
}
