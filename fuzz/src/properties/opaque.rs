//! Credentials whose form alone can be judged: authorization codes, refresh tokens
//! and API keys. An input is such a text.

use shared::{
    api_key::{self, ApiKey, Environment},
    code::AuthorizationCode,
    decide::sample,
    pkce::CodeVerifier,
    refresh_token::RefreshToken,
    time::UnixMillis,
};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// One spelling, and nothing that was not issued is believed.
pub fn hold(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    if let Some(code) = AuthorizationCode::parse(text) {
        assert_eq!(code.to_text(), text);
        let challenge = CodeVerifier::parse(VERIFIER).expect("a verifier").challenge();
        let key = sample::code_key();
        if code.check(&key, "app", "https://app.test/cb", &challenge, UnixMillis(0)).is_ok() {
            // Only the seed with the fixed randomness can be right.
            let issued = AuthorizationCode::issue(
                &key,
                [5; 16],
                code.expires_at(),
                "app",
                "https://app.test/cb",
                &challenge,
            );
            assert_eq!(issued.to_text(), text);
            assert!(code.check(&key, "cli", "https://app.test/cb", &challenge, UnixMillis(0)).is_err());
            assert!(
                code.check(&key, "app", "https://app.test/cb", &challenge, sample::NOW).is_ok()
                    || code.expires_at() <= sample::NOW.seconds()
            );
        }
    }
    if let Some(token) = RefreshToken::parse(text) {
        assert_eq!(token.to_text(), text);
        let again = RefreshToken::issue(token.grant_id, token.generation, *token.secret());
        assert!(again == token && again.secret_hash() == token.secret_hash());
    }
    if let Some(key) = ApiKey::parse(text) {
        assert_eq!(text.len(), 80);
        assert!(
            text.starts_with(&api_key::display_prefix(key.environment(), key.id())),
            "one spelling of the id"
        );
        for at in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(
                ApiKey::parse(core::str::from_utf8(&other).expect("ASCII")),
                None,
                "one character off"
            );
        }
    }
    // Whatever the bytes are, a token made of them can be read again.
    let mut secret = [0; 32];
    for (slot, byte) in secret.iter_mut().zip(input) {
        *slot = *byte;
    }
    let token = RefreshToken::issue([secret[0]; 16], u32::from(secret[1]) << 24, secret);
    assert_eq!(RefreshToken::parse(&token.to_text()).as_ref(), Some(&token));
    let id = core::array::from_fn(|at| secret[at]);
    let key = ApiKey::parse(&api_key::issue(Environment::Live, id, secret)).expect("a key of ours");
    assert_eq!((key.environment(), key.id()), (Environment::Live, id));
}
