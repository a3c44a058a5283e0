//! `POST /internal/revocations/confirm`: whether what a filter hit is revoked indeed, signed. It may not answer from a policy: the rows
//! themselves are asked.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use shared::{
    decide::Refusal,
    problem::ProblemType,
    revocation_statement::{Answer, MAX_ENTRIES, Question, RevocationStatement},
    time::UnixMillis,
};

use super::PolicyError;
use crate::{
    database::{Actor, Component, DatabaseError},
    http::{EdgeCaller, Origin, Refused},
};

/// Why an edge gets no statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfirmRefused {
    /// The body is no question.
    #[error("{0}")]
    Malformed(&'static str),
    /// The rows could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The statement could not be signed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl From<sqlx::Error> for ConfirmRefused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl IntoResponse for ConfirmRefused {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed(why) => {
                Refused::from(Refusal::problem(ProblemType::RequestMalformed, why)).into_response()
            }
            Self::Database(error) | Self::Policy(PolicyError::Database(error)) => {
                Refused::from(error).into_response()
            }
            Self::Policy(error) => {
                tracing::error!(%error, "no statement about revocations");
                Refused::internal().into_response()
            }
        }
    }
}

/// The handler.
pub(super) async fn confirm(
    State(origin): State<Origin>,
    _: EdgeCaller,
    body: Bytes,
) -> Result<Json<Answer>, ConfirmRefused> {
    let Question { filter, entries } = serde_json::from_slice(&body)
        .map_err(|_| ConfirmRefused::Malformed("The body must be a filter's hash and entries, in JSON."))?;
    if entries.is_empty() || entries.len() > MAX_ENTRIES {
        return Err(ConfirmRefused::Malformed("Ask about 1 to 16 entries."));
    }
    let (mut kinds, mut values) = (Vec::new(), Vec::new());
    for entry in &entries {
        match entry.split_once(':') {
            Some((kind @ ("jti" | "grant"), value)) => {
                kinds.push(kind);
                values.push(value);
            }
            _ => return Err(ConfirmRefused::Malformed("An entry is jti:… or grant:….")),
        }
    }
    let mut scope = origin.database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let made_at = UnixMillis(origin.clock.unix_millis());
    let revoked: Vec<String> = sqlx::query_scalar(
        "SELECT kind || ':' || value FROM unnest($1::text[], $2::text[]) AS asked (kind, value)
         JOIN revocations USING (kind, value) ORDER BY 1",
    )
    .bind(&kinds)
    .bind(&values)
    .fetch_all(scope.connection())
    .await?;
    scope.commit().await?;
    let statement =
        RevocationStatement { iss: origin.issuer().to_owned(), made_at, filter, entries, revoked };
    let statement = statement.sign(origin.policy.statement_key()).ok_or(PolicyError::Unsigned)?;
    Ok(Json(Answer { statement }))
}
