//! Tokens and the JSON inside of them. An input is a token; or a header and a payload, one a line, to be signed by the sample's
//! key; or a JSON document.

use serde_json::Value;
use shared::{
    assertion::EdgeAssertion,
    base64url,
    decide::sample,
    json,
    jwt::{Claims, SignatureCheck, Unverified, VerificationKey, verify_own},
    time::UnixMillis,
};

/// A token that is read is the token that was sent, byte for byte, and only its key's signature is believed.
pub fn hold(input: &[u8]) {
    document(input);
    if let Some((header, payload)) = super::split_line(input) {
        let token = sign(header.as_bytes(), payload);
        if let Ok(token) = Unverified::parse(&token) {
            assert_eq!(
                token.check_signature(&sample::signing_key().verification_key()).ok(),
                verdict_of_own(&token)
            );
        }
        check(&token);
    }
    if let Ok(text) = core::str::from_utf8(input) {
        check(text);
    }
}

/// The compact JWS of these bytes, signed by the sample's key.
pub fn sign(header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
    let signature = sample::signing_key().sign_bytes(input.as_bytes());
    format!("{input}.{}", base64url::encode(&signature))
}

/// What the sample's key must say of a token that it signed: it is valid where the header names its algorithm.
fn verdict_of_own(token: &Unverified<'_>) -> Option<SignatureCheck> {
    (token.algorithm() == "EdDSA").then_some(SignatureCheck::Valid)
}

fn check(text: &str) {
    let Ok(token) = Unverified::parse(text) else { return };
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(token.signing_input(), format!("{}.{}", parts[0], parts[1]));
    assert_eq!(base64url::encode(token.signature()), parts[2]);
    let header: Value = read_part(parts[0]);
    let payload = base64url::decode(parts[1]).expect("a payload that was read");
    assert_eq!(Some(token.algorithm()), header.get("alg").and_then(Value::as_str));
    assert_eq!(token.key_id(), header.get("kid").and_then(Value::as_str));
    for forbidden in ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"] {
        assert_eq!(header.get(forbidden), None);
    }
    if let Some(token_type) = token.token_type() {
        assert!(!token_type.starts_with("application/") || token_type.contains("application/application/"));
    }
    signatures(&token);
    claims(&token, &payload);
}

fn read_part(part: &str) -> Value {
    serde_json::from_slice(&base64url::decode(part).expect("a part that was read")).expect("JSON")
}

/// No key believes a signature that it did not make; Ed25519 makes exactly one for each message.
fn signatures(token: &Unverified<'_>) {
    let own = sample::signing_key();
    if token.check_signature(&own.verification_key()) == Ok(SignatureCheck::Valid) {
        assert_eq!(token.signature(), own.sign_bytes(token.signing_input().as_bytes()));
        assert_eq!(token.algorithm(), "EdDSA");
    }
    let secret = VerificationKey::hs256(sample::SERVICE_SECRET).expect("a secret of 32 bytes");
    if token.check_signature(&secret).is_ok() {
        assert_eq!(token.algorithm(), "HS256");
    }
    let statement = verify_own::<Value>("", "x", &secret);
    assert!(statement.is_err());
}

fn claims(token: &Unverified<'_>, payload: &[u8]) {
    if let Ok(assertion) = token.claims::<EdgeAssertion>() {
        let written = serde_json::to_vec(&assertion).expect("an assertion can be written");
        assert_eq!(serde_json::from_slice::<EdgeAssertion>(&written).ok(), Some(assertion));
    }
    let Ok(claims) = token.token_claims() else { return };
    let written = serde_json::to_vec(&claims).expect("claims can be written");
    assert_eq!(serde_json::from_slice::<Claims>(&written).ok().as_ref(), Some(&claims));
    let raw: Value = serde_json::from_slice(payload).expect("a payload of JSON");
    assert_eq!(raw.get("jti").and_then(Value::as_str), Some(claims.jti.as_str()));
    assert_eq!(raw.get("exp").and_then(Value::as_u64), Some(claims.exp));
    assert_eq!(raw.get("sub").and_then(Value::as_str), claims.sub.as_deref());
    if claims.check_times(sample::NOW).is_ok() {
        assert!(claims.exp > sample::NOW.seconds());
        assert!(
            claims.check_times(UnixMillis(claims.exp.saturating_mul(1000))).is_err(),
            "exp itself is too late"
        );
    }
}

/// Strict JSON is JSON, with every name once.
fn document(input: &[u8]) {
    let Some(members) = json::object_members(input) else { return };
    let value: Value = serde_json::from_slice(input).expect("strict JSON is JSON");
    let object = value.as_object().expect("an object");
    assert_eq!(object.len(), members.len());
    assert!(object.keys().all(|name| members.contains(name)));
    let written = serde_json::to_vec(&value).expect("JSON can be written");
    assert_eq!(json::object_members(&written), Some(members));
    // The same members a second time are refused.
    if !object.is_empty()
        && let Some(inside) = written.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"))
    {
        let twice = [b"{", inside, b",", inside, b"}"].concat();
        assert_eq!(json::object_members(&twice), None);
    }
}
