//! What is wrong with a webhook, or with a row of a backfill, by the field it is wrong with. No value that was sent may be in it.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use shared::{decide::Refusal, problem::ProblemType};

use crate::{
    database::{DatabaseError, sqlstate},
    events::AppendError,
    http::{Origin, Refused},
};

/// One field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldFault {
    /// The member's name, or the path to it; never anything that could itself be a secret.
    pub(super) field: String,
    /// What is wrong with it, and what would be right.
    pub(super) why: &'static str,
}

/// The kinds of fault that one record can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// It is no unambiguous JSON object.
    Malformed,
    /// A field is missing, or is not what it must be.
    Field,
    /// Something in it looks like a credential itself.
    RawKey,
    /// It claims what another record has.
    Conflict,
    /// It is too long.
    TooLong,
}

impl FaultKind {
    /// The problem it is told as.
    pub(super) const fn problem(self) -> ProblemType {
        match self {
            Self::Malformed => ProblemType::RequestMalformed,
            Self::Field => ProblemType::SyncRefused,
            Self::RawKey => ProblemType::RawKeyRefused,
            Self::Conflict => ProblemType::SyncConflict,
            Self::TooLong => ProblemType::BodyTooLarge,
        }
    }

    /// The label it is counted under.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Field => "field",
            Self::RawKey => "raw_key",
            Self::Conflict => "conflict",
            Self::TooLong => "too_large",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => {
                "The record must be one JSON object without duplicate members, at most eight levels deep."
            }
            Self::Field => {
                "Nothing was changed. \"faults\" names each field that is missing or not what it must be."
            }
            Self::RawKey => {
                "Nothing was changed. \"faults\" names the field: send hashes only, and rotate a key that was sent here."
            }
            Self::Conflict => "Nothing was changed. \"faults\" names the field that another record has.",
            Self::TooLong => "The record is longer than 16384 bytes.",
        }
    }
}

/// Why one record was refused. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordFault {
    pub(super) kind: FaultKind,
    /// Empty where it is the record as a whole.
    pub(super) faults: Vec<FieldFault>,
}

impl RecordFault {
    /// The record as a whole.
    pub(super) const fn whole(kind: FaultKind) -> Self {
        Self { kind, faults: Vec::new() }
    }

    /// One field.
    pub(super) fn field(kind: FaultKind, field: impl Into<String>, why: &'static str) -> Self {
        Self { kind, faults: vec![FieldFault { field: field.into(), why }] }
    }
}

/// Why nothing could be stored, whatever the record.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Two records wanted what only one can have, which came to light when it was written.
    #[error("a unique value is taken")]
    Taken,
    /// Somebody else wrote the same at the same time, again and again.
    #[error("others wrote the same at the same time; try again")]
    Raced,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match sqlstate(&error).as_deref() {
            // unique_violation
            Some("23505") => Self::Taken,
            _ => Self::Database(error.into()),
        }
    }
}

impl StoreError {
    /// Whether the same can be tried again at once.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Raced
                | Self::Append(
                    AppendError::Conflict { .. } | AppendError::Database(DatabaseError::Contended(_))
                )
                | Self::Database(DatabaseError::Contended(_))
        )
    }

    /// As an answer; what only we can mend is logged.
    pub(super) fn refused(self) -> Refused {
        match self {
            Self::Append(AppendError::Conflict { .. }) | Self::Taken | Self::Raced => {
                let detail = "Others wrote the same at the same time. Send it again.";
                Refusal::problem(ProblemType::Conflict, detail).into()
            }
            Self::Append(AppendError::Database(error)) | Self::Database(error) => error.into(),
            Self::Append(error) => {
                tracing::error!(%error, "a webhook was not carried out");
                Refused::internal()
            }
        }
    }
}

/// Why a webhook as a whole was refused.
#[derive(Debug)]
pub(super) enum SyncRefused {
    /// `X-Webhook-Secret` is missing, or came twice.
    SecretMissing,
    /// It is another one.
    SecretWrong,
    /// `X-Service-Name` is no name.
    ServiceName(Refused),
    /// The content type is none that is read here.
    MediaType(&'static str),
    /// A parameter of the query.
    Query(&'static str),
    /// Too many backfills are going on.
    Busy,
    /// The record.
    Record(RecordFault),
    /// It could not be stored.
    Store(StoreError),
}

impl From<RecordFault> for SyncRefused {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

impl From<StoreError> for SyncRefused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for SyncRefused {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<DatabaseError> for SyncRefused {
    fn from(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }
}

impl From<AppendError> for SyncRefused {
    fn from(error: AppendError) -> Self {
        Self::Store(error.into())
    }
}

impl SyncRefused {
    /// Counts it and makes it an answer.
    pub(super) fn counted(self, origin: &Origin) -> Refused {
        origin.metrics.sync_refused(self.reason());
        self.refused()
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::SecretMissing => "secret_missing",
            Self::SecretWrong => "secret_wrong",
            Self::ServiceName(_) => "service_name",
            Self::MediaType(_) => "media_type",
            Self::Query(_) => "query",
            Self::Busy => "busy",
            Self::Record(fault) => fault.kind.reason(),
            Self::Store(_) => "not_stored",
        }
    }

    fn refused(self) -> Refused {
        let problem = |kind, detail: &str| Refused::from(Refusal::problem(kind, detail));
        match self {
            Self::SecretMissing => problem(
                ProblemType::WebhookSecretRefused,
                "Send the webhook's secret once, as X-Webhook-Secret.",
            ),
            Self::SecretWrong => problem(
                ProblemType::WebhookSecretRefused,
                "X-Webhook-Secret is not the secret that this gateway was configured with.",
            ),
            Self::ServiceName(refused) => refused,
            Self::MediaType(wanted) => {
                problem(ProblemType::RequestMalformed, wanted).with("field", json!("Content-Type"))
            }
            Self::Query(parameter) => {
                let detail = format!("The query's {parameter:?} must be the number of a row.");
                problem(ProblemType::RequestMalformed, &detail).with("field", json!(parameter))
            }
            Self::Busy => Refusal {
                retry_after: Some(30),
                ..Refusal::problem(
                    ProblemType::RateLimited,
                    "Other backfills are going on. Send this one when they are done.",
                )
            }
            .into(),
            Self::Record(RecordFault { kind, faults }) => {
                let refused = problem(kind.problem(), kind.detail());
                if faults.is_empty() { refused } else { refused.with("faults", json!(faults)) }
            }
            Self::Store(error) => error.refused(),
        }
    }
}

/// What a handler gives: an answer, or a refusal that has been counted.
pub(super) fn answer(outcome: Result<Value, SyncRefused>, origin: &Origin) -> Response {
    match outcome {
        Ok(body) => (StatusCode::OK, axum::Json(body)).into_response(),
        Err(refused) => refused.counted(origin).into_response(),
    }
}
