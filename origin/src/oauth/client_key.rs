//! The public keys that a client signs its assertions with: what may be registered, and what each verifies. A key decides its
//! algorithm; it may not be chosen by what is verified (RFC 8725 §3.1).

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::{
    base64url, dpop,
    jwt::{Algorithm, Jwk, SignatureCheck, TokenFault, Unverified, VerificationKey},
};

/// Moduli that are long enough, and not so long that a signature takes for ever, in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Members that only a private or a shared key has (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A key that a client has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// By which an assertion says that it is this one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The one algorithm it is used with.
    alg: Algorithm,
    #[serde(flatten)]
    jwk: Jwk,
}

/// Why a key cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyFault {
    /// It has a private or shared part.
    #[error(
        "this is a private or shared key: register the public one alone, and replace what has been shown"
    )]
    Private,
    /// It is of another kind.
    #[error(
        "a key is kty OKP with crv Ed25519, kty EC with crv P-256, or kty RSA, with its members in base64url"
    )]
    Unsupported,
    /// `alg` is not its kind's.
    #[error("alg must be EdDSA, ES256 or RS256, as the kind of the key has it")]
    WrongAlgorithm,
    /// `use` is not `sig`.
    #[error("a key with another use than sig signs nothing")]
    WrongUse,
    /// `kid` is no text of 1 to 128 characters.
    #[error("a kid has 1 to 128 characters")]
    BadKid,
}

impl ClientKey {
    /// Reads a JWK that somebody wants to register. Members without a meaning here are left out.
    pub fn read(members: Map<String, Value>) -> Result<Self, ClientKeyFault> {
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(ClientKeyFault::Private);
        }
        if members.get("use").is_some_and(|value| value != "sig") {
            return Err(ClientKeyFault::WrongUse);
        }
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=128).contains(&kid.len()) => Some(kid.clone()),
            Some(_) => return Err(ClientKeyFault::BadKid),
        };
        let said = members.get("alg").cloned();
        let jwk: Jwk =
            serde_json::from_value(Value::Object(members)).map_err(|_| ClientKeyFault::Unsupported)?;
        let alg = match &jwk {
            Jwk::Okp { .. } => Algorithm::EdDsa,
            Jwk::Ec { .. } => Algorithm::Es256,
            Jwk::Rsa { .. } => Algorithm::Rs256,
        };
        // RFC 9864 has a name for what EdDSA means with this curve.
        let fits =
            said.is_none_or(|said| said == alg.name() || (alg == Algorithm::EdDsa && said == "Ed25519"));
        if !fits {
            return Err(ClientKeyFault::WrongAlgorithm);
        }
        let key = Self { kid, alg, jwk };
        if key.is_sound() { Ok(key) } else { Err(ClientKeyFault::Unsupported) }
    }

    fn is_sound(&self) -> bool {
        VerificationKey::from_jwk(self.alg, &self.jwk).is_some()
            && match &self.jwk {
                Jwk::Okp { .. } => true,
                Jwk::Ec { x, y, .. } => point(x, y).is_some(),
                Jwk::Rsa { n, e } => numbers(n, e).is_some(),
            }
    }

    /// The thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> String {
        // A key that was read has members that decode.
        dpop::thumbprint(&self.jwk).unwrap_or_default()
    }

    /// Whether this key made the signature. The header's `alg` must be the key's.
    pub(super) fn verifies(&self, token: &Unverified<'_>) -> Result<bool, TokenFault> {
        let Some(key) = VerificationKey::from_jwk(self.alg, &self.jwk) else { return Ok(false) };
        // Ed25519 under its other name (RFC 9864): the key has decided what it means.
        if self.alg == Algorithm::EdDsa && token.algorithm() == "Ed25519" {
            let check = key.check(token.signing_input().as_bytes(), token.signature());
            return Ok(check == SignatureCheck::Valid);
        }
        Ok(match token.check_signature(&key)? {
            SignatureCheck::Valid => true,
            SignatureCheck::Invalid => false,
            SignatureCheck::AskPlatform => {
                self.verifies_bytes(token.signing_input().as_bytes(), token.signature())
            }
        })
    }

    fn verifies_bytes(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.jwk {
            Jwk::Okp { .. } => false,
            Jwk::Ec { x, y, .. } => point(x, y).is_some_and(|point| {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }),
            Jwk::Rsa { n, e } => numbers(n, e).is_some_and(|(n, e)| {
                RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }),
        }
    }
}

