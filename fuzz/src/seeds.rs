//! First inputs for the fuzzer: requests, tokens, paths and forms of the shared corpus, and a policy. What the fuzzer makes of
//! them is kept in `corpus/`.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use shared::{
    api_key::{self, Environment},
    base64url,
    code::AuthorizationCode,
    corpus::CORPUS,
    decide::sample,
    pkce::CodeVerifier,
    policy::{RevocationFilter, entry_hash},
    refresh_token::RefreshToken,
};

use crate::properties::{jwt, note};

/// The target's name and the bytes.
type Seed = (&'static str, Vec<u8>);

/// Every seed.
pub fn all() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    let cases: Vec<Value> = serde_json::from_str(CORPUS).unwrap_or_default();
    for case in &cases {
        of_case(case, &mut seeds);
    }
    let policy = serde_json::to_vec(&sample::policy()).unwrap_or_default();
    seeds.push(("policy", policy.clone()));
    let claims = claims_with(None).to_string();
    let token = jwt::sign(br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#, claims.as_bytes());
    seeds.push(("policy", [token.as_bytes(), b"\n", &policy].concat()));
    seeds.push(("jwt", token.into_bytes()));
    for header in [
        r#"{"alg":"EdDSA","typ":"application/at+jwt","kid":"k1"}"#,
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","kid":"k1","jwk":{"kty":"OKP"}}"#,
    ] {
        seeds.push(("jwt", format!("{header}\n{claims}").into_bytes()));
    }
    for text in [
        "notes:read notes:write",
        "x_gateway-subject",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "-_8",
        "192.0.2.0/24",
        "2001:db8::/32",
    ] {
        seeds.push(("words", text.into()));
    }
    for pair in [
        "http://127.0.0.1/callback\nhttp://127.0.0.1:8000/callback",
        "http://[::1]/callback\nhttps://app.test/cb",
        "com.example.app:/cb\njavascript:alert(1)",
    ] {
        seeds.push(("authorization_request", pair.into()));
    }
    proofs(&mut seeds);
    notes(&mut seeds);
    seeds.push(("path", b"http://127.0.0.1:8787/notes/api/items?x=1\n127.0.0.1:8787".to_vec()));
    seeds.push(("form", b"Basic YXBwOnM=\ngrant_type=refresh_token&client_id=app".to_vec()));
    seeds.push(("opaque", api_key::issue(Environment::Live, [1; 16], [2; 32]).into_bytes()));
    seeds.push(("opaque", RefreshToken::issue([1; 16], 7, [2; 32]).to_text().into_bytes()));
    let hash = |number: u32| entry_hash("jti", &number.to_string());
    let filter = RevocationFilter::build((0..40).map(hash).collect(), (40..2000).map(hash), usize::MAX);
    seeds.extend(filter.map(|filter| ("filter", filter.bytes().to_vec())));
    seeds.extend(code().map(|code| ("opaque", code.into_bytes())));
    seeds
}

fn proofs(seeds: &mut Vec<Seed>) {
    let now = sample::NOW.seconds();
    let hash = base64url::encode(&Sha256::digest(b"the access token"));
    let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": sample::signing_key().public_jwk() });
    let claims = json!({ "jti": "p1", "htm": "GET", "htu": "https://auth.test/notes/files/x", "iat": now, "ath": hash });
    seeds.push(("proof", format!("{header}\n{claims}").into_bytes()));
    seeds.push((
        "proof",
        jwt::sign(header.to_string().as_bytes(), claims.to_string().as_bytes()).into_bytes(),
    ));
    seeds.push(("proof", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec()));
}

fn of_case(case: &Value, seeds: &mut Vec<Seed>) {
    let text = |name: &str| case.get(name).and_then(Value::as_str);
    let target = text("target").unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    seeds.push(("path", path.into()));
    if path == "/oauth/authorize" {
        seeds.push(("authorization_request", query.into()));
    }
    let mut request = format!("{} {target}", text("method").unwrap_or("GET"));
    let bearer = case.get("bearer").map(|bearer| format!("Bearer {}", claims_with(bearer.get("claims"))));
    if let Some(authorization) = text("authorization").or(bearer.as_deref()) {
        request.extend(["\nauthorization: ", authorization]);
    }
    for (name, key) in
        [("cookie", "cookie"), ("sec-fetch-site", "fetch_site"), ("content-type", "content_type")]
    {
        if let Some(value) = text(key) {
            request.extend(["\n", name, ": ", value]);
        }
    }
    for name in case.get("headers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        request.extend(["\n", name, ": 1"]);
    }
    if let Some(form) = text("form") {
        let form = form.replace("{code}", &code().unwrap_or_default());
        if text("content_type").is_none() {
            request.push_str("\ncontent-type: application/x-www-form-urlencoded");
        }
        request.push_str("\n\n");
        request.push_str(&form);
        seeds.push(("form", form.into_bytes()));
    }
    seeds.push(("decide", request.into_bytes()));
}

/// The claims of a good token, with `changes` laid over them; `null` removes one.
fn claims_with(changes: Option<&Value>) -> Value {
    let now = sample::NOW.seconds();
    let mut claims = Map::new();
    let good = json!({
        "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now, "exp": now + 300,
        "jti": "t1", "scope": "notes:read", "sid": "g1", "workspace_id": "w1",
    });
    for members in [Some(&good), changes].into_iter().flatten().filter_map(Value::as_object) {
        for (name, value) in members {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(claims)
}

/// A code for the verifier of RFC 7636 appendix B.
fn code() -> Option<String> {
    let challenge = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")?.challenge();
    let expires_at = sample::NOW.seconds() + 60;
    let code = AuthorizationCode::issue(
        &sample::code_key(),
        [5; 16],
        expires_at,
        "app",
        "https://app.test/cb",
        &challenge,
    );
    Some(code.to_text())
}

/// A note, its key, a checkpoint without and with signatures, and a proof.
fn notes(seeds: &mut Vec<Seed>) {
    let checkpoint = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let signature = "\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    let cosignature = "\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let note = format!("{checkpoint}\n{signature}{cosignature}");
    let path = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=";
    let proof = format!("c2sp.org/tlog-proof@v1\nextra Z2F0ZXdhcmQ=\nindex 73894\n{path}\n\n{note}");
    for text in [note::KEY, note::NOTE, checkpoint, &note, &proof] {
        seeds.push(("note", text.into()));
    }
}
