//! What only the origin knows, asked for one request: who a credential is, and whether something is revoked indeed. It may not
//! believe an answer: `decide` verifies the statement in it.

use serde_json::{Value, json};
use shared::decide::{Answer, ConfirmationQuestion, CredentialQuestion};
use web_sys::Headers;

use crate::{
    body,
    configuration::Configuration,
    isolate,
    origin::{self, Body, ToSend},
};

/// How long the origin may take to answer, in milliseconds: the caller waits for it.
const ANSWER_MILLIS: u32 = 2_000;
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// For whom the origin is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnBehalfOf<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) address: &'a str,
    pub(crate) policy_version: u64,
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A statement, not verified yet.
    Statement(String),
    /// The origin did not answer, or not in time, or not with a statement.
    Unavailable,
}

impl Found {
    pub(crate) fn as_answer(&self) -> Answer<'_> {
        match self {
            Self::Statement(statement) => Answer::Statement(statement),
            Self::Unavailable => Answer::Unavailable,
        }
    }
}

/// Asks who a credential is.
pub(crate) async fn credential(
    configuration: &Configuration,
    on_behalf_of: OnBehalfOf<'_>,
    question: &CredentialQuestion,
) -> Found {
    let question = json!({ "sha256": question.sha256 });
    ask(configuration, on_behalf_of, "credential", "/internal/credentials/resolve", &question).await
}

/// Asks which of the entries that the filter hit are revoked.
pub(crate) async fn confirmation(
    configuration: &Configuration,
    on_behalf_of: OnBehalfOf<'_>,
    question: &ConfirmationQuestion,
) -> Found {
    let question = json!({ "filter": question.filter, "entries": question.entries });
    ask(configuration, on_behalf_of, "confirmation", "/internal/revocations/confirm", &question).await
}

async fn ask(
    configuration: &Configuration,
    on_behalf_of: OnBehalfOf<'_>,
    kind: &'static str,
    target: &str,
    question: &Value,
) -> Found {
    let found = match statement(configuration, on_behalf_of, target, question).await {
        Ok(statement) => Found::Statement(statement),
        Err(reason) => {
            worker_sys::console_error!("look-up of a {kind}: {reason}");
            Found::Unavailable
        }
    };
    let outcome = match found {
        Found::Statement(_) => "answered",
        Found::Unavailable => "unavailable",
    };
    isolate::with_counters(|counters| counters.look_up(kind, outcome));
    found
}

async fn statement(
    configuration: &Configuration,
    on_behalf_of: OnBehalfOf<'_>,
    target: &str,
    question: &Value,
) -> Result<String, String> {
    let unsent = |_| "the question could not be written".to_owned();
    let headers = Headers::new().map_err(unsent)?;
    headers.set("content-type", "application/json").map_err(unsent)?;
    let to_send = ToSend {
        method: "POST",
        target,
        body: Body::Whole(question.to_string().into_bytes()),
        request_id: on_behalf_of.request_id,
        address: on_behalf_of.address,
        policy_version: on_behalf_of.policy_version,
        time_limit_millis: ANSWER_MILLIS,
    };
    let answer = origin::send(configuration, to_send, &headers)
        .await
        .map_err(|_| "the origin did not answer in time".to_owned())?;
    if answer.status() != 200 {
        return Err(format!("the origin answered {}", answer.status()));
    }
    let body = body::read(answer.body(), MAX_ANSWER_BYTES)
        .await
        .map_err(|fault| format!("the origin's answer could not be read ({fault:?})"))?;
    let answer: Value =
        serde_json::from_slice(&body).map_err(|_| "the origin's answer is not JSON".to_owned())?;
    let statement = answer.get("statement").and_then(Value::as_str).map(ToOwned::to_owned);
    statement.ok_or_else(|| "the origin's answer holds no statement".to_owned())
}
