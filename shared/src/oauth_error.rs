//! OAuth's own errors and their HTTP statuses, from one table. It may not hold texts: a description belongs to the refusal.

use serde::{Deserialize, Serialize};

/// Error codes (RFC 6749 §4.1.2.1, §5.2; RFC 6750 §3.1; RFC 8707 §2; RFC 7009 §2.2.1; OpenID Connect Core §3.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OAuthError {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// Client authentication failed.
    InvalidClient,
    /// The code or refresh token is invalid, expired, revoked or another client's.
    InvalidGrant,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// The grant type is not known here.
    UnsupportedGrantType,
    /// The response type is not known here.
    UnsupportedResponseType,
    /// The scope is unknown, malformed or more than the client may ask for.
    InvalidScope,
    /// The resource is unknown or malformed.
    InvalidTarget,
    /// The person said no.
    AccessDenied,
    /// The person would have to sign in, and may not be asked (`prompt=none`).
    LoginRequired,
    /// The person would have to consent, and may not be asked.
    ConsentRequired,
    /// Request objects are not read here.
    RequestNotSupported,
    /// Nor are references to them.
    RequestUriNotSupported,
    /// Something failed here.
    ServerError,
    /// Overloaded or down for a moment.
    TemporarilyUnavailable,
}

impl OAuthError {
    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    /// The HTTP status at the token and revocation endpoints (RFC 6749 §5.2: 400, and 401 for `invalid_client`).
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::ServerError => 500,
            Self::TemporarilyUnavailable => 503,
            _ => 400,
        }
    }
}
