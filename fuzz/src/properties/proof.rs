//! Proofs of possession and trace contexts. An input is a `DPoP` header; or a header and a payload, one a line, to be signed by the
//! sample's key; or a `traceparent`.

use std::sync::LazyLock;

use shared::{
    decide::sample,
    dpop::{Proof, ProvedRequest},
    header::is_field_value,
    jwt::{Jwk, SignatureCheck, SigningKey},
    path::CanonicalPath,
    time::UnixMillis,
    trace_context::TraceContext,
};

const TOKEN: &str = "the access token";
const REQUEST_ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

static KEY: LazyLock<SigningKey> = LazyLock::new(sample::signing_key);

/// A proof is believed for the one request, token and key that it is for, within its minute; a trace has the standard's form.
pub fn hold(input: &[u8]) {
    if let Some((header, payload)) = super::split_line(input) {
        proof(&super::jwt::sign(header.as_bytes(), payload));
    }
    let Ok(text) = core::str::from_utf8(input) else { return };
    proof(text);
    trace(text);
}

fn proof(text: &str) {
    let Ok(proof) = Proof::parse(text) else { return };
    assert!(!text.contains([',', ' ']), "one proof alone");
    assert_eq!(proof.replay_key(), Proof::parse(text).expect("a proof").replay_key());
    if proof.check_signature() == SignatureCheck::Valid {
        let (input, _) = text.rsplit_once('.').expect("three parts");
        let Jwk::Okp { x, .. } = KEY.public_jwk() else { unreachable!("an Ed25519 key") };
        let brings_ours = proof.key().check(input.as_bytes(), &KEY.sign_bytes(input.as_bytes()));
        assert!(brings_ours == SignatureCheck::Valid || !text.contains(&x), "only the key that it brings");
    }
    let path = CanonicalPath::parse("/notes/files/x").expect("a path");
    let other = CanonicalPath::parse("/notes/files/y").expect("a path");
    let thumbprint = shared::dpop::thumbprint(&KEY.public_jwk()).expect("a thumbprint");
    let request = ProvedRequest {
        method: "GET",
        issuer: sample::ISSUER,
        path: &path,
        access_token: TOKEN,
        thumbprint: &thumbprint,
    };
    if proof.check(&request, sample::NOW).is_err() {
        return;
    }
    let later = UnixMillis(sample::NOW.0 + 70_000);
    let earlier = UnixMillis(sample::NOW.0 - 70_000);
    for (request, now) in [
        (ProvedRequest { method: "POST", ..request }, sample::NOW),
        (ProvedRequest { path: &other, ..request }, sample::NOW),
        (ProvedRequest { issuer: "https://other.test", ..request }, sample::NOW),
        (ProvedRequest { access_token: "another token", ..request }, sample::NOW),
        (ProvedRequest { thumbprint: "another key", ..request }, sample::NOW),
        (request, later),
        (request, earlier),
    ] {
        assert!(proof.check(&request, now).is_err(), "{request:?} at {now:?}");
    }
}

fn trace(text: &str) {
    let context = TraceContext::continue_or_begin(Some(text), REQUEST_ID);
    let written = context.traceparent();
    assert!(is_field_value(&written) && written.len() == 55, "{written:?}");
    let again = TraceContext::continue_or_begin(Some(&written), REQUEST_ID);
    assert_eq!(again, context, "it can be continued");
    let begun = TraceContext::continue_or_begin(None, REQUEST_ID);
    assert!(context == begun || text.contains(&context.trace_id), "a trace of the caller's or of ours");
}
