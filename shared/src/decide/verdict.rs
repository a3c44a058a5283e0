//! What the shell must do. A verdict is complete: the shell adds nothing of its own.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::Refusal;
use crate::{
    authorization_request::ErrorRedirect,
    jwt::{Algorithm, Jwk},
};

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer with this.
    Refuse(Refusal),
    /// Send the browser back to the client with an error: 303.
    Redirect(ErrorRedirect),
    /// Answer with a document of the edge's own.
    Answer(Document),
    /// Forward to the origin, with an assertion.
    Origin(ToOrigin),
    /// Forward to an upstream.
    Upstream(ToUpstream),
    /// Read the body, at most this many bytes, and ask again.
    NeedsForm(usize),
    /// Refresh the policy once, since a key is not known, and ask again.
    NeedsKey,
    /// Have the platform judge a signature and ask again.
    NeedsSignature(SignatureQuestion),
}

/// A document of the edge's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// Liveness.
    Ping,
    /// The edge's metrics.
    Metrics,
    /// RFC 8414 metadata.
    ServerMetadata,
    /// The JWK set.
    JwkSet,
}

/// A request for the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToOrigin {
    /// Path and query to send.
    pub target: String,
}

impl ToOrigin {
    pub(super) fn new(path: String, query: &str) -> Self {
        Self { target: if query.is_empty() { path } else { format!("{path}?{query}") } }
    }
}

/// A request for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToUpstream {
    /// The URL to fetch.
    pub url: String,
    /// Header names to delete first.
    pub delete: Vec<String>,
    /// Headers to set after that.
    pub set: Vec<(&'static str, String)>,
}

/// A signature that only the platform can judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureQuestion {
    /// The algorithm of the key.
    pub algorithm: Algorithm,
    /// The key.
    pub key: Jwk,
    /// What was signed.
    pub message: String,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Verdict {
    /// What became of the request, as a metric's label: one of a bounded set.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Refuse(refusal) => refusal.kind(),
            Self::Redirect(redirect) => redirect.error.code(),
            Self::Answer(_) => "answered",
            Self::Origin(_) => "to_origin",
            Self::Upstream(_) => "to_upstream",
            Self::NeedsForm(_) | Self::NeedsKey | Self::NeedsSignature(_) => "asked",
        }
    }

    /// A short, stable text of the verdict, for the corpus and for logs: no secret, no personal data.
    pub fn summary(&self) -> String {
        match self {
            Self::Refuse(refusal) => refusal.summary(),
            Self::Redirect(redirect) => format!("redirect {}", redirect.error.code()),
            Self::Answer(document) => format!("answer {document:?}"),
            Self::Origin(to_origin) => {
                format!("origin {}", to_origin.target.split('?').next().unwrap_or_default())
            }
            Self::Upstream(upstream) => format!("upstream {}", upstream.url),
            Self::NeedsForm(_) => "needs form".to_string(),
            Self::NeedsKey => "needs key".to_string(),
            Self::NeedsSignature(question) => format!("needs signature {}", question.algorithm.name()),
        }
    }
}
