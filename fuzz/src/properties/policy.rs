//! Policies as an edge accepts them. An input is the content, with a filter after the line's end; or a
//! statement (a token) on the first line and the content after it.

use shared::{
    decide::{Facts, Gate, Memory, decide, sample},
    jwt::{SigningKey, VerificationKey},
    policy::{ActivePolicy, Policy, PolicyFault, PolicyStatement},
    time::UnixMillis,
};
use std::sync::LazyLock;

static ORIGIN_KEY: LazyLock<SigningKey> = LazyLock::new(sample::origin_key);
static PUBLIC: LazyLock<VerificationKey> = LazyLock::new(|| ORIGIN_KEY.verification_key());

/// Only what the origin signed is accepted, as it was signed, and what is accepted can be decided by.
pub fn hold(input: &[u8]) {
    if let Some((statement, content)) = super::split_line(input) {
        // Nobody but the origin can have signed it; the seeds hold none of its statements.
        assert!(matches!(accept(statement, content), Err(PolicyFault::Statement(_))));
    }
    let content = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let statement = signed(1, content);
    let Ok(active) = accept(&statement, input) else { return };
    assert_eq!((active.version, active.made_at), (1, sample::NOW));
    assert_eq!(active.policy.issuer, sample::ISSUER);
    let altered = [content, b" "].concat();
    assert!(matches!(accept(&statement, &altered), Err(PolicyFault::OtherContent)));

    let older = signed(0, content);
    let refused = ActivePolicy::accept(&older, input, &PUBLIC, sample::ISSUER, Some(&active));
    assert!(matches!(refused, Err(PolicyFault::Older)));
    let written = serde_json::to_vec(&active.policy).expect("a policy can be written");
    let again: Policy = serde_json::from_slice(&written).expect("and read again");
    assert_eq!(again, active.policy);
    decide_by(&active);
}

fn signed(version: u64, content: &[u8]) -> String {
    PolicyStatement::new(sample::ISSUER, version, sample::NOW, content)
        .sign(&ORIGIN_KEY)
        .expect("a statement")
}

fn accept(statement: &str, content: &[u8]) -> Result<ActivePolicy, PolicyFault> {
    ActivePolicy::accept(statement, content, &PUBLIC, sample::ISSUER, None)
}

/// A policy that was accepted decides without a fault, whatever it says.
fn decide_by(active: &ActivePolicy) {
    let (code_key, edge_key) = (sample::code_key(), sample::edge_key());
    let gate = Gate {
        active,
        code_key: &code_key,
        service_secret: None,
        metrics_token: None,
        origin_key: &PUBLIC,
        edge_key: Some(&edge_key),
        region: Some("eu"),
        policy_made_at: sample::NOW,
        has_exact_limits: true,
    };
    let mut memory = Memory::default();
    let claims = r#"{"iss":"https://auth.test","sub":"u1","aud":"https://auth.test/notes","client_id":"app","iat":1800000000,"exp":1800000300,"jti":"t1","scope":"notes:read","sid":"g1","workspace_id":"w1"}"#;
    let token = super::jwt::sign(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, claims.as_bytes());
    let bearer = format!("Bearer {token}");
    for (method, target) in [
        ("GET", "/notes/api/items?x=1"),
        ("OPTIONS", "/notes/api/items"),
        ("POST", "/captionacc/prefect/flows"),
        ("GET", "/notes/api/health"),
        ("GET", "/oauth/authorize?client_id=app&response_type=code"),
    ] {
        let facts = Facts {
            method,
            target,
            address: "192.0.2.1",
            authorization: Some(&bearer),
            origin: Some("https://app.test"),
            cors_method: Some("GET"),
            header_names: "authorization\norigin",
            request_id: "r1",
            ..Facts::default()
        };
        for now in [UnixMillis(0), sample::NOW, UnixMillis(u64::MAX)] {
            let _ = decide(&gate, &facts, &mut memory, now);
        }
    }
}
