//! Making what a case describes: tokens, codes, proofs, keys and the origin's statements. It may not decide anything.

use alloc::{
    format,
    string::{String, ToString as _},
};

use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    api_key, base64url,
    code::AuthorizationCode,
    credential::{CredentialStatement, Resolved},
    decide::sample,
    jwt::SigningKey,
    pkce::CodeVerifier,
};

/// A token to mint. `claims` is laid over the claims of a good access token; `null` removes one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mint {
    #[serde(default = "default_key")]
    key: String,
    /// The scheme of `Authorization`.
    #[serde(default = "default_scheme")]
    pub(super) scheme: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    claims: serde_json::Map<String, Value>,
    /// A raw header instead of the usual one.
    #[serde(default)]
    header: Option<String>,
    /// A raw payload instead of claims.
    #[serde(default)]
    payload: Option<String>,
}

fn default_key() -> String {
    "k1".into()
}

fn default_scheme() -> String {
    "Bearer".into()
}

/// A proof of possession to mint (RFC 9449 §4.2), for `GET /notes/api/x`. `claims` and `header` are laid over those of a good one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    header: Map<String, Value>,
}

/// What the origin says of a credential. `credential` is laid over that of a good API key; `null` in its place is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    #[serde(default)]
    credential: Option<Map<String, Value>>,
    /// Of other claims of the statement.
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    key: Option<String>,
}

/// An API key of the corpus, `{live}` in a case.
pub fn live_key(number: u8) -> String {
    api_key::issue(api_key::Environment::Live, [number; 16], [2; 32])
}

/// The holder of the key that proofs are made with.
fn holder() -> SigningKey {
    SigningKey::from_seed("holder", &[8; 32])
}

fn lay_over(members: &mut Map<String, Value>, change: &Map<String, Value>) {
    for (name, value) in change {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}

impl Proof {
    /// The proof for this access token.
    pub(super) fn mint(&self, access_token: &str) -> Option<String> {
        let mut header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": holder().public_jwk() });
        let mut claims = json!({
            "jti": "p1", "htm": "GET", "htu": "https://auth.test/notes/api/x", "iat": sample::NOW.seconds(),
            "ath": base64url::encode(&Sha256::digest(access_token.as_bytes())),
        });
        lay_over(header.as_object_mut()?, &self.header);
        lay_over(claims.as_object_mut()?, &self.claims);
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(&header), part(&claims));
        Some(format!("{input}.{}", base64url::encode(&holder().sign_bytes(input.as_bytes()))))
    }
}

impl Statement {
    /// The statement about the credential of this hash.
    pub(super) fn mint(&self, sha256: &str) -> Option<String> {
        let credential = match &self.credential {
            None => None,
            Some(change) => {
                let mut resolved = json!({
                    "id": "key-1", "kind": "api_key", "workspace_id": "w1", "project": "notes", "subject": "api_key:key-1",
                    "issued_at": 1, "scopes": "notes:read", "epoch": 7,
                });
                lay_over(resolved.as_object_mut()?, change);
                let resolved: Resolved = serde_json::from_value(resolved).ok()?;
                Some(resolved)
            }
        };
        let statement = CredentialStatement {
            iss: sample::ISSUER.into(),
            sha256: sha256.into(),
            made_at: sample::NOW,
            credential,
        };
        let mut claims = serde_json::to_value(statement).ok()?;
        lay_over(claims.as_object_mut()?, &self.claims);
        let key = match self.key.as_deref() {
            Some("edge") => sample::edge_key(),
            Some(_) => sample::signing_key(),
            None => sample::origin_key(),
        };
        key.sign("credential-statement+jwt", &claims)
    }
}

/// A code to mint, for client, redirect URI and verifier.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    client_id: String,
    redirect_uri: String,
    verifier: String,
    #[serde(default = "default_life")]
    expires_in: i64,
}

const fn default_life() -> i64 {
    60
}

impl Mint {
    pub(super) fn token(&self) -> Option<String> {
        let now = sample::NOW.seconds();
        let mut claims = serde_json::json!({
            "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now, "exp": now.checked_add(300)?,
            "jti": "t1", "scope": "notes:read", "sid": "g1", "workspace_id": "w1",
        });
        let members = claims.as_object_mut()?;
        lay_over(members, &self.claims);
        let key = match self.key.as_str() {
            "k0" => sample::retired_key(),
            "idp" => sample::idp_key(),
            "edge" => sample::edge_key(),
            _ => sample::signing_key(),
        };
        if self.key != "hs256" && self.header.is_none() && self.payload.is_none() {
            return key.sign(self.typ.as_deref().unwrap_or("at+jwt"), &claims);
        }
        let header = self.header.clone().unwrap_or_else(|| r#"{"alg":"HS256"}"#.into());
        let payload = self.payload.clone().unwrap_or_else(|| claims.to_string());
        let input =
            format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()));
        let signature = if self.key == "hs256" {
            Hmac::<Sha256>::new_from_slice(sample::SERVICE_SECRET)
                .ok()?
                .chain_update(input.as_bytes())
                .finalize()
                .into_bytes()
                .to_vec()
        } else {
            key.sign_bytes(input.as_bytes()).to_vec()
        };
        Some(format!("{input}.{}", base64url::encode(&signature)))
    }
}

impl Code {
    pub(super) fn mint(&self) -> Option<String> {
        let challenge = CodeVerifier::parse(&self.verifier)?.challenge();
        let expires_at = sample::NOW.seconds().checked_add_signed(self.expires_in)?;
        let code = AuthorizationCode::issue(
            &sample::code_key(),
            [5; 16],
            expires_at,
            &self.client_id,
            &self.redirect_uri,
            &challenge,
        );
        Some(code.to_text())
    }
}
