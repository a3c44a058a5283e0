//! Credentials over several requests: what is remembered, for how long, and what cannot be used twice.

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{call, gateway, summary};
use crate::{
    api_key, base64url,
    credential::{CredentialKind, CredentialStatement, Resolved},
    decide::{Answer, CredentialQuestion, Facts, LookedUp, Memory, Verdict, decide, sample},
    gcra::Quota,
    jwt::SigningKey,
    policy::{Credential, ExternalIssuer, IssuerKey},
    time::UnixMillis,
};

const UPSTREAM: &str = "upstream http://files.internal/base/x";

fn key_call(key: &str) -> Facts<'_> {
    Facts { target: "/notes/files/x", authorization: None, api_key: Some(key), ..call("") }
}

fn statement(sha256: &str, epoch: Option<u64>, made_at: UnixMillis) -> String {
    let credential = epoch.map(|epoch| Resolved {
        id: "key-1".into(),
        kind: CredentialKind::ApiKey,
        workspace_id: "w1".into(),
        project: "notes".into(),
        subject: "u1".into(),
        issued_at: 1,
        client_id: None,
        scopes: ["notes:read"].into_iter().collect(),
        expires_at: None,
        addresses: Vec::new(),
        epoch,
    });
    let statement =
        CredentialStatement { iss: sample::ISSUER.into(), sha256: sha256.into(), made_at, credential };
    statement.sign(&sample::origin_key()).unwrap()
}

#[test]
fn a_key_is_asked_for_once_until_the_projects_credentials_change() {
    let key = api_key::issue(api_key::Environment::Live, [1; 16], [2; 32]);
    let gateway_7 = gateway(|_| ());
    let mut memory = Memory::default();
    let now = sample::NOW;
    let asked = decide(&gateway_7.gate(), &key_call(&key), &mut memory, now);
    let Verdict::NeedsCredential(CredentialQuestion { sha256 }) = asked else { panic!("a question") };
    assert_eq!(sha256, base64url::encode(&Sha256::digest(key.as_bytes())));
    let answer = statement(&sha256, Some(7), now);
    let looked_up = LookedUp { credential: Some(Answer::Statement(&answer)), ..LookedUp::default() };
    let answered = Facts { looked_up, ..key_call(&key) };
    assert_eq!(summary(&gateway_7.gate(), &answered, &mut memory, now), UPSTREAM);
    let later = now.plus_millis(59_000);
    assert_eq!(summary(&gateway_7.gate(), &key_call(&key), &mut memory, later), UPSTREAM);
    // Another epoch: whatever was looked up before is looked up again.
    let gateway_8 = gateway(|policy| policy.projects.get_mut("notes").unwrap().credential_epoch = 8);
    assert_eq!(summary(&gateway_8.gate(), &key_call(&key), &mut memory, later), "needs credential");
    // Revoked in the policy, before any look-up.
    let revoked = gateway(|policy| {
        policy.revocations.tokens.insert("key-1".into(), u64::MAX);
    });
    assert_eq!(summary(&revoked.gate(), &key_call(&key), &mut memory, later), "refuse 401 token-revoked");
    let gone = Facts {
        looked_up: LookedUp { credential: Some(Answer::Unavailable), ..LookedUp::default() },
        ..key_call(&key)
    };
    assert_eq!(summary(&gateway_8.gate(), &gone, &mut memory, later), "refuse 503 origin-unavailable");
    // The origin knew of a change before this policy did.
    let ahead = statement(&sha256, Some(9), now);
    let looked_up = LookedUp { credential: Some(Answer::Statement(&ahead)), ..LookedUp::default() };
    let mut memory = Memory::default();
    assert_eq!(
        summary(&gateway_8.gate(), &Facts { looked_up, ..key_call(&key) }, &mut memory, now),
        UPSTREAM
    );
    assert_eq!(summary(&gateway_8.gate(), &key_call(&key), &mut memory, now), UPSTREAM);
}

#[test]
fn that_there_is_no_such_key_is_remembered_for_seconds() {
    let key = api_key::issue(api_key::Environment::Live, [1; 16], [2; 32]);
    let gateway = gateway(|_| ());
    let sha256 = base64url::encode(&Sha256::digest(key.as_bytes()));
    let none = statement(&sha256, None, sample::NOW);
    let looked_up = LookedUp { credential: Some(Answer::Statement(&none)), ..LookedUp::default() };
    let mut memory = Memory::default();
    let told = Facts { looked_up, ..key_call(&key) };
    assert_eq!(summary(&gateway.gate(), &told, &mut memory, sample::NOW), "refuse 401 token-revoked");
    let soon = sample::NOW.plus_millis(4_999);
    assert_eq!(summary(&gateway.gate(), &key_call(&key), &mut memory, soon), "refuse 401 token-revoked");
    let later = sample::NOW.plus_millis(5_000);
    assert_eq!(summary(&gateway.gate(), &key_call(&key), &mut memory, later), "needs credential");
}

