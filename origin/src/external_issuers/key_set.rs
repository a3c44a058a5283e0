//! Reading a JWK set of somebody else (RFC 7517 §5). Keys that a token may not be signed with here are left out: only ES256 on P-256,
//! RS256 with at least 2048 bits and Ed25519, meant for signatures, each under a name of its own. It may not believe a set that two
//! readers could read differently.

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::{
    base64url, json,
    jwt::{Algorithm, Jwk, VerificationKey},
    policy::IssuerKey,
};

/// How many keys of one issuer the policy carries.
pub(super) const MOST_KEYS: usize = 32;
/// Bounds of an RSA modulus, in bits: below, it can be broken; above, checking costs too much.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// Why a document is no JWK set that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetFault {
    /// It is not JSON with a list of keys, or ambiguous.
    #[error("what came is not an unambiguous JWK set")]
    Malformed,
    /// It has more than [`MOST_KEYS`] usable keys.
    #[error("it has more than {MOST_KEYS} usable keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Entry>,
}

/// A key as it stands there. Members of other types than these make the whole malformed (RFC 7517 §4).
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// The private part, or the whole of a symmetric key: neither has any business here.
    #[serde(alias = "k")]
    d: Option<serde::de::IgnoredAny>,
}

/// The usable keys of a document, by `kid`.
pub(super) fn read(document: &[u8]) -> Result<Vec<IssuerKey>, KeySetFault> {
    json::object_members(document).ok_or(KeySetFault::Malformed)?;
    let document: Document = serde_json::from_slice(document).map_err(|_| KeySetFault::Malformed)?;
    let mut named: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in document.keys {
        // Without a name a token cannot say which key it was signed with.
        let Some(kid) = entry.kid.clone().filter(|kid| is_name(kid)) else { continue };
        named.entry(kid).or_default().push(entry);
    }
    let keys: Vec<IssuerKey> = named
        .into_iter()
        .filter_map(|(kid, entries)| match &entries[..] {
            [entry] => usable(kid, entry),
            // Which of them is meant, nobody can tell.
            _ => None,
        })
        .collect();
    if keys.len() > MOST_KEYS { Err(KeySetFault::TooMany) } else { Ok(keys) }
}

fn is_name(kid: &str) -> bool {
    (1..=200).contains(&kid.len()) && !kid.chars().any(char::is_control)
}

fn usable(kid: String, entry: &Entry) -> Option<IssuerKey> {
    let is_for_signatures = match (&entry.usage, &entry.key_ops) {
        (Some(usage), _) => usage == "sig",
        (None, Some(operations)) => operations.iter().any(|operation| operation == "verify"),
        (None, None) => false,
    };
    if !is_for_signatures || entry.d.is_some() {
        return None;
    }
    let is_named = |names: &[&str]| entry.alg.as_deref().is_none_or(|alg| names.contains(&alg));
    let (alg, jwk) = match entry.kty.as_str() {
        "EC" if is_named(&["ES256"]) => {
            let (x, y) = (entry.x.as_deref()?, entry.y.as_deref()?);
            base64url::decode_array::<32>(x)?;
            base64url::decode_array::<32>(y)?;
            (Algorithm::Es256, Jwk::Ec { crv: entry.crv.clone()?, x: x.to_owned(), y: y.to_owned() })
        }
        "RSA" if is_named(&["RS256"]) => {
            let (n, e) = (entry.n.as_deref()?, entry.e.as_deref()?);
            let is_sound =
                RSA_BITS.contains(&bits(&base64url::decode(n)?)) && is_exponent(&base64url::decode(e)?);
            (Algorithm::Rs256, is_sound.then(|| Jwk::Rsa { n: n.to_owned(), e: e.to_owned() })?)
        }
        // RFC 8037 §3.1, and RFC 9864 §2.2, which names the curve.
        "OKP" if is_named(&["EdDSA", "Ed25519"]) => {
            (Algorithm::EdDsa, Jwk::Okp { crv: entry.crv.clone()?, x: entry.x.clone()? })
        }
        _ => return None,
    };
    VerificationKey::from_jwk(alg, &jwk)?;
    Some(IssuerKey { kid, alg, jwk })
}

