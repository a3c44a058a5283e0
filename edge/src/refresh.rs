//! Fetching the policy. It may not put anything in force that [`ActivePolicy`] does not accept.

use core::fmt;
use std::rc::Rc;

use js_sys::Object;
use shared::{
    policy::{
        ACKNOWLEDGEMENT_TARGET, ActivePolicy, Attempt, FILTER_HEADER, Freshness, PolicyFault,
        REFRESH_SECONDS, STATEMENT_HEADER, TARGET, age_counts_from,
    },
    time::UnixMillis,
};
use web_sys::Headers;

use crate::{
    body, clock,
    configuration::{Configuration, POLICY_STORE},
    isolate::{self, InForce},
    origin::{self, Body, ToSend},
    store,
};

/// The largest policy that is read, in bytes.
const MAX_POLICY_BYTES: usize = 16 * 1024 * 1024;
/// How long a request waits for its own refresh while an older policy could serve it, in milliseconds.
pub(crate) const REFRESH_MILLIS: u32 = REFRESH_SECONDS * 1_000;
/// How long a request waits for a policy without which it cannot be served, in milliseconds.
pub(crate) const LOAD_MILLIS: u32 = 3_000;

/// For whom the policy is fetched.
#[derive(Clone, Debug)]
pub(crate) struct OnBehalfOf {
    pub(crate) request_id: String,
    pub(crate) address: String,
}

#[derive(Debug)]
enum Outcome {
    /// Another version is in force.
    Changed,
    /// The one in force was confirmed.
    Unchanged,
    /// The origin did not answer in time.
    Unreachable,
    /// The origin answered with another status.
    Refused(u16),
    /// What it answered is not a policy to put in force.
    NotAccepted(PolicyFault),
}

impl Outcome {
    const fn label(&self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Unreachable => "unreachable",
            Self::Refused(_) => "refused",
            Self::NotAccepted(_) => "not_accepted",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed | Self::Unchanged => formatter.write_str(self.label()),
            Self::Unreachable => formatter.write_str("the origin did not answer in time"),
            Self::Refused(status) => {
                write!(
                    formatter,
                    "the origin answered {status}; does it know this edge's key, and is the clock right?"
                )
            }
            Self::NotAccepted(fault) => {
                write!(
                    formatter,
                    "what the origin sent is not a policy to put in force ({fault:?}); is POLICY_PUBLIC_KEY its key?"
                )
            }
        }
    }
}

/// Tries to have the origin's newest policy in force; what came of it stands in the isolate. Says whether that is another version than
/// before, which the origin wants to know ([`acknowledge`]).
pub(crate) async fn refresh(
    configuration: &Configuration,
    on_behalf_of: &OnBehalfOf,
    time_limit_millis: u32,
) -> bool {
    let attempt = Attempt::begin(clock::now(), isolate::last_attempt());
    isolate::note_attempt(Some(attempt));
    let outcome = fetch(configuration, on_behalf_of, time_limit_millis).await;
    isolate::with_counters(|counters| counters.refresh(outcome.label()));
    match outcome {
        Outcome::Changed | Outcome::Unchanged => isolate::note_attempt(None),
        Outcome::Unreachable | Outcome::Refused(_) | Outcome::NotAccepted(_) => {
            isolate::note_attempt(Some(attempt.fail(clock::now())));
            worker_sys::console_error!("the policy was not refreshed: {outcome}");
        }
    }
    matches!(outcome, Outcome::Changed)
}

/// Tells the origin which version this isolate decides by. If that is lost, the next refresh tells it as well.
pub(crate) async fn acknowledge(configuration: &Configuration, on_behalf_of: &OnBehalfOf) {
    let (Some(in_force), Ok(headers)) = (isolate::in_force(), Headers::new()) else { return };
    let to_send = ToSend {
        method: "POST",
        target: ACKNOWLEDGEMENT_TARGET,
        body: Body::Whole(Vec::new()),
        request_id: &on_behalf_of.request_id,
        address: &on_behalf_of.address,
        policy_version: in_force.policy.version,
        time_limit_millis: REFRESH_MILLIS,
    };
    let outcome = match origin::send(configuration, to_send, &headers).await {
        Ok(answer) if answer.ok() => "answered",
        Ok(_) => "refused",
        Err(_) => "unavailable",
    };
    isolate::with_counters(|counters| counters.look_up("acknowledgement", outcome));
}

