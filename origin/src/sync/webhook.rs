//! Who sends a webhook: an extractor that only the secret makes. It may not say more of a wrong secret than that it is wrong.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};
use shared::header::WEBHOOK_SECRET;
use uuid::Uuid;

use super::refused::SyncRefused;
use crate::http::{EdgeCaller, Origin, Refused};

/// Names the service that sends, for the record.
const SERVICE_NAME: HeaderName = HeaderName::from_static("x-service-name");
/// The name of one that gives none.
const UNNAMED: &str = "sync";

/// Somebody who knows the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Webhook {
    /// What it calls itself.
    pub(super) service_name: String,
    /// The request it came with.
    pub(super) request_id: Uuid,
}

impl FromRequestParts<Origin> for Webhook {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, origin: &Origin) -> Result<Self, Refused> {
        let caller = EdgeCaller::from_request_parts(parts, origin).await?;
        let judged = judge(&parts.headers, origin);
        // No handler needs it any more.
        parts.headers.remove(WEBHOOK_SECRET);
        let service_name = judged.map_err(|refused| refused.counted(origin))?;
        Ok(Self { service_name, request_id: caller.correlation_id() })
    }
}

fn judge(headers: &HeaderMap, origin: &Origin) -> Result<String, SyncRefused> {
    let mut secrets = headers.get_all(WEBHOOK_SECRET).iter();
    let (Some(secret), None) = (secrets.next(), secrets.next()) else {
        return Err(SyncRefused::SecretMissing);
    };
    if !origin.configuration.webhook_secrets.admits(secret.as_bytes()) {
        return Err(SyncRefused::SecretWrong);
    }
    let mut names = headers.get_all(SERVICE_NAME).iter();
    let name = match (names.next(), names.next()) {
        (None, _) => return Ok(UNNAMED.to_owned()),
        (Some(name), None) => name.to_str().map_err(|_| SyncRefused::ServiceName)?,
        (Some(_), Some(_)) => return Err(SyncRefused::ServiceName),
    };
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits { Ok(name.to_owned()) } else { Err(SyncRefused::ServiceName) }
}