/// The length of a big-endian number without leading zeros (RFC 7518 §2, `Base64urlUInt`).
fn bits(number: &[u8]) -> u32 {
    match number {
        [] | [0, ..] => 0,
        [first, rest @ ..] => u32::try_from(rest.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(8)
            .saturating_add(8 - first.leading_zeros()),
    }
}

/// An odd number from 3 to what four bytes hold.
fn is_exponent(number: &[u8]) -> bool {
    (2..=32).contains(&bits(number)) && number.last().is_some_and(|last| last & 1 == 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn modulus(bits: usize) -> String {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        if !bits.is_multiple_of(8) {
            bytes[0] = (1 << (bits % 8)) - 1;
        }
        base64url::encode(&bytes)
    }

    fn ec() -> Value {
        json!({"kty": "EC", "kid": "ec", "use": "sig", "alg": "ES256", "crv": "P-256", "x": X, "y": Y})
    }

    fn rsa() -> Value {
        json!({"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": modulus(2048), "e": "AQAB"})
    }

    fn ed() -> Value {
        json!({"kty": "OKP", "kid": "ed", "use": "sig", "alg": "EdDSA", "crv": "Ed25519", "x": ED})
    }

    fn kids(keys: &Value) -> Vec<String> {
        let document = json!({ "keys": keys }).to_string();
        read(document.as_bytes()).unwrap().into_iter().map(|key| key.kid).collect()
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        match value {
            Value::Null => drop(key.as_object_mut().unwrap().remove(member)),
            value => key[member] = value,
        }
        key
    }

    #[test]
    fn the_three_kinds_are_taken() {
        assert_eq!(kids(&json!([rsa(), ec(), ed()])), ["ec", "ed", "rsa"]);
        let document = json!({"keys": [ec()], "other": true}).to_string();
        let [key] = &read(document.as_bytes()).unwrap()[..] else { panic!("one key") };
        assert_eq!(
            (key.alg, &key.jwk),
            (Algorithm::Es256, &Jwk::Ec { crv: "P-256".into(), x: X.into(), y: Y.into() })
        );
        assert_eq!(kids(&json!([with(ec(), "alg", Value::Null)])), ["ec"]);
        assert_eq!(kids(&json!([with(ed(), "alg", json!("Ed25519"))])), ["ed"]);
        assert_eq!(
            kids(&json!([with(with(ec(), "use", Value::Null), "key_ops", json!(["verify"]))])),
            ["ec"]
        );
        assert_eq!(kids(&json!([])), [""; 0]);
    }

    #[test]
    fn attack_9_whatever_else_is_there_is_left_out() {
        for key in [
            with(ec(), "use", json!("enc")),
            with(ec(), "use", Value::Null),
            with(with(ec(), "use", Value::Null), "key_ops", json!(["sign"])),
            with(ec(), "kid", Value::Null),
            with(ec(), "kid", json!("")),
            with(ec(), "kid", json!("a\nb")),
            with(ec(), "kid", json!("a".repeat(201))),
            with(ec(), "alg", json!("ES384")),
            with(ec(), "alg", json!("none")),
            with(ec(), "alg", json!("HS256")),
            with(ec(), "crv", json!("P-384")),
            with(ec(), "crv", json!("secp256k1")),
            with(ec(), "x", json!("AAAA")),
            with(ec(), "y", json!(format!("{Y}="))),
            with(ec(), "y", Value::Null),
            with(ec(), "d", json!("AAAA")),
            with(rsa(), "alg", json!("PS256")),
            with(rsa(), "n", json!(modulus(2047))),
            with(rsa(), "n", json!(modulus(1024))),
            with(rsa(), "n", json!(modulus(8200))),
            // 2048 bits, of which the first 64 are zeros.
            with(rsa(), "n", json!(base64url::encode(&[[0_u8; 8].as_slice(), &[0xff; 248]].concat()))),
            with(rsa(), "e", json!("AQ")),
            with(rsa(), "e", json!("Ag")),
            with(rsa(), "e", json!("AQABAQAB")),
            with(rsa(), "e", json!("")),
            with(ed(), "crv", json!("Ed448")),
            with(ed(), "crv", json!("X25519")),
            // The identity point: every signature would verify.
            with(ed(), "x", json!(base64url::encode(&[&[1_u8][..], &[0; 31]].concat()))),
            json!({"kty": "oct", "kid": "oct", "use": "sig", "alg": "HS256", "k": X}),
        ] {
            assert_eq!(kids(&json!([key, ed()])).iter().filter(|kid| *kid != "ed").count(), 0, "{key}");
        }
        // Two of one name: neither.
        assert_eq!(kids(&json!([ec(), with(rsa(), "kid", json!("ec")), ed()])), ["ed"]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_whole() {
        for document in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"keys": {}}"#,
            r#"{"keys": [1]}"#,
            r#"{"keys": [], "keys": []}"#,
            r#"{"keys": [{"kty": "EC", "kty": "RSA"}]}"#,
            r#"{"keys": [{"kty": 7}]}"#,
            r#"{"keys": []} x"#,
            r#"{"keys": [{"kty": "EC", "x5c": [[[[[[[[]]]]]]]]}]}"#,
        ] {
            assert_eq!(read(document.as_bytes()), Err(KeySetFault::Malformed), "{document}");
        }
        let many: Vec<Value> =
            (0..=MOST_KEYS).map(|index| with(ec(), "kid", json!(format!("k{index}")))).collect();
        assert_eq!(read(json!({ "keys": many }).to_string().as_bytes()), Err(KeySetFault::TooMany));
    }
}
