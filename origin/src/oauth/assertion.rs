//! `private_key_jwt` (RFC 7523 §2.2 and §3, with its update): a client proves itself by a JWT that it signed for this issuer, once. It
//! may not believe the header about the algorithm, nor an audience besides the issuer.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shared::{
    jwt::{Audience, TokenFault, Unverified, claims::CLOCK_SKEW_SECONDS},
    time::UnixMillis,
};
use time::OffsetDateTime;

use super::{client::ClientError, client_key::ClientKey};
use crate::{
    database::{Actor, Component, DatabaseError, Scope},
    http::Origin,
};

/// How far ahead `exp` may lie, in seconds: as long an assertion's `jti` is remembered.
const LONGEST_LIFE_SECONDS: u64 = 3_600;
/// The longest `jti`, in bytes.
const MAX_JTI_BYTES: usize = 512;

/// Why an assertion proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub(super) enum AssertionFault {
    /// It is no JWT, or a claim is missing or of another kind.
    Malformed,
    /// It is a JWT for something else.
    WrongType,
    /// None of the client's keys is meant.
    UnknownKey,
    /// The signature is not the key's.
    BadSignature,
    /// `iss` is not the client.
    WrongIssuer,
    /// `aud` is not the issuer alone.
    WrongAudience,
    /// `exp` has passed.
    Expired,
    /// `exp` is too far ahead.
    TooLong,
    /// `iat` or `nbf` lies ahead.
    NotYetValid,
    /// Its `jti` has been used.
    Replayed,
}

impl AssertionFault {
    /// In words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "client_assertion is not a JWT with the claims iss, sub, aud, exp and jti.",
            Self::WrongType => "client_assertion is of another typ than client-authentication+jwt or JWT.",
            Self::UnknownKey => "client_assertion names no key that the client has registered.",
            Self::BadSignature => {
                "client_assertion was not signed by the client's key, or with another algorithm than the key's."
            }
            Self::WrongIssuer => "client_assertion must have the client as its iss and sub.",
            Self::WrongAudience => "client_assertion must have the issuer alone, as a string, as its aud.",
            Self::Expired => "client_assertion has expired.",
            Self::TooLong => "client_assertion must expire within an hour.",
            Self::NotYetValid => "client_assertion is not valid yet: the client's clock is ahead.",
            Self::Replayed => "client_assertion was used before: make a new one for every request.",
        }
    }
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    jti: String,
    #[serde(default)]
    nbf: Option<u64>,
    #[serde(default)]
    iat: Option<u64>,
}

/// What is remembered of an assertion that holds.
#[derive(Debug, PartialEq, Eq)]
struct Verified {
    jti_hash: [u8; 32],
    exp: u64,
}

/// Judges an assertion by everything but whether it was used before.
fn verify(
    assertion: &str,
    client_id: &str,
    keys: &[ClientKey],
    issuer: &str,
    now: UnixMillis,
) -> Result<Verified, AssertionFault> {
    let token = Unverified::parse(assertion).map_err(|_| AssertionFault::Malformed)?;
    if !matches!(token.token_type().as_deref(), None | Some("jwt" | "client-authentication+jwt")) {
        return Err(AssertionFault::WrongType);
    }
    let key = match (token.key_id(), keys) {
        (Some(kid), keys) if keys.iter().any(|key| key.kid.is_some()) => {
            keys.iter().find(|key| key.kid.as_deref() == Some(kid))
        }
        // The only key needs no name.
        (_, [only]) => Some(only),
        _ => None,
    };
    let key = key.ok_or(AssertionFault::UnknownKey)?;
    match key.verifies(&token) {
        Ok(true) => {}
        Ok(false) | Err(TokenFault::WrongAlgorithm) => return Err(AssertionFault::BadSignature),
        Err(_) => return Err(AssertionFault::Malformed),
    }
    let claims: AssertionClaims = token.claims().map_err(|_| AssertionFault::Malformed)?;
    if claims.iss != client_id || claims.sub != client_id {
        return Err(AssertionFault::WrongIssuer);
    }
    // A list could name another server too, which would replay it here.
    if !matches!(&claims.aud, Audience::One(one) if one == issuer) {
        return Err(AssertionFault::WrongAudience);
    }
    let now = now.seconds();
    if now >= claims.exp {
        return Err(AssertionFault::Expired);
    }
    if claims.exp > now.saturating_add(LONGEST_LIFE_SECONDS + CLOCK_SKEW_SECONDS) {
        return Err(AssertionFault::TooLong);
    }
    let ahead = now.saturating_add(CLOCK_SKEW_SECONDS);
    if claims.iat.is_some_and(|iat| iat > ahead) || claims.nbf.is_some_and(|nbf| nbf > ahead) {
        return Err(AssertionFault::NotYetValid);
    }
    if !(1..=MAX_JTI_BYTES).contains(&claims.jti.len()) {
        return Err(AssertionFault::Malformed);
    }
    Ok(Verified { jti_hash: Sha256::digest(claims.jti.as_bytes()).into(), exp: claims.exp })
}

