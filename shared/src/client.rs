//! Who a client says it is, at the endpoints where clients authenticate (RFC 6749 §2.3, RFC 7523 §2.2), and how it may prove it. It may
//! not check a proof: only the origin knows secrets' hashes, and which assertions have been used.

use alloc::string::String;

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};

use crate::{
    form::{self, Parameters},
    jwt::Unverified,
};

/// The only `client_assertion_type` (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client authenticates (RFC 7591 §2, `token_endpoint_auth_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all: a public client.
    None,
    /// A secret in `Authorization: Basic`.
    ClientSecretBasic,
    /// A secret in the body.
    ClientSecretPost,
    /// An assertion signed by a key of its own.
    PrivateKeyJwt,
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::None, Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// The method of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// How a client gets tokens (RFC 7591 §2, `grant_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// A code, from a person (RFC 6749 §4.1).
    AuthorizationCode,
    /// A refresh token (RFC 6749 §6).
    RefreshToken,
    /// Its own name (RFC 6749 §4.4).
    ClientCredentials,
    /// One that this door does not know yet, and so lets nobody use.
    #[serde(other)]
    Unknown,
}

impl GrantType {
    /// Those that work here.
    pub const ALL: [Self; 3] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];
    /// What a client may use that was registered without a word about it.
    pub const DEFAULT: [Self; 2] = [Self::AuthorizationCode, Self::RefreshToken];

    /// The value of `grant_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::Unknown => "unknown",
        }
    }

    /// The grant type of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.name() == name)
    }
}

/// What a client proves itself by. Nothing here has been checked.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientProof {
    /// Nothing.
    Nothing,
    /// A secret that came in `Authorization: Basic`.
    Basic(String),
    /// A secret that came in the body.
    Post(String),
    /// A JWT that claims to be the client's.
    Assertion(String),
}

impl ClientProof {
    /// The method that this is.
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::Nothing => AuthMethod::None,
            Self::Basic(_) => AuthMethod::ClientSecretBasic,
            Self::Post(_) => AuthMethod::ClientSecretPost,
            Self::Assertion(_) => AuthMethod::PrivateKeyJwt,
        }
    }
}

/// A client's claim to be somebody.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientClaim {
    /// `client_id`.
    pub client_id: String,
    /// What it proves it by.
    pub proof: ClientProof,
}

/// Why the claim cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClaimFault {
    /// There is none.
    Missing,
    /// There are two (RFC 6749 §2.3: not more than one method).
    Several,
    /// The header is not well-formed Basic.
    Malformed,
    /// `client_assertion` is not a JWT with a `sub`, or `client_assertion_type` is not [`ASSERTION_TYPE`].
    MalformedAssertion,
}

impl ClientClaim {
    /// Reads the claim of a form and an `Authorization` header.
    pub fn read(authorization: Option<&str>, form: &Parameters) -> Result<Self, ClientClaimFault> {
        let in_form = form.get("client_id");
        let secret = form.get("client_secret");
        let assertion = (form.get("client_assertion"), form.get("client_assertion_type"));
        let has_assertion = assertion != (None, None);
        let claimed = match (authorization, secret) {
            (Some(_), Some(_)) => return Err(ClientClaimFault::Several),
            (Some(_), None) | (None, Some(_)) if has_assertion => return Err(ClientClaimFault::Several),
            (Some(authorization), None) => {
                let (client_id, secret) = read_basic(authorization).ok_or(ClientClaimFault::Malformed)?;
                Self { client_id, proof: ClientProof::Basic(secret) }
            }
            (None, None) if has_assertion => {
                read_assertion(assertion).ok_or(ClientClaimFault::MalformedAssertion)?
            }
            (None, secret) => Self {
                client_id: in_form.ok_or(ClientClaimFault::Missing)?.into(),
                proof: secret.map_or(ClientProof::Nothing, |secret| ClientProof::Post(secret.into())),
            },
        };
        if in_form.is_some_and(|in_form| in_form != claimed.client_id) {
            return Err(ClientClaimFault::Several);
        }
        Ok(claimed)
    }

    /// Whether it came in `Authorization: Basic`, so that a refusal must challenge (RFC 6749 §5.2).
    pub const fn by_header(&self) -> bool {
        matches!(self.proof, ClientProof::Basic(_))
    }
}