async fn fetch(configuration: &Configuration, on_behalf_of: &OnBehalfOf, time_limit_millis: u32) -> Outcome {
    let before = isolate::in_force();
    let to_send = ToSend {
        method: "GET",
        target: TARGET,
        body: Body::Whole(Vec::new()),
        request_id: &on_behalf_of.request_id,
        address: &on_behalf_of.address,
        policy_version: before.as_ref().map_or(0, |before| before.policy.version),
        time_limit_millis,
    };
    let Ok(headers) = Headers::new() else { return Outcome::Unreachable };
    if let Some(before) = &before {
        let held =
            before.policy.filter().map_or(Ok(()), |filter| headers.set(FILTER_HEADER, filter.sha256()));
        let known = headers.set("if-none-match", &format!("\"{}\"", before.policy.version));
        if held.is_err() || known.is_err() {
            return Outcome::Unreachable;
        }
    }
    let Ok(answer) = origin::send(configuration, to_send, &headers).await else {
        return Outcome::Unreachable;
    };
    let statement = answer.headers().get(STATEMENT_HEADER).ok().flatten().unwrap_or_default();
    let content = match answer.status() {
        304 => None,
        200 => match body::read(answer.body(), MAX_POLICY_BYTES).await {
            Ok(content) => Some(content),
            Err(_) => return Outcome::Unreachable,
        },
        status => return Outcome::Refused(status),
    };
    // Another request may have put a newer one in force meanwhile.
    let current = isolate::in_force();
    let accepted = match (&content, &current) {
        (Some(content), current) => accept(configuration, &statement, content, current.as_ref(), None),
        (None, Some(current)) => current
            .policy
            .confirmed_at(&statement, &configuration.policy_key)
            .map(|made_at| age_counts_from(made_at, clock::now()))
            .map(|made_at| InForce { made_at: made_at.max(current.made_at), ..current.clone() }),
        (None, None) => return Outcome::Refused(304),
    };
    match accepted {
        Ok(accepted) => {
            let changed = current.is_none_or(|current| current.policy.version != accepted.policy.version);
            if configuration.has(POLICY_STORE) {
                keep_good(&accepted, statement, content.as_deref());
            }
            isolate::put_in_force(accepted);
            if changed { Outcome::Changed } else { Outcome::Unchanged }
        }
        // Two requests fetched side by side, and the other's newer policy arrived first: nothing failed.
        Err(PolicyFault::Older) if version_of(current.as_ref()) != version_of(before.as_ref()) => {
            Outcome::Unchanged
        }
        Err(fault) => Outcome::NotAccepted(fault),
    }
}

fn version_of(in_force: Option<&InForce>) -> Option<u64> {
    in_force.map(|in_force| in_force.policy.version)
}

/// Keeps what the store is to have: of a body, the line of the content; of a confirmation, the statement about the content before.
fn keep_good(accepted: &InForce, statement: String, body: Option<&[u8]>) {
    let before = isolate::last_good();
    let written = before.as_ref().and_then(|before| before.written);
    let content = match body {
        Some(body) => body.split(|byte| *byte == b'\n').next().map(Rc::from),
        None => {
            before.filter(|before| before.version == accepted.policy.version).map(|before| before.content)
        }
    };
    let (version, made_at) = (accepted.policy.version, accepted.made_at);
    isolate::note_last_good(content.map(|content| store::Copy {
        version,
        made_at,
        statement,
        content,
        written,
    }));
}

/// Has the store's copy of the policy in force, if it has one that may still be decided by.
pub(crate) async fn take_from_store(configuration: &Configuration, env: &Object) {
    let outcome = match store::read(env).await {
        None => None,
        Some(found) => {
            let current = isolate::in_force();
            let (statement, body) = (&found.statement, &found.body);
            match accept(configuration, statement, body, current.as_ref(), Some(found.made_at)) {
                Ok(copy) if copy.freshness(clock::now()) == Freshness::Expired => Some("too_old"),
                Ok(copy) => {
                    worker_sys::console_log!(
                        "the origin does not answer: version {} of the policy comes from the store",
                        copy.policy.version
                    );
                    isolate::put_in_force(copy);
                    Some("used")
                }
                Err(fault) => {
                    worker_sys::console_error!("the store's copy of the policy is not accepted ({fault:?})");
                    Some("not_accepted")
                }
            }
        }
    };
    isolate::note_store_had_nothing(outcome != Some("used"));
    if let Some(outcome) = outcome {
        isolate::with_counters(|counters| counters.look_up("policy_copy", outcome));
    }
}

/// Accepts a policy that came just now; `kept` says of one that was kept since when it ages at the latest.
fn accept(
    configuration: &Configuration,
    statement: &str,
    content: &[u8],
    current: Option<&InForce>,
    kept: Option<UnixMillis>,
) -> Result<InForce, PolicyFault> {
    let policy = ActivePolicy::accept(
        statement,
        content,
        &configuration.policy_key,
        &configuration.issuer,
        current.map(|current| &*current.policy),
    )?;
    let same_version = current.filter(|current| current.policy.version == policy.version);
    let made_at = age_counts_from(policy.made_at, clock::now());
    let made_at = kept.map_or(made_at, |kept| made_at.min(kept));
    let made_at = same_version.map_or(made_at, |current| current.made_at.max(made_at));
    Ok(InForce { policy: Rc::new(policy), made_at })
}