/// Judges an assertion and uses it up, in a transaction of its own: what becomes of the request, the assertion is spent.
pub(super) async fn spend(origin: &Origin, client_id: &str, assertion: &str) -> Result<(), ClientError> {
    #[derive(Deserialize)]
    struct KeySet {
        keys: Vec<ClientKey>,
    }
    let mut scope = origin.database.scope(Actor::System(Component::AuthorizationServer)).await?;
    let jwks: Option<sqlx::types::Json<serde_json::Value>> = sqlx::query_scalar(
        "SELECT c.jwks FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.client_id = $1 AND c.enabled AND p.enabled AND c.token_endpoint_auth_method = 'private_key_jwt'",
    )
    .bind(client_id)
    .fetch_optional(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let set = jwks.and_then(|json| serde_json::from_value::<KeySet>(json.0).ok());
    let set = set.ok_or(ClientError::NotAuthenticated { by_header: false })?;
    let now = UnixMillis(origin.clock.unix_millis());
    let verified = verify(assertion, client_id, &set.keys, origin.issuer(), now)?;
    if !remember(&mut scope, client_id, &verified).await? {
        return Err(AssertionFault::Replayed.into());
    }
    scope.commit().await?;
    Ok(())
}

/// One statement decides which of many that present one assertion is the first.
async fn remember(scope: &mut Scope, client_id: &str, verified: &Verified) -> Result<bool, DatabaseError> {
    let expires_at = i64::try_from(verified.exp)
        .ok()
        .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        .unwrap_or_else(|| scope.clock().now());
    let remembered = sqlx::query(
        "INSERT INTO client_assertions (client_id, jti_hash, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(client_id)
    .bind(&verified.jti_hash[..])
    .bind(expires_at)
    .execute(scope.connection())
    .await?;
    Ok(remembered.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::jwt::SigningKey;

    use super::*;

    const ISSUER: &str = "https://auth.test";
    const NOW: u64 = 1_800_000_000;

    fn signer() -> SigningKey {
        SigningKey::from_seed("k1", &[9; 32])
    }

    fn key(kid: Option<&str>, signer: &SigningKey) -> ClientKey {
        let mut jwk = serde_json::to_value(signer.public_jwk()).unwrap();
        if let Some(kid) = kid {
            jwk["kid"] = kid.into();
        }
        let Value::Object(members) = jwk else { panic!("an object") };
        ClientKey::read(members).unwrap()
    }

    fn claims() -> Value {
        json!({"iss": "worker", "sub": "worker", "aud": ISSUER, "exp": NOW + 60, "iat": NOW, "jti": "j1"})
    }

    fn judge(
        typ: &str,
        claims: &Value,
        signer: &SigningKey,
        keys: &[ClientKey],
    ) -> Result<(), AssertionFault> {
        let assertion = signer.sign(typ, claims).unwrap();
        verify(&assertion, "worker", keys, ISSUER, UnixMillis(NOW * 1_000)).map(|_| ())
    }

    #[test]
    fn attack_10_every_negated_claim_is_refused() {
        use AssertionFault::{Expired, Malformed, NotYetValid, TooLong, WrongAudience, WrongIssuer};
        let keys = [key(Some("k1"), &signer())];
        assert_eq!(judge("JWT", &claims(), &signer(), &keys), Ok(()));
        let table = [
            ("iss", json!("other"), WrongIssuer),
            ("sub", json!("other"), WrongIssuer),
            ("iss", Value::Null, Malformed),
            ("sub", Value::Null, Malformed),
            ("aud", json!([ISSUER]), WrongAudience),
            ("aud", json!([ISSUER, "https://other.test"]), WrongAudience),
            ("aud", json!("https://auth.test/"), WrongAudience),
            ("aud", json!("https://auth.test/oauth/token"), WrongAudience),
            ("aud", Value::Null, Malformed),
            ("exp", json!(NOW), Expired),
            ("exp", json!(NOW - 1), Expired),
            ("exp", json!(NOW + 3_606), TooLong),
            ("exp", json!(u64::MAX), TooLong),
            ("exp", json!(-1), Malformed),
            ("exp", Value::Null, Malformed),
            ("iat", json!(NOW + 6), NotYetValid),
            ("nbf", json!(NOW + 6), NotYetValid),
            ("jti", json!(""), Malformed),
            ("jti", json!("x".repeat(513)), Malformed),
            ("jti", Value::Null, Malformed),
        ];
        for (name, value, fault) in table {
            let mut claims = claims();
            claims[name] = value.clone();
            assert_eq!(judge("JWT", &claims, &signer(), &keys), Err(fault), "{name} {value}");
        }
        for (name, value) in [("exp", NOW + 3_600), ("iat", NOW + 5), ("nbf", NOW + 5)] {
            let mut claims = claims();
            claims[name] = value.into();
            assert_eq!(judge("JWT", &claims, &signer(), &keys), Ok(()), "{name} {value}");
        }
    }

    #[test]
    fn attack_9_the_key_is_one_of_the_clients_and_decides_the_algorithm() {
        let (one, other) = (signer(), SigningKey::from_seed("k2", &[10; 32]));
        let both = [key(Some("k1"), &one), key(Some("k2"), &other)];
        assert_eq!(judge("jwt", &claims(), &one, &both), Ok(()));
        assert_eq!(judge("client-authentication+jwt", &claims(), &other, &both), Ok(()));
        // The only key needs no name; a name that is another's is not it.
        assert_eq!(judge("JWT", &claims(), &one, &[key(None, &one)]), Ok(()));
        assert_eq!(judge("JWT", &claims(), &other, &[key(None, &one)]), Err(AssertionFault::BadSignature));
        assert_eq!(
            judge("JWT", &claims(), &other, &[key(Some("k1"), &one)]),
            Err(AssertionFault::UnknownKey)
        );
        let impostor = SigningKey::from_seed("k1", &[11; 32]);
        assert_eq!(judge("JWT", &claims(), &impostor, &both), Err(AssertionFault::BadSignature));
        assert_eq!(judge("JWT", &claims(), &one, &[]), Err(AssertionFault::UnknownKey));
        for typ in ["at+jwt", "dpop+jwt", "service+jwt", "logout+jwt"] {
            assert_eq!(judge(typ, &claims(), &one, &both), Err(AssertionFault::WrongType), "{typ}");
        }
        let good = one.sign("JWT", &claims()).unwrap();
        let (_, rest) = good.split_once('.').unwrap();
        for header in [
            json!({"alg": "none", "kid": "k1"}),
            json!({"alg": "HS256", "kid": "k1"}),
            json!({"alg": "ES256", "kid": "k1"}),
            json!({"alg": "EdDSA", "kid": "k1", "jwk": one.public_jwk()}),
            json!({"alg": "EdDSA", "kid": "k1", "crit": ["x"]}),
        ] {
            let forged = format!("{}.{rest}", shared::base64url::encode(header.to_string().as_bytes()));
            let judged = verify(&forged, "worker", &both, ISSUER, UnixMillis(NOW * 1_000));
            assert!(judged.is_err(), "{header}");
        }
        for length in 0..good.len() {
            let cut = good.get(..length).unwrap();
            assert!(
                verify(cut, "worker", &both, ISSUER, UnixMillis(NOW * 1_000)).is_err(),
                "length {length}"
            );
        }
    }
}