/// An uncompressed point (SEC 1, 2.3.3).
fn point(x: &str, y: &str) -> Option<Vec<u8>> {
    let coordinate = |text: &str| base64url::decode_array::<32>(text);
    Some([[4].as_slice(), &coordinate(x)?, &coordinate(y)?].concat())
}

/// Modulus and exponent, without zeros before them.
fn numbers(n: &str, e: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let number = |text: &str| -> Option<Vec<u8>> {
        let bytes = base64url::decode(text)?;
        Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
    };
    let (n, e) = (number(n)?, number(e)?);
    (RSA_BYTES.contains(&n.len()) && (1..=4).contains(&e.len())).then_some((n, e))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(jwk: Value) -> Result<ClientKey, ClientKeyFault> {
        let Value::Object(members) = jwk else { panic!("an object") };
        ClientKey::read(members)
    }

    /// RFC 8037 appendix A.
    fn ed25519() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    /// RFC 7515 appendix A.2.
    fn rsa() -> Value {
        json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"})
    }

    /// RFC 7515 appendix A.3.
    fn p256() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
               "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
        jwk[name] = value.into();
        jwk
    }

    #[test]
    fn public_keys_of_three_kinds_are_read_and_kept_as_they_are() {
        for (jwk, alg) in [(ed25519(), "EdDSA"), (rsa(), "RS256"), (p256(), "ES256")] {
            let key = read(with(with(with(jwk, "kid", "k1"), "alg", alg), "use", "sig")).unwrap();
            let stored = serde_json::to_value(&key).unwrap();
            assert_eq!((stored["alg"].as_str(), stored["kid"].as_str()), (Some(alg), Some("k1")));
            assert_eq!(serde_json::from_value::<ClientKey>(stored).unwrap(), key);
            assert_eq!(key.thumbprint().len(), 43);
        }
        assert!(read(with(ed25519(), "alg", "Ed25519")).is_ok());
    }

    #[test]
    fn what_is_private_of_another_kind_or_too_short_is_refused() {
        use ClientKeyFault::{BadKid, Private, Unsupported, WrongAlgorithm, WrongUse};
        let table = [
            (with(ed25519(), "d", "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"), Private),
            (json!({"kty": "oct", "k": "AAAA"}), Private),
            (json!({"kty": "oct"}), Unsupported),
            (with(rsa(), "n", "AQAB"), Unsupported),
            (with(rsa(), "e", ""), Unsupported),
            (with(p256(), "crv", "P-384"), Unsupported),
            (with(p256(), "x", "AA"), Unsupported),
            (with(ed25519(), "crv", "X25519"), Unsupported),
            // A point of small order verifies anything.
            (with(ed25519(), "x", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), Unsupported),
            (with(rsa(), "alg", "HS256"), WrongAlgorithm),
            (with(rsa(), "alg", "ES256"), WrongAlgorithm),
            (with(p256(), "alg", "none"), WrongAlgorithm),
            (with(p256(), "use", "enc"), WrongUse),
            (with(p256(), "kid", ""), BadKid),
            (with(p256(), "kid", 1), BadKid),
        ];
        for (jwk, fault) in table {
            assert_eq!(read(jwk.clone()), Err(fault), "{jwk}");
        }
    }

    #[test]
    fn the_examples_of_rfc_7515_verify_and_no_other_bit_does() {
        let rs256 = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let es256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let (rsa, p256) = (read(rsa()).unwrap(), read(p256()).unwrap());
        for (token, key, other) in [(rs256, &rsa, &p256), (es256, &p256, &rsa)] {
            let parsed = Unverified::parse(token).unwrap();
            assert_eq!(key.verifies(&parsed), Ok(true));
            assert_eq!(other.verifies(&parsed), Err(TokenFault::WrongAlgorithm));
            let message = parsed.signing_input().as_bytes();
            let mut signature = parsed.signature().to_vec();
            for bit in (0..signature.len() * 8).step_by(61) {
                signature[bit / 8] ^= 1 << (bit % 8);
                assert!(!key.verifies_bytes(message, &signature), "bit {bit}");
                signature[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(!key.verifies_bytes(message, &[]));
        }
    }
}