#[test]
fn nobody_has_the_origin_asked_about_more_keys_than_passwords() {
    let gateway = gateway(|policy| policy.limits.credential = Quota { requests: 3, window_seconds: 60 });
    let mut memory = Memory::default();
    let mut ask = |id| {
        let key = api_key::issue(api_key::Environment::Live, [id; 16], [2; 32]);
        summary(&gateway.gate(), &key_call(&key), &mut memory, sample::NOW)
    };
    assert_eq!(
        [1, 2, 3, 4].map(&mut ask),
        ["needs credential", "needs credential", "needs credential", "refuse 429 rate-limited"]
    );
}

/// CVE-2026-33496, CVE-2026-71326: the same token text, in two projects that trust the same issuer name with other keys.
#[test]
fn attack_6_what_one_project_verified_says_nothing_in_another() {
    let issuer = |key: &SigningKey| ExternalIssuer {
        audiences: vec!["https://notes.test".into()],
        keys: vec![IssuerKey {
            kid: "idp-1".into(),
            alg: crate::jwt::Algorithm::EdDsa,
            jwk: key.public_jwk(),
        }],
        scope_claim: "scp".into(),
        scopes: ["notes:read"].into_iter().collect(),
    };
    let gateway = gateway(|policy| {
        let other = policy.projects.get_mut("captionacc").unwrap();
        other.issuers.insert(sample::IDP.into(), issuer(&SigningKey::from_seed("idp-1", &[66; 32])));
        other.services.get_mut("prefect").unwrap().credentials.push(Credential::ExternalToken);
    });
    let now = sample::NOW.seconds();
    let claims = json!({ "iss": sample::IDP, "sub": "u1", "aud": "https://notes.test", "exp": now + 300, "scp": "notes:read" });
    let authorization = format!("Bearer {}", sample::idp_key().sign("JWT", &claims).unwrap());
    let mut memory = Memory::default();
    let notes = Facts { target: "/notes/files/x", ..call(&authorization) };
    let captionacc = Facts { target: "/captionacc/prefect/x", ..call(&authorization) };
    assert_eq!(summary(&gateway.gate(), &notes, &mut memory, sample::NOW), UPSTREAM);
    assert_eq!(summary(&gateway.gate(), &captionacc, &mut memory, sample::NOW), "refuse 401 token-signature");
    assert_eq!(summary(&gateway.gate(), &notes, &mut memory, sample::NOW), UPSTREAM);
    // Framed: no slug and token together read as another slug and token.
    let trust = gateway.gate().active.trust();
    assert_ne!(memory.token_key("a", "bc", trust), memory.token_key("ab", "c", trust));
    assert_ne!(memory.token_key("", "abc", trust), memory.token_key("a", "bc", trust));
}

#[test]
fn a_changed_key_set_empties_the_memory_and_a_revocation_does_not() {
    let before = gateway(|_| ());
    let revoked = gateway(|policy| {
        policy.revocations.tokens.insert("x".into(), 1);
    });
    let rotated = gateway(|policy| policy.keys.truncate(1));
    let trusted = gateway(|policy| {
        policy
            .projects
            .get_mut("captionacc")
            .unwrap()
            .issuers
            .insert(sample::IDP.into(), ExternalIssuer::default());
    });
    assert_eq!(before.gate().active.trust(), revoked.gate().active.trust());
    assert_ne!(before.gate().active.trust(), rotated.gate().active.trust());
    assert_ne!(before.gate().active.trust(), trusted.gate().active.trust());
}

fn part(value: &Value) -> String {
    base64url::encode(value.to_string().as_bytes())
}

#[test]
fn a_proof_serves_one_request() {
    let holder = SigningKey::from_seed("holder", &[8; 32]);
    let thumbprint = crate::dpop::thumbprint(&holder.public_jwk()).unwrap();
    let now = sample::NOW.seconds();
    let claims = json!({
        "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now, "exp": now + 300,
        "jti": "t1", "scope": "notes:read", "cnf": { "jkt": thumbprint },
    });
    let token = sample::signing_key().sign("at+jwt", &claims).unwrap();
    let proof = |jti: &str| {
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": holder.public_jwk() });
        let claims = json!({ "jti": jti, "htm": "GET", "htu": "https://auth.test/notes/api/x", "iat": now,
                             "ath": base64url::encode(&Sha256::digest(token.as_bytes())) });
        let input = format!("{}.{}", part(&header), part(&claims));
        format!("{input}.{}", base64url::encode(&holder.sign_bytes(input.as_bytes())))
    };
    let (one, two) = (proof("1"), proof("2"));
    let gateway = gateway(|_| ());
    let authorization = format!("DPoP {token}");
    let mut memory = Memory::default();
    let mut send = |proof: &str, request_id: &str, now: UnixMillis| {
        let facts = Facts { dpop: Some(proof), request_id, ..call(&authorization) };
        summary(&gateway.gate(), &facts, &mut memory, now)
    };
    let good = "upstream http://notes.internal/x".to_string();
    assert_eq!(send(&one, "r1", sample::NOW), good);
    // Judged again after a look-up: the same request.
    assert_eq!(send(&one, "r1", sample::NOW), good);
    assert_eq!(send(&one, "r2", sample::NOW), "refuse 401 dpop-proof-invalid");
    assert_eq!(send(&one, "r3", sample::NOW.plus_millis(59_000)), "refuse 401 dpop-proof-invalid");
    assert_eq!(send(&two, "r4", sample::NOW), good);
}
