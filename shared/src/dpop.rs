//! Proofs of possession (RFC 9449): a JWT that the holder of a key makes for one request. It may not judge the access token, nor
//! remember proofs: whoever asks must refuse one that was seen before.

use alloc::string::{String, ToString};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    base64url,
    jwt::{Algorithm, Jwk, SignatureCheck, Unverified, VerificationKey},
    path::CanonicalPath,
    time::UnixMillis,
};

/// Its `typ` (§4.2).
pub const TOKEN_TYPE: &str = "dpop+jwt";
/// The algorithms a proof may have, as `WWW-Authenticate` lists them (§7.1).
pub const ALGORITHMS: &str = "EdDSA ES256";
/// How long a proof holds, in seconds, from its `iat`; its `jti` must be remembered as long.
pub const LIFETIME_SECONDS: u64 = 60;
/// How far ahead of our clock its `iat` may lie, in seconds.
const CLOCK_SKEW_SECONDS: u64 = 5;
/// The longest `jti` that is looked at, in bytes.
const MAX_ID_BYTES: usize = 256;

/// Why a proof is refused (§4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofFault {
    /// It is not one well-formed JWT of this type, with a public key of a kind that is accepted.
    Malformed,
    /// The signature does not verify with the key that it brings.
    BadSignature,
    /// It is for another method or URL.
    OtherRequest,
    /// It is too old, or from the future.
    OutOfTime,
    /// It is for another access token.
    OtherToken,
    /// The access token is bound to another key.
    OtherKey,
    /// It was used before.
    Replayed,
}

impl ProofFault {
    /// What the caller did, in a sentence.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Malformed => {
                "The DPoP header is not one proof: a JWT of typ dpop+jwt, alg EdDSA or ES256, with its public jwk, jti, htm, htu, iat and ath."
            }
            Self::BadSignature => "The DPoP proof's signature does not verify with its jwk.",
            Self::OtherRequest => "The DPoP proof's htm or htu is not this request's method and URL.",
            Self::OutOfTime => "The DPoP proof's iat is more than 60 s old, or lies in the future.",
            Self::OtherToken => "The DPoP proof's ath is not the hash of this access token.",
            Self::OtherKey => "The access token is bound to another key than the DPoP proof's.",
            Self::Replayed => "The DPoP proof was used before. Make one for every request.",
        }
    }
}

/// A proof whose signature nobody has checked.
pub struct Proof<'a> {
    token: Unverified<'a>,
    key: VerificationKey,
    thumbprint: String,
    claims: Claims,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: u64,
    #[serde(default)]
    ath: Option<String>,
}

/// What a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct ProvedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The gateway's public URL, without a trailing slash.
    pub issuer: &'a str,
    /// The request's path.
    pub path: &'a CanonicalPath,
    /// The access token.
    pub access_token: &'a str,
    /// The key that the access token is bound to (`cnf.jkt`, §6.1).
    pub thumbprint: &'a str,
}

impl<'a> Proof<'a> {
    /// Takes the `DPoP` header apart. Several values arrive joined by a comma, which no JWT has.
    pub fn parse(header: &'a str) -> Result<Self, ProofFault> {
        let token = Unverified::parse_with_key(header).map_err(|_| ProofFault::Malformed)?;
        if token.token_type().as_deref() != Some(TOKEN_TYPE) {
            return Err(ProofFault::Malformed);
        }
        let (algorithm, jwk) = token.embedded_key().and_then(public_key).ok_or(ProofFault::Malformed)?;
        let key = VerificationKey::from_jwk(algorithm, &jwk).ok_or(ProofFault::Malformed)?;
        let claims: Claims = token.claims().map_err(|_| ProofFault::Malformed)?;
        if claims.jti.is_empty() || claims.jti.len() > MAX_ID_BYTES || token.algorithm() != algorithm.name() {
            return Err(ProofFault::Malformed);
        }
        let thumbprint = thumbprint(&jwk).ok_or(ProofFault::Malformed)?;
        Ok(Self { token, key, thumbprint, claims })
    }

