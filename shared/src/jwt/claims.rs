//! The claims of access and service tokens, and the rules of time, issuer and audience. It may not know routes.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::TokenFault;
use crate::{scope::Scopes, time::UnixMillis};

/// How far `nbf` and `iat` may lie ahead of our clock, in seconds. `exp` has no leeway: a revocation bound rests on it.
pub const CLOCK_SKEW_SECONDS: u64 = 5;

/// `aud`: one name or several (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Audience {
    /// Whether `name` is among them, byte for byte.
    pub fn includes(&self, name: &str) -> bool {
        self.any(|one| one == name)
    }

    /// Whether one of them is as it should be.
    pub fn any(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => is_meant(one),
            Self::Many(many) => many.iter().any(|one| is_meant(one)),
        }
    }
}

/// Claims of an access token (RFC 9068 §2.2) or a service token. The default has expired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer. Absent only in the seed's HS256 service tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Subject: the person, or the client when it acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// What the token may be presented to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// The second at which the token ends.
    pub exp: u64,
    /// The second before which it is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The second of issuance.
    pub iat: u64,
    /// The token's own id, which revocations name.
    pub jti: String,
    /// The client it was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Granted scopes.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub scope: Scopes,
    /// The grant (refresh-token family) it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The workspace it acts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// Service tokens: the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Service tokens: the calling service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The key that whoever presents the token must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// The second at which the person proved who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// How sure one can be of it (RFC 9470 §6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// How they proved it (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
}

/// `cnf` (RFC 7800 §3.1): what a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The thumbprint of a key that signs a proof for every request (RFC 9449 §6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<String>,
    /// The SHA-256 of a client certificate (RFC 8705 §3.1).
    #[serde(default, rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
}

impl Claims {
    /// `exp`, `nbf` and `iat` against `now`. The second `exp` itself is too late (RFC 7519 §4.1.4: "on or after").
    pub fn check_times(&self, now: UnixMillis) -> Result<(), TokenFault> {
        if now.seconds() >= self.exp {
            return Err(TokenFault::Expired);
        }
        let ahead = now.seconds().saturating_add(CLOCK_SKEW_SECONDS);
        if self.iat > ahead || self.nbf.is_some_and(|nbf| nbf > ahead) {
            return Err(TokenFault::NotYetValid);
        }
        Ok(())
    }
}
