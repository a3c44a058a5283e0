//! Which endpoint a canonical path names. It may not look at anything else of a request.

use crate::path::CanonicalPath;

/// The edge's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/ping`.
    Ping,
    /// `/metrics`.
    Metrics,
    /// `/.well-known/oauth-authorization-server` (RFC 8414 §3), and `/.well-known/openid-configuration` (OpenID Connect Discovery §4),
    /// which is the same document.
    ServerMetadata,
    /// `/.well-known/jwks.json`.
    JwkSet,
    /// `/oauth/authorize`.
    Authorize,
    /// `/oauth/token`.
    Token,
    /// `/oauth/revoke`.
    Revoke,
    /// `/oauth/introspect`.
    Introspect,
    /// `/oauth/userinfo`.
    UserInfo,
    /// A page or asset of the origin.
    Page,
    /// An endpoint of the operators' interface, `/v1/…`: the origin's, which judges its credentials by itself.
    Api,
    /// A webhook that brings accounts and keys from where they are made, `/v1/sync/…`: the origin's, which judges its secret by itself.
    Sync,
    /// `/{project}/{service}/*`.
    Project,
    /// A path of the gateway's own that leads nowhere.
    Nothing,
}

/// First segments that no project may have as its slug.
const RESERVED: [&str; 15] = [
    "",
    ".well-known",
    "account",
    "api",
    "assets",
    "console",
    "consent",
    "docs",
    "favicon.ico",
    "internal",
    "metrics",
    "oauth",
    "ping",
    "sign-in",
    "sign-out",
];

/// Whether a first segment belongs to the gateway, so that no project can take it; `v1` and its successors too.
pub fn is_gateway_path(first_segment: &str) -> bool {
    let is_version = first_segment
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    is_version || RESERVED.contains(&first_segment)
}

impl Endpoint {
    /// The endpoint of a path.
    pub fn of(path: &CanonicalPath) -> Self {
        let segments = (path.segment(0).unwrap_or_default(), path.segment(1), path.segment(2));
        match segments {
            ("ping", None, _) => Self::Ping,
            ("metrics", None, _) => Self::Metrics,
            (".well-known", Some("oauth-authorization-server" | "openid-configuration"), None) => {
                Self::ServerMetadata
            }
            (".well-known", Some("jwks.json"), None) => Self::JwkSet,
            ("oauth", Some(name), None) => Self::of_oauth(name),
            // The same under another name: whoever comes by it meets the same rules.
            ("api", Some("v1"), Some("oauth")) => match (path.segment(3), path.segment(4)) {
                (Some(name), None) => Self::of_oauth(name),
                _ => Self::Nothing,
            },
            ("" | "account" | "consent" | "sign-out", None, _)
            | ("sign-in", _, None)
            | ("assets", Some(_), None)
            | ("docs", Some("errors"), Some(_)) => Self::Page,
            ("v1", Some("projects"), _) => Self::Api,
            ("v1", Some("sync"), Some("user" | "api-key" | "backfill-api-keys"))
                if path.segment(3).is_none() =>
            {
                Self::Sync
            }
            (first, _, _) if is_gateway_path(first) => Self::Nothing,
            _ => Self::Project,
        }
    }

    fn of_oauth(name: &str) -> Self {
        match name {
            "authorize" => Self::Authorize,
            "token" => Self::Token,
            "revoke" => Self::Revoke,
            "introspect" => Self::Introspect,
            "userinfo" => Self::UserInfo,
            _ => Self::Nothing,
        }
    }

    /// The endpoint's name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Metrics => "metrics",
            Self::ServerMetadata => "server_metadata",
            Self::JwkSet => "jwk_set",
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::UserInfo => "userinfo",
            Self::Page => "page",
            Self::Api => "api",
            Self::Sync => "sync",
            Self::Project => "project",
            Self::Nothing => "nothing",
        }
    }

    /// Whether a request that the origin accepted can have revoked something, so that the policy in force is out of date: the
    /// revocation endpoint, the pages where a session or a grant is ended, whatever the operators' interface changes, and webhooks,
    /// which can bring the end of a key.
    pub fn may_revoke(method: &str, path: &CanonicalPath) -> bool {
        match Self::of(path) {
            Self::Revoke | Self::Sync => method == "POST",
            Self::Page => method == "POST" && matches!(path.segment(0), Some("account" | "sign-out")),
            Self::Api => matches!(method, "DELETE" | "POST" | "PUT"),
            _ => false,
        }
    }

    /// Whether this request presents a secret that could be guessed.
    pub const fn takes_credentials(self, method: &str) -> bool {
        match self {
            Self::Token | Self::Revoke | Self::Introspect | Self::UserInfo | Self::Api | Self::Sync => true,
            Self::Page => matches!(method.as_bytes(), b"POST"),
            _ => false,
        }
    }
}
