//! The problems that Gateward's own interfaces answer with (RFC 9457): one stable type each, one page in `docs/errors/` each.
//! OAuth endpoints answer in OAuth's terms instead ([`crate::oauth_error`]).

use alloc::{
    format,
    string::{String, ToString as _},
};

use serde_json::json;

macro_rules! problem_types {
    ($($(#[$doc:meta])* $variant:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemType { $($(#[$doc])* $variant,)* }

        impl ProblemType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The last part of `type`, and the name of the page in `docs/errors/`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// `title`.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

problem_types! {
    /// The path can be read in two ways.
    PathNotCanonical = "path-not-canonical", 400, "The path can be read in more than one way";
    /// A header or body could not be read.
    RequestMalformed = "request-malformed", 400, "The request could not be read";
    /// More than one credential came.
    SeveralCredentials = "several-credentials", 400, "More than one credential was sent";
    /// No credential came.
    CredentialMissing = "credential-missing", 401, "A credential is needed";
    /// The token is not well formed.
    TokenMalformed = "token-malformed", 401, "The token is not well formed";
    /// No key in use signed the token.
    TokenUnknownKey = "token-unknown-key", 401, "The token names a key that is not in use";
    /// The signature is wrong.
    TokenSignature = "token-signature", 401, "The token's signature does not verify";
    /// The token is of another type.
    TokenWrongType = "token-wrong-type", 401, "The token is not of a type that is accepted here";
    /// The token has expired.
    TokenExpired = "token-expired", 401, "The token has expired";
    /// The token is not valid yet.
    TokenNotYetValid = "token-not-yet-valid", 401, "The token is not valid yet";
    /// Another issuer's.
    TokenWrongIssuer = "token-wrong-issuer", 401, "The token is another issuer's";
    /// For another audience.
    TokenWrongAudience = "token-wrong-audience", 401, "The token is for another audience";
    /// Bound to a key or certificate that the request does not prove to hold.
    TokenBinding = "token-binding", 401, "The token is bound to something that was not proved";
    /// A proof of possession that is wrong.
    ProofInvalid = "dpop-proof-invalid", 401, "The proof of possession is not valid";
    /// Revoked.
    TokenRevoked = "token-revoked", 401, "The token has been revoked";
    /// A webhook came without the secret, or with another one.
    WebhookSecretRefused = "webhook-secret-refused", 401, "The webhook's secret is missing or wrong";
    /// A state change that another site asked for.
    CrossSiteRequest = "cross-site-request", 403, "Another site may not make this request";
    /// A page of another origin that was not allowed.
    OriginNotAllowed = "origin-not-allowed", 403, "Pages of this origin may not make this request";
    /// This kind of credential is not accepted on this route.
    CredentialNotAccepted = "credential-not-accepted", 403, "This kind of credential is not accepted here";
    /// The token is another project's.
    WrongProject = "wrong-project", 403, "The token is for another project";
    /// A scope is missing.
    InsufficientScope = "insufficient-scope", 403, "The token lacks a scope";
    /// No such page or route.
    NotFound = "not-found", 404, "There is nothing here";
    /// The method is not allowed.
    MethodNotAllowed = "method-not-allowed", 405, "The method is not allowed here";
    /// Somebody else changed the same thing.
    Conflict = "conflict", 409, "Somebody else changed this at the same time";
    /// What was to be changed has been changed since it was looked at.
    RevisionChanged = "revision-changed", 412, "Another change came between";
    /// A synced record claims what another one has.
    SyncConflict = "sync-conflict", 409, "This belongs to another record already";
    /// A synced record lacks something, or something in it is not what it must be.
    SyncRefused = "sync-refused", 422, "The record was refused";
    /// Something in a synced record looks like a credential itself, where only its hash may come.
    RawKeyRefused = "raw-key-refused", 422, "A credential itself was sent where only its hash may be";
    /// What was declared does not keep to the rules.
    DeclarationFaulty = "declaration-faulty", 422, "The declaration has faults";
    /// The body is too large.
    BodyTooLarge = "body-too-large", 413, "The body is too large";
    /// Too many headers, or too long ones.
    HeadersTooLarge = "headers-too-large", 431, "The headers are too many or too long";
    /// Too many requests.
    RateLimited = "rate-limited", 429, "Too many requests";
    /// A fault of ours.
    Internal = "internal", 500, "Something failed on our side";
    /// The upstream did not answer.
    UpstreamUnavailable = "upstream-unavailable", 502, "The service behind the gateway did not answer";
    /// The upstream took too long.
    UpstreamTimeout = "upstream-timeout", 504, "The service behind the gateway took too long";
    /// The origin did not answer.
    OriginUnavailable = "origin-unavailable", 503, "The origin did not answer";
    /// The edge has no policy young enough.
    PolicyUnavailable = "policy-unavailable", 503, "The edge has no current policy";
    /// The origin was reached without a valid assertion of an edge.
    AssertionRefused = "assertion-refused", 403, "The origin accepts requests from its edges only";
}

impl ProblemType {
    /// The body: `application/problem+json`.
    pub fn body(self, issuer: &str, detail: &str, request_id: &str) -> String {
        json!({
            "type": format!("{issuer}/docs/errors/{}", self.slug()),
            "title": self.title(),
            "status": self.status(),
            "detail": detail,
            "request_id": request_id,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    #[test]
    fn each_has_its_own_page() {
        let slugs: BTreeSet<_> = ProblemType::ALL.iter().map(|problem| problem.slug()).collect();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
        for slug in slugs {
            assert!(docs.join(std::format!("{slug}.md")).is_file(), "docs/errors/{slug}.md is missing");
        }
    }

    #[test]
    fn the_body_is_what_rfc_9457_says() {
        let body: serde_json::Value =
            serde_json::from_str(&ProblemType::TokenExpired.body("https://auth.test", "It ended.", "r1"))
                .unwrap();
        assert_eq!(body["type"], "https://auth.test/docs/errors/token-expired");
        assert_eq!(body["status"], 401);
        assert_eq!(body["request_id"], "r1");
    }
}
