//! The origin's signed word on an API key or opaque token: whose it is, or that there is none. It may not carry the credential
//! or anything it could be guessed by but its hash.

use alloc::{string::String, vec::Vec};
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    address_range::AddressRange,
    jwt::{SigningKey, TokenFault, VerificationKey, verify_own},
    scope::Scopes,
    time::UnixMillis,
};

/// Its `typ`.
pub const TOKEN_TYPE: &str = "credential-statement+jwt";

/// "What hashes to `sha256` is this credential", or is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialStatement {
    /// The issuer whose edges it is for.
    pub iss: String,
    /// base64url of SHA-256 of the credential.
    pub sha256: String,
    /// When the origin looked, in milliseconds: age counts from here.
    pub made_at: UnixMillis,
    /// What it found: `None` when no such credential is in force.
    pub credential: Option<Resolved>,
}

/// A credential that is in force, as far as the origin knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// What revocations name it by (`jti`).
    pub id: String,
    /// What it is.
    pub kind: CredentialKind,
    /// The workspace it acts in.
    pub workspace_id: String,
    /// The slug of the project it is for.
    pub project: String,
    /// Who acts: a person's id, the subject it was given, or `api_key:` or `opaque_token:` with its own id.
    pub subject: String,
    /// The second it was made: what cuts off its subject or client from a later second on covers it.
    pub issued_at: u64,
    /// The client it was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What it may do.
    #[serde(default)]
    pub scopes: Scopes,
    /// The second from which it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Where it may come from; none named means anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRange>,
    /// The project's `credential_epoch` when the origin looked: under another one this is to be looked up again.
    pub epoch: u64,
}

/// The kinds of credential that only the origin can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// One of ours, `gw_…`.
    ApiKey,
    /// Somebody else's, known by its hash.
    OpaqueToken,
}

impl CredentialStatement {
    /// The compact JWS; `None` when it does not serialise.
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        key.sign(TOKEN_TYPE, self)
    }

    /// Reads a statement, and checks its signature and issuer. Whether it is about what was asked, and young enough, is for the
    /// caller to check ([`Self::is_about`]).
    pub fn verify(text: &str, key: &VerificationKey, issuer: &str) -> Result<Self, TokenFault> {
        let statement: Self = verify_own(text, TOKEN_TYPE, key)?;
        if statement.iss == issuer { Ok(statement) } else { Err(TokenFault::WrongIssuer) }
    }

    /// Whether it is about the credential of this base64url SHA-256.
    pub fn is_about(&self, sha256: &str) -> bool {
        self.sha256 == sha256
    }
}

impl Resolved {
    /// Whether its time has come at `now`.
    pub fn has_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|second| now.seconds() >= second)
    }

    /// Whether it may come from this address, as text; what is no address is in no range.
    pub fn may_come_from(&self, address: &str) -> bool {
        let is_in_one = |address: IpAddr| self.addresses.iter().any(|range| range.contains(address));
        self.addresses.is_empty() || address.parse().is_ok_and(is_in_one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://auth.test";

    fn resolved() -> Resolved {
        Resolved {
            id: "0199a1b2-0000-7000-8000-000000000001".into(),
            kind: CredentialKind::ApiKey,
            workspace_id: "w1".into(),
            project: "notes".into(),
            subject: "ci".into(),
            issued_at: 900,
            client_id: None,
            scopes: Scopes::parse("notes:read").unwrap(),
            expires_at: Some(1_060),
            addresses: alloc::vec![AddressRange::parse("192.0.2.0/24").unwrap()],
            epoch: 3,
        }
    }

    fn statement(credential: Option<Resolved>) -> CredentialStatement {
        CredentialStatement {
            iss: ISSUER.into(),
            sha256: "hash".into(),
            made_at: UnixMillis(1_000_000),
            credential,
        }
    }

    #[test]
    fn only_the_origin_says_so_and_only_to_its_own_edges() {
        let key = SigningKey::from_seed("policy", &[1; 32]);
        let verification = key.verification_key();
        for made in [statement(Some(resolved())), statement(None)] {
            let text = made.sign(&key).unwrap();
            assert_eq!(CredentialStatement::verify(&text, &verification, ISSUER).as_ref(), Ok(&made));
            assert_eq!(
                CredentialStatement::verify(&text, &verification, "https://other.test"),
                Err(TokenFault::WrongIssuer)
            );
            let stranger = SigningKey::from_seed("policy", &[2; 32]);
            assert_eq!(
                CredentialStatement::verify(&made.sign(&stranger).unwrap(), &verification, ISSUER),
                Err(TokenFault::BadSignature)
            );
            // Another statement by the same key is none about a credential.
            let other = key.sign(crate::policy::TOKEN_TYPE, &made).unwrap();
            assert_eq!(
                CredentialStatement::verify(&other, &verification, ISSUER),
                Err(TokenFault::WrongType)
            );
            for length in 0..text.len() {
                assert!(CredentialStatement::verify(&text[..length], &verification, ISSUER).is_err());
            }
        }
        assert!(statement(None).is_about("hash") && !statement(None).is_about("other"));
    }

    #[test]
    fn the_names_on_the_wire_are_fixed() {
        let json = serde_json::to_value(statement(Some(resolved()))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "iss": ISSUER, "sha256": "hash", "made_at": 1_000_000, "credential": {
                    "id": "0199a1b2-0000-7000-8000-000000000001", "kind": "api_key", "workspace_id": "w1", "project": "notes",
                    "subject": "ci", "issued_at": 900, "scopes": "notes:read", "expires_at": 1_060, "addresses": ["192.0.2.0/24"], "epoch": 3,
                },
            })
        );
        assert_eq!(serde_json::to_value(statement(None)).unwrap()["credential"], serde_json::Value::Null);
    }

    #[test]
    fn time_and_place_are_bounds() {
        let resolved = resolved();
        assert!(!resolved.has_expired(UnixMillis(1_059_999)) && resolved.has_expired(UnixMillis(1_060_000)));
        assert!(resolved.may_come_from("192.0.2.7"));
        for address in ["192.0.3.7", "2001:db8::1", "", "unknown"] {
            assert!(!resolved.may_come_from(address), "{address}");
        }
        let anywhere = Resolved { addresses: Vec::new(), expires_at: None, ..resolved };
        assert!(anywhere.may_come_from("") && !anywhere.has_expired(UnixMillis(u64::MAX)));
    }
}
