//! Who a client says it is, at the token and revocation endpoints (RFC 6749 §2.3). It may not check a secret: only the
//! origin knows its hash.

use alloc::string::String;

use base64ct::{Base64, Encoding as _};

use crate::form::{self, Parameters};

/// A client's claim to be somebody.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientClaim {
    /// `client_id`.
    pub client_id: String,
    /// `client_secret`, if one came.
    pub client_secret: Option<String>,
    /// Whether it came in `Authorization: Basic`, so that a refusal must challenge (RFC 6749 §5.2).
    pub by_header: bool,
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
}

impl ClientClaim {
    /// Reads the claim of a form and an `Authorization` header.
    pub fn read(authorization: Option<&str>, form: &Parameters) -> Result<Self, ClientClaimFault> {
        let in_form = form.get("client_id");
        let secret_in_form = form.get("client_secret");
        let Some(authorization) = authorization else {
            let client_id = in_form.ok_or(ClientClaimFault::Missing)?.into();
            return Ok(Self { client_id, client_secret: secret_in_form.map(Into::into), by_header: false });
        };
        if secret_in_form.is_some() {
            return Err(ClientClaimFault::Several);
        }
        let (client_id, client_secret) = read_basic(authorization).ok_or(ClientClaimFault::Malformed)?;
        if in_form.is_some_and(|in_form| in_form != client_id) {
            return Err(ClientClaimFault::Several);
        }
        Ok(Self { client_id, client_secret: Some(client_secret), by_header: true })
    }
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
        ClientClaim::read(authorization, &form)
            .map(|claim| (claim.client_id, claim.client_secret, claim.by_header))
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
}