    /// Everything but signature and replay (§4.3).
    pub fn check(&self, request: &ProvedRequest<'_>, now: UnixMillis) -> Result<(), ProofFault> {
        let Claims { htm, htu, iat, ath, .. } = &self.claims;
        if htm != request.method || !is_url_of(htu, request.issuer, request.path) {
            return Err(ProofFault::OtherRequest);
        }
        let too_old = now.seconds() >= iat.saturating_add(LIFETIME_SECONDS);
        if too_old || *iat > now.seconds().saturating_add(CLOCK_SKEW_SECONDS) {
            return Err(ProofFault::OutOfTime);
        }
        let hash = base64url::encode(&Sha256::digest(request.access_token.as_bytes()));
        if ath.as_deref() != Some(hash.as_str()) {
            return Err(ProofFault::OtherToken);
        }
        if self.thumbprint != request.thumbprint {
            return Err(ProofFault::OtherKey);
        }
        Ok(())
    }

    /// Asks the proof's own key about its signature.
    pub fn check_signature(&self) -> SignatureCheck {
        self.token.check_signature(&self.key).unwrap_or(SignatureCheck::Invalid)
    }

    /// The key it brings.
    pub fn key(&self) -> &VerificationKey {
        &self.key
    }

    /// The token.
    pub fn token(&self) -> &Unverified<'a> {
        &self.token
    }

    /// What a second proof must not have: key and `jti` together, since everybody may choose their own `jti`.
    pub fn replay_key(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.thumbprint.as_bytes())
            .chain_update([0])
            .chain_update(self.claims.jti.as_bytes())
            .finalize()
            .into()
    }
}

/// Algorithm and public key of a `jwk`; `None` when it is of another kind or brings a private part.
fn public_key(jwk: &Value) -> Option<(Algorithm, Jwk)> {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let members = jwk.as_object()?;
    if PRIVATE.iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(ToString::to_string);
    match text("kty")?.as_str() {
        "OKP" => Some((Algorithm::EdDsa, Jwk::Okp { crv: text("crv")?, x: text("x")? })),
        "EC" => {
            let (x, y) = (text("x")?, text("y")?);
            let _: [u8; 32] = base64url::decode_array(&x)?;
            let _: [u8; 32] = base64url::decode_array(&y)?;
            Some((Algorithm::Es256, Jwk::Ec { crv: text("crv")?, x, y }))
        }
        _ => None,
    }
}

/// The thumbprint of a key (RFC 7638 §3): base64url of the SHA-256 of its required members in order. Members that are not base64url
/// have none, so that no text can stand for two keys.
pub fn thumbprint(jwk: &Jwk) -> Option<String> {
    let plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(())
    };
    let canonical = match jwk {
        Jwk::Okp { crv, x } => {
            plain(crv).and(plain(x))?;
            alloc::format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#)
        }
        Jwk::Ec { crv, x, y } => {
            plain(crv).and(plain(x)).and(plain(y))?;
            alloc::format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        Jwk::Rsa { n, e } => {
            plain(n).and(plain(e))?;
            alloc::format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
        }
    };
    Some(base64url::encode(&Sha256::digest(canonical.as_bytes())))
}

