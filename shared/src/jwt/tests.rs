//! Vectors of the RFCs, and what a damaged token is worth.

use alloc::string::{String, ToString as _};

use proptest::prelude::*;
use serde_json::json;

use super::{
    Algorithm, Claims, Jwk, SignatureCheck, SigningKey, TokenFault, Unverified, VerificationKey, verify_own,
};
use crate::base64url;

const RFC_7515_A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const RFC_7515_A1_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const RFC_7515_A3: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn hs256(key: &str) -> VerificationKey {
    VerificationKey::hs256(&base64url::decode(key).unwrap()).unwrap()
}

#[test]
fn rfc_7515_appendix_a1_hs256() {
    let token = Unverified::parse(RFC_7515_A1).unwrap();
    assert_eq!(
        (token.algorithm(), token.token_type().as_deref(), token.key_id()),
        ("HS256", Some("jwt"), None)
    );
    assert_eq!(token.check_signature(&hs256(RFC_7515_A1_KEY)), Ok(SignatureCheck::Valid));
    let claims: serde_json::Value = token.claims().unwrap();
    assert_eq!(claims, json!({"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true}));
    assert_eq!(
        token.check_signature(&VerificationKey::hs256(&[1; 32]).unwrap()),
        Ok(SignatureCheck::Invalid)
    );
}

#[test]
fn rfc_7515_appendix_a3_es256_is_left_to_the_platform() {
    let jwk = Jwk::Ec {
        crv: "P-256".into(),
        x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU".into(),
        y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0".into(),
    };
    let key = VerificationKey::from_jwk(Algorithm::Es256, &jwk).unwrap();
    let token = Unverified::parse(RFC_7515_A3).unwrap();
    assert_eq!(token.check_signature(&key), Ok(SignatureCheck::AskPlatform));
    assert_eq!(token.signature().len(), 64);
    assert_eq!(RFC_7515_A3.strip_prefix(token.signing_input()).unwrap().len(), 87);
    assert!(VerificationKey::from_jwk(Algorithm::EdDsa, &jwk).is_none());
    assert!(VerificationKey::from_jwk(Algorithm::Hs256, &jwk).is_none());
}

#[test]
fn rfc_7520_section_4_4_hs256() {
    let input = concat!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
        ".SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9h",
        "ZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3",
        "ZXB0IG9mZiB0by4",
    );
    let signature = base64url::decode("s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0").unwrap();
    let key = hs256("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg");
    assert_eq!(key.check(input.as_bytes(), &signature), SignatureCheck::Valid);
    assert_eq!(key.check(input.as_bytes(), &signature[..31]), SignatureCheck::Invalid);
}

#[test]
fn rfc_8037_appendix_a4_ed25519() {
    let jwk = Jwk::Okp { crv: "Ed25519".into(), x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into() };
    let key = VerificationKey::from_jwk(Algorithm::EdDsa, &jwk).unwrap();
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = base64url::decode(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    )
    .unwrap();
    assert_eq!(key.check(input, &signature), SignatureCheck::Valid);
    let seed = base64url::decode_array("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let signing = SigningKey::from_seed("a", &seed);
    assert_eq!(signing.public_jwk(), jwk);
    assert_eq!(signing.sign_bytes(input).to_vec(), signature);
}

#[test]
fn keys_that_are_none_are_refused() {
    assert!(VerificationKey::hs256(&[0; 31]).is_none());
    // The identity point: everybody's signature would do.
    let mut small_order = [0; 32];
    small_order[0] = 1;
    assert!(VerificationKey::ed25519(&small_order).is_none());
}

fn ours() -> (SigningKey, String) {
    let key = SigningKey::from_seed("k1", &[1; 32]);
    let token = key.sign("at+jwt", &json!({"jti": "t1", "iat": 1, "exp": 2, "scope": "a"})).unwrap();
    (key, token)
}

fn accepts(key: &SigningKey, token: &str) -> bool {
    verify_own::<Claims>(token, "at+jwt", &key.verification_key()).is_ok()
}

#[test]
fn attack_11_every_truncation_and_every_bit_flip_is_refused() {
    let (key, token) = ours();
    assert!(accepts(&key, &token));
    for length in 0..token.len() {
        assert!(!accepts(&key, &token[..length]), "cut to {length}");
        assert!(!accepts(&key, &token[length + 1..]), "cut from {length}");
    }
    for index in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[index] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(!accepts(&key, &flipped), "bit {bit} of character {index}");
        }
    }
    for extended in [
        token.clone() + ".",
        token.clone() + "A",
        token.clone() + "=",
        " ".to_string() + &token,
        token.clone() + "\n",
    ] {
        assert!(!accepts(&key, &extended), "{extended:?}");
    }
}

#[test]
fn attack_9_the_key_decides_the_algorithm() {
    let (key, token) = ours();
    // The public key's bytes as an HMAC secret: the classic confusion.
    let Jwk::Okp { x, .. } = key.public_jwk() else { panic!("an Ed25519 key") };
    let confused = hs256(&x);
    assert_eq!(
        Unverified::parse(&token).unwrap().check_signature(&confused),
        Err(TokenFault::WrongAlgorithm)
    );
    assert_eq!(
        Unverified::parse(RFC_7515_A1).unwrap().check_signature(&key.verification_key()),
        Err(TokenFault::WrongAlgorithm)
    );
}

#[test]
fn a_statement_of_another_type_is_refused() {
    let (key, token) = ours();
    assert_eq!(
        verify_own::<Claims>(&token, "service+jwt", &key.verification_key()).unwrap_err(),
        TokenFault::WrongType
    );
    assert_eq!(Unverified::parse(&"a".repeat(8193)).err(), Some(TokenFault::TooLong));
}

proptest! {
    #[test]
    fn never_panics(text in "[A-Za-z0-9_.-]{0,120}", other in any::<String>()) {
        let _ = Unverified::parse(&text);
        let _ = Unverified::parse(&other);
    }

    #[test]
    fn what_is_signed_verifies_under_its_key_alone(seed in any::<[u8; 32]>(), other in any::<[u8; 32]>(), jti in ".{0,20}") {
        let key = SigningKey::from_seed("k", &seed);
        let token = key.sign("at+jwt", &json!({"jti": jti, "iat": 1, "exp": 2})).unwrap();
        prop_assert_eq!(verify_own::<Claims>(&token, "at+jwt", &key.verification_key()).unwrap().jti, jti);
        prop_assert!(seed == other || !accepts(&SigningKey::from_seed("k", &other), &token));
    }
}
