//! The documents that others configure themselves by: RFC 8414 and the JWK set. They may not advertise what does not work.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use serde_json::{Value, json};

use crate::{policy::Policy, time::UnixMillis};

/// How long others may keep the documents: shorter than a key is published before it signs.
pub const CACHE_CONTROL: &str = "public, max-age=60";

/// Authorization server metadata (RFC 8414 §2, RFC 9207 §3).
pub fn authorization_server(policy: &Policy) -> String {
    let issuer = &policy.issuer;
    let scopes: BTreeSet<&str> = policy.clients.values().flat_map(|client| client.scopes.iter()).collect();
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
    .to_string()
}

/// The JWK set (RFC 7517 §5): every key whose signatures are still believed, also those that do not sign yet.
pub fn jwk_set(policy: &Policy, now: UnixMillis) -> String {
    let keys: Vec<Value> = policy
        .keys
        .iter()
        .filter(|key| key.is_believed(now))
        .filter_map(|key| {
            let mut jwk = serde_json::to_value(&key.jwk).ok()?;
            let members = jwk.as_object_mut()?;
            members.insert("kid".into(), key.kid.as_str().into());
            members.insert("alg".into(), key.alg.name().into());
            members.insert("use".into(), "sig".into());
            Some(jwk)
        })
        .collect();
    json!({ "keys": keys }).to_string()
}
