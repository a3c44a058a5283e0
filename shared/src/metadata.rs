//! The documents that others configure themselves by: RFC 8414 and the JWK set. They may not advertise what does not work.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use serde_json::{Value, json};

use crate::{
    authorization_request::{OPENID, PROMPTS},
    client::{AuthMethod, GrantType},
    policy::Policy,
    time::UnixMillis,
};

/// How long others may keep the documents: shorter than a key is published before it signs.
pub const CACHE_CONTROL: &str = "public, max-age=60";

/// The `acr` of a person who proved one factor: all that can be proved so far.
pub const ONE_FACTOR: &str = "urn:gateward:acr:1";

/// What a client may sign its assertions with.
const ASSERTION_ALGORITHMS: [&str; 3] = ["EdDSA", "ES256", "RS256"];

/// Authorization server metadata (RFC 8414 §2, RFC 9207 §3, OpenID Connect Discovery §3).
pub fn authorization_server(policy: &Policy) -> String {
    let issuer = &policy.issuer;
    let methods = AuthMethod::ALL.map(AuthMethod::name);
    let confidential: Vec<&str> = AuthMethod::ALL
        .into_iter()
        .filter(|method| *method != AuthMethod::None)
        .map(AuthMethod::name)
        .collect();
    let of_clients = policy.clients.values().flat_map(|client| client.scopes.iter());
    let scopes: BTreeSet<&str> = of_clients.chain([OPENID, "email", "profile"]).collect();
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "userinfo_endpoint": format!("{issuer}/oauth/userinfo"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "introspection_signing_alg_values_supported": ["EdDSA"],
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "email", "email_verified", "name",
        ],
        "acr_values_supported": [ONE_FACTOR],
        "prompt_values_supported": PROMPTS,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        // Left out, it would mean true.
        "request_uri_parameter_supported": false,
    })
    .to_string()
}

/// The JWK set (RFC 7517 §5): every key whose signatures are still believed, also those that do not sign yet, and those of the
/// edges, by which upstreams check `X-Gateway-Assertion`. Only the former are looked at when a credential is verified.
pub fn jwk_set(policy: &Policy, now: UnixMillis) -> String {
    let keys: Vec<Value> = policy
        .keys
        .iter()
        .chain(&policy.edge_keys)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::{Facts, LookedUp, Memory, decide, sample},
        jwt::{Algorithm, KeyPhase, PolicyKey, TokenType},
    };

    fn policy() -> Policy {
        let key = sample::edge_key();
        Policy {
            edge_keys: alloc::vec![PolicyKey {
                kid: key.kid().into(),
                alg: Algorithm::EdDsa,
                phase: KeyPhase::Active,
                signs: alloc::vec![TokenType::UpstreamAssertion],
                not_after: None,
                jwk: key.public_jwk(),
            }],
            ..sample::policy()
        }
    }

    #[test]
    fn the_keys_of_the_edges_are_published() {
        let set: Value = serde_json::from_str(&jwk_set(&policy(), sample::NOW)).unwrap();
        let kids: Vec<&str> =
            set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
        assert_eq!(kids, ["k1", "p256", "edge-1"]);
        let edge = &set["keys"][2];
        assert_eq!((edge["alg"].as_str(), edge["use"].as_str()), (Some("EdDSA"), Some("sig")));
        assert!(edge.get("d").is_none());
    }

    #[test]
    fn attack_9_an_edge_signs_no_credential() {
        let gateway = sample::Sample::new(policy()).unwrap();
        let now = sample::NOW.seconds();
        let claims = json!({
            "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now, "exp": now + 60,
            "jti": "t1", "scope": "notes:read", "project": "notes", "service": "worker",
        });
        let ask = |key: &crate::jwt::SigningKey, typ: &str| {
            let authorization = format!("Bearer {}", key.sign(typ, &claims).unwrap());
            let facts = Facts {
                method: "GET",
                target: "/notes/api/x",
                address: "192.0.2.1",
                authorization: Some(&authorization),
                looked_up: LookedUp { refreshed: true, ..LookedUp::default() },
                ..Facts::default()
            };
            decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW).summary()
        };
        for typ in ["at+jwt", "service+jwt"] {
            assert_eq!(ask(&sample::signing_key(), typ), "upstream http://notes.internal/x");
            assert_eq!(ask(&sample::edge_key(), typ), "refuse 401 token-unknown-key");
        }
        assert!(ask(&sample::edge_key(), TokenType::UpstreamAssertion.typ()).starts_with("refuse 401"));
    }
}
