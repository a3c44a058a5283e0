//! What the shell must do. A verdict is complete: the shell adds nothing of its own.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use sha2::{Digest as _, Sha256};

use super::{Refusal, facts::QuestionId};
use crate::{
    authorization_request::ErrorRedirect,
    gcra::Quota,
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
    /// Answer 204 with these headers (Fetch standard, CORS-preflight request).
    Preflight(Vec<(&'static str, String)>),
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
    /// Ask the origin who a credential is, and ask again.
    NeedsCredential(CredentialQuestion),
    /// Ask the origin whether what the filter hit is revoked indeed, and ask again.
    NeedsConfirmation(ConfirmationQuestion),
    /// Have the exact limiter count, and ask again.
    NeedsCharge(Vec<Charge>),
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
    /// Headers to set on the answer.
    pub answer: Vec<(&'static str, String)>,
    /// The body is sent on as it comes, without being read or hashed, and may have this many bytes; `None`: it is read whole first.
    pub max_streamed_bytes: Option<u64>,
}

impl ToOrigin {
    pub(super) fn new(path: String, query: &str) -> Self {
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        Self { target, answer: Vec::new(), max_streamed_bytes: None }
    }
}

/// A request for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToUpstream {
    /// The upstream's base URL: what its health is kept under.
    pub base: String,
    /// Path and query to send: together with `base` the URL to fetch.
    pub target: String,
    /// Header names to delete first.
    pub delete: Vec<String>,
    /// Headers to set after that.
    pub set: Vec<(&'static str, String)>,
    /// What to change on the answer.
    pub answer: AnswerEdits,
    /// How long the upstream may take to begin its answer, in milliseconds.
    pub timeout_millis: Option<u32>,
    /// The largest body that may be sent on, in bytes, where its length was not announced.
    pub max_body_bytes: Option<u64>,
    /// Whether an answer that is no failure must be reported to [`super::Memory`] as well: this request is a probe.
    pub report: bool,
    /// Whether the connection is to become another protocol's, such as a WebSocket.
    pub is_upgrade: bool,
    /// Whether the answer may reach a browser, so that its cookies must be looked at: none may be the gateway's own.
    pub may_set_cookies: bool,
}

/// What to change on an upstream's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerEdits {
    /// Header names to delete first.
    pub delete: Vec<&'static str>,
    /// Headers to set after that.
    pub set: Vec<(&'static str, String)>,
    /// Values to add to what the header has.
    pub append: Vec<(&'static str, String)>,
}

/// A credential that only the origin knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialQuestion {
    /// base64url of the SHA-256 of the whole credential.
    pub sha256: String,
}

/// Entries that the filter of revocations hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmationQuestion {
    /// The filter, by its hash.
    pub filter: String,
    /// The entries.
    pub entries: Vec<String>,
}

/// One count for the exact limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What is counted.
    pub key: [u8; 16],
    /// Against what.
    pub quota: Quota,
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

impl SignatureQuestion {
    /// The question's id: a hash of all of it, so that no other question's answer can stand in.
    pub fn id(&self) -> QuestionId {
        let framed = |hash: Sha256, part: &[u8]| {
            hash.chain_update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes()).chain_update(part)
        };
        let parts: Vec<&[u8]> = match &self.key {
            Jwk::Okp { crv, x } => alloc::vec![b"OKP", crv.as_bytes(), x.as_bytes()],
            Jwk::Ec { crv, x, y } => alloc::vec![b"EC", crv.as_bytes(), x.as_bytes(), y.as_bytes()],
            Jwk::Rsa { n, e } => alloc::vec![b"RSA", n.as_bytes(), e.as_bytes()],
        };
        let hash = framed(Sha256::new(), self.algorithm.name().as_bytes());
        let hash = framed(framed(hash, self.message.as_bytes()), &self.signature);
        QuestionId(parts.into_iter().fold(hash, framed).finalize().into())
    }
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
            Self::Preflight(_) => "preflight",
            Self::NeedsForm(_)
            | Self::NeedsKey
            | Self::NeedsSignature(_)
            | Self::NeedsCredential(_)
            | Self::NeedsConfirmation(_)
            | Self::NeedsCharge(_) => "asked",
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
            Self::Upstream(upstream) => format!("upstream {}{}", upstream.base, upstream.target),
            Self::NeedsForm(_) => "needs form".to_string(),
            Self::NeedsKey => "needs key".to_string(),
            Self::NeedsSignature(question) => format!("needs signature {}", question.algorithm.name()),
            Self::Preflight(_) => "preflight".to_string(),
            Self::NeedsCredential(_) => "needs credential".to_string(),
            Self::NeedsConfirmation(_) => "needs confirmation".to_string(),
            Self::NeedsCharge(charges) => format!("needs charge {}", charges.len()),
        }
    }
}