/// The client that an assertion says it is of (RFC 7523 §3: its `sub`). Whether that is so, its key will say.
fn read_assertion((assertion, kind): (Option<&str>, Option<&str>)) -> Option<ClientClaim> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }
    let assertion = assertion.filter(|_| kind == Some(ASSERTION_TYPE))?;
    let Subject { sub } = Unverified::parse(assertion).ok()?.claims().ok()?;
    (!sub.is_empty()).then(|| ClientClaim { client_id: sub, proof: ClientProof::Assertion(assertion.into()) })
}

/// User and password of `Basic`, each form-decoded (RFC 6749 §2.3.1).
fn read_basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(Base64::decode_vec(encoded.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    let client_id = form::decode(user.as_bytes()).ok()?;
    let secret = form::decode(password.as_bytes()).ok()?;
    (!client_id.is_empty()).then_some((client_id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        authorization: Option<&str>,
        form: &str,
    ) -> Result<(String, Option<String>, bool), ClientClaimFault> {
        let form = Parameters::parse(form.as_bytes()).unwrap();
        ClientClaim::read(authorization, &form).map(|claim| {
            let by_header = claim.by_header();
            let secret = match claim.proof {
                ClientProof::Nothing => None,
                ClientProof::Basic(text) | ClientProof::Post(text) | ClientProof::Assertion(text) => {
                    Some(text)
                }
            };
            (claim.client_id, secret, by_header)
        })
    }

    #[test]
    fn one_method_alone() {
        assert_eq!(read(None, "client_id=app"), Ok(("app".into(), None, false)));
        assert_eq!(read(None, "client_id=app&client_secret=s"), Ok(("app".into(), Some("s".into()), false)));
        // "a:b" and "s c", form-encoded before base64.
        assert_eq!(read(Some("basic YSUzQWI6cytj"), ""), Ok(("a:b".into(), Some("s c".into()), true)));
        assert_eq!(read(Some("Basic YXBwOnM="), "client_id=app"), Ok(("app".into(), Some("s".into()), true)));
        assert_eq!(read(Some("Basic YXBwOnM="), "client_id=other"), Err(ClientClaimFault::Several));
        assert_eq!(read(Some("Basic YXBwOnM="), "client_secret=s"), Err(ClientClaimFault::Several));
        assert_eq!(read(None, ""), Err(ClientClaimFault::Missing));
        for header in ["Basic", "Basic !", "Bearer x", "Basic YXBw", "Basic OnM="] {
            assert_eq!(read(Some(header), ""), Err(ClientClaimFault::Malformed), "{header}");
        }
    }

    #[test]
    fn an_assertion_names_its_client_and_stands_alone() {
        let key = crate::jwt::SigningKey::from_seed("k", &[1; 32]);
        let jwt = key.sign("jwt", &serde_json::json!({"iss": "app", "sub": "app"})).unwrap();
        let kind = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let form = alloc::format!("{kind}&client_assertion={jwt}");
        assert_eq!(read(None, &form), Ok(("app".into(), Some(jwt.clone()), false)));
        assert_eq!(
            read(None, &alloc::format!("{form}&client_id=app")),
            Ok(("app".into(), Some(jwt.clone()), false))
        );
        for more in ["client_id=other", "client_secret=s"] {
            assert_eq!(
                read(None, &alloc::format!("{form}&{more}")),
                Err(ClientClaimFault::Several),
                "{more}"
            );
        }
        assert_eq!(read(Some("Basic YXBwOnM="), &form), Err(ClientClaimFault::Several));
        let without_subject = key.sign("jwt", &serde_json::json!({"iss": "app"})).unwrap();
        for form in [
            kind.into(),
            alloc::format!("client_id=app&client_assertion={jwt}"),
            alloc::format!("client_assertion={jwt}&client_assertion_type=saml"),
            alloc::format!("{kind}&client_assertion=a.b.c"),
            alloc::format!("{kind}&client_assertion={without_subject}"),
        ] {
            assert_eq!(read(None, &form), Err(ClientClaimFault::MalformedAssertion), "{form}");
        }
    }

    #[test]
    fn names_are_the_registered_ones() {
        for method in AuthMethod::ALL {
            assert_eq!(AuthMethod::of_name(method.name()), Some(method));
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
        for grant_type in GrantType::ALL {
            assert_eq!(GrantType::of_name(grant_type.name()), Some(grant_type));
            assert_eq!(serde_json::to_value(grant_type).unwrap(), grant_type.name());
        }
        assert_eq!(serde_json::from_str::<GrantType>("\"of tomorrow\"").unwrap(), GrantType::Unknown);
        assert_eq!(GrantType::of_name("unknown"), None);
    }
}