/// Whether `htu`, without query and fragment, is this path of the gateway (§4.3, 9).
fn is_url_of(htu: &str, issuer: &str, path: &CanonicalPath) -> bool {
    let Some(rest) = htu.strip_prefix(issuer) else { return false };
    let raw = rest.split(['?', '#']).next().unwrap_or_default();
    CanonicalPath::parse(raw).is_ok_and(|asked| asked == *path)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jwt::SigningKey;

    const ISSUER: &str = "https://auth.test";
    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn holder() -> SigningKey {
        SigningKey::from_seed("holder", &[7; 32])
    }

    fn signed(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = holder().sign_bytes(input.as_bytes());
        format!("{input}.{}", base64url::encode(&signature))
    }

    fn header() -> Value {
        json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": holder().public_jwk() })
    }

    fn claims() -> Value {
        json!({ "jti": "p1", "htm": "GET", "htu": "https://auth.test/notes/api/x", "iat": NOW.seconds(),
                "ath": base64url::encode(&Sha256::digest(b"token")) })
    }

    fn judge(proof: &str, now: UnixMillis) -> Result<(), ProofFault> {
        let proof = Proof::parse(proof)?;
        let path = CanonicalPath::parse("/notes/api/x").unwrap();
        let thumbprint = thumbprint(&holder().public_jwk()).unwrap();
        let request = ProvedRequest {
            method: "GET",
            issuer: ISSUER,
            path: &path,
            access_token: "token",
            thumbprint: &thumbprint,
        };
        proof.check(&request, now)?;
        match proof.check_signature() {
            SignatureCheck::Valid => Ok(()),
            _ => Err(ProofFault::BadSignature),
        }
    }

    /// RFC 7638 §3.1 and RFC 8037 appendix A.3.
    #[test]
    fn thumbprints_of_the_specifications() {
        let rsa = Jwk::Rsa {
            n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".into(),
            e: "AQAB".into(),
        };
        assert_eq!(thumbprint(&rsa).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        let okp = Jwk::Okp { crv: "Ed25519".into(), x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into() };
        assert_eq!(thumbprint(&okp).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
        assert_eq!(thumbprint(&Jwk::Okp { crv: "Ed25519".into(), x: "a\",\"y\":\"b".into() }), None);
    }

    #[test]
    fn a_proof_is_for_one_method_url_token_and_minute() {
        let proof = signed(&header(), &claims());
        assert_eq!(judge(&proof, NOW), Ok(()));
        assert_eq!(judge(&proof, NOW.plus_millis(59_000)), Ok(()));
        assert_eq!(judge(&proof, NOW.plus_millis(60_000)), Err(ProofFault::OutOfTime));
        assert_eq!(judge(&proof, UnixMillis(NOW.0 - 6_000)), Err(ProofFault::OutOfTime));
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            judge(&signed(&header(), &claims), NOW)
        };
        assert_eq!(with("htm", json!("POST")), Err(ProofFault::OtherRequest));
        assert_eq!(with("htu", json!("https://auth.test/notes/api/x?y=1#z")), Ok(()));
        assert_eq!(with("htu", json!("https://auth.test/notes/api/%78")), Ok(()));
        for htu in [
            "https://auth.test/notes/api/y",
            "https://auth.test.evil.test/notes/api/x",
            "https://evil.test/notes/api/x",
            "https://auth.test/notes/api/y/../x",
            "/notes/api/x",
        ] {
            assert_eq!(with("htu", json!(htu)), Err(ProofFault::OtherRequest), "{htu}");
        }
        assert_eq!(with("ath", json!("x")), Err(ProofFault::OtherToken));
        assert_eq!(with("ath", Value::Null), Err(ProofFault::OtherToken));
        assert_eq!(with("jti", json!("")), Err(ProofFault::Malformed));
        assert_eq!(with("iat", json!("now")), Err(ProofFault::Malformed));
    }

    #[test]
    fn attack_9_a_proof_brings_a_public_key_of_its_own_algorithm_and_nothing_else() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut header = header();
            change(&mut header);
            judge(&signed(&header, &claims()), NOW)
        };
        assert_eq!(with(&|header| header["typ"] = json!("at+jwt")), Err(ProofFault::Malformed));
        assert_eq!(with(&|header| header["alg"] = json!("none")), Err(ProofFault::Malformed));
        assert_eq!(with(&|header| header["alg"] = json!("HS256")), Err(ProofFault::Malformed));
        assert_eq!(with(&|header| header["alg"] = json!("ES256")), Err(ProofFault::Malformed));
        assert_eq!(with(&|header| header["jwk"]["d"] = json!("AA")), Err(ProofFault::Malformed));
        assert_eq!(
            with(&|header| header["jwk"] = json!({ "kty": "oct", "k": "AA" })),
            Err(ProofFault::Malformed)
        );
        assert_eq!(with(&|header| header["jku"] = json!("https://evil.test")), Err(ProofFault::Malformed));
        assert_eq!(with(&|header| header["crit"] = json!(["x"])), Err(ProofFault::Malformed));
        assert_eq!(
            with(&|header| drop(header.as_object_mut().unwrap().remove("jwk"))),
            Err(ProofFault::Malformed)
        );
        let another = SigningKey::from_seed("other", &[8; 32]).public_jwk();
        let another = serde_json::to_value(another).unwrap();
        assert_eq!(with(&|header| header["jwk"] = another.clone()), Err(ProofFault::OtherKey));
        let good = signed(&header(), &claims());
        assert_eq!(judge(&format!("{good}, {good}"), NOW), Err(ProofFault::Malformed));
    }

    #[test]
    fn attack_11_every_truncation_and_bit_flip_fails() {
        let proof = signed(&header(), &claims());
        for length in 0..proof.len() {
            assert!(judge(&proof[..length], NOW).is_err(), "{length}");
        }
        for index in 0..proof.len() {
            let mut bytes = proof.clone().into_bytes();
            bytes[index] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(judge(&changed, NOW).is_err(), "{index}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Proof::parse(&text);
        }
    }
}
