//! The types a payload may be made of. There is none for free text: what people or clients send is shortened, cleaned and, where it
//! looks like a credential, withheld; personal data goes in as a commitment only.
//!
//! ```compile_fail
//! fn holds<T: origin::events::field::EventField>() {}
//! holds::<String>(); // no field of an event can be a string
//! ```

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use shared::scope::Scopes;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

/// A type whose values are fit to be kept for ever and to be read by others. Never implement it for a type that can hold whatever
/// it is given.
pub trait EventField: Serialize {}

impl EventField for Uuid {}
impl EventField for Scopes {}
impl EventField for bool {}
impl EventField for i64 {}
impl EventField for u32 {}
impl<T: EventField> EventField for Option<T> {}
impl<T: EventField> EventField for Vec<T> {}

/// What stands where something looked like a credential.
const WITHHELD: &str = "[withheld]";

/// A name that people chose: at most 200 characters, without control characters. What has an `@` could be an address, and is withheld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Name(String);

impl Name {
    /// Takes the name over, cleaned.
    pub fn of(text: &str) -> Self {
        if looks_like_credential(text) || text.contains('@') {
            return Self(WITHHELD.to_owned());
        }
        Self(text.chars().filter(|char| !char.is_control()).take(200).collect())
    }
}

impl EventField for Name {}

/// A public identifier: a slug, `client_id` or `kid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identifier(String);

impl Identifier {
    /// Takes the identifier over; anything that is not one is withheld.
    pub fn of(text: &str) -> Self {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~:-".contains(&byte));
        if fits && !looks_like_credential(text) { Self(text.to_owned()) } else { Self(WITHHELD.to_owned()) }
    }
}

impl EventField for Identifier {}

/// A registered URI (redirect URI, upstream), without what could be a secret in it: user, password, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegisteredUri(String);

impl RegisteredUri {
    /// Takes scheme, host, port and path over; what is no URI is withheld.
    pub fn of(text: &str) -> Self {
        let Ok(mut uri) = url::Url::parse(text) else { return Self(WITHHELD.to_owned()) };
        // Neither can fail on a URI with a host, and one without has neither.
        let _ = uri.set_username("");
        let _ = uri.set_password(None);
        uri.set_query(None);
        uri.set_fragment(None);
        Self(uri.into())
    }
}

impl EventField for RegisteredUri {}

/// The origin of web pages (RFC 6454, 6.2): scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// Takes scheme, host and port over; what has none is withheld.
    pub fn of(text: &str) -> Self {
        match url::Url::parse(text).map(|url| url.origin()) {
            Ok(origin @ url::Origin::Tuple(..)) => Self(origin.ascii_serialization()),
            _ => Self(WITHHELD.to_owned()),
        }
    }
}

impl EventField for WebOrigin {}

/// A moment, as RFC 3339 text in UTC with microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub OffsetDateTime);

const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

impl Moment {
    pub(super) fn to_text(self) -> Result<String, time::error::Format> {
        self.0.to_offset(time::UtcOffset::UTC).format(MOMENT)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text().map_err(serde::ser::Error::custom)?)
    }
}

impl EventField for Moment {}

/// The salt of one person's commitments, kept beside the person and erased with them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommitmentSalt(pub [u8; 16]);

/// Personal data by a commitment to it, SHA-256(salt || value): whoever has salt and value can check it, and once the salt is
/// erased nobody can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pseudonym(String);

impl Pseudonym {
    /// Commits to a value; an e-mail address in lower case.
    pub fn commit(salt: CommitmentSalt, value: &str) -> Self {
        let hash: [u8; 32] =
            Sha256::new().chain_update(salt.0).chain_update(value.as_bytes()).finalize().into();
        Self(Base64UrlUnpadded::encode_string(&hash))
    }
}

impl EventField for Pseudonym {}

/// Our own opaque credentials and JWTs: both have a prefix and are long.
fn looks_like_credential(text: &str) -> bool {
    text.len() >= 40 && (text.contains("gw_") || text.contains("eyJ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(field: &impl EventField) -> String {
        serde_json::to_value(field).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn credentials_do_not_pass_for_names() {
        let token = format!("eyJhbGciOiJFZERTQSJ9.{}.{}", "A".repeat(40), "B".repeat(86));
        assert_eq!(json(&Name::of(&token)), WITHHELD);
        assert_eq!(json(&Identifier::of(&token)), WITHHELD);
        assert_eq!(json(&Name::of(&format!("my key: gw_rt_{}", "A".repeat(60)))), WITHHELD);
        assert_eq!(json(&Identifier::of("a b")), WITHHELD);
        assert_eq!(json(&Identifier::of("demo-app")), "demo-app");
        assert_eq!(json(&Name::of("ann@example.test")), WITHHELD);
        assert_eq!(json(&Name::of("Demo\u{0} \u{1b}[31mapp\n")), "Demo [31mapp");
    }

    #[test]
    fn a_uri_loses_what_could_be_secret() {
        let uri = RegisteredUri::of("https://user:pass@app.example.com:8443/callback?token=abc#fragment");
        assert_eq!(json(&uri), "https://app.example.com:8443/callback");
        assert_eq!(json(&RegisteredUri::of("not a uri")), WITHHELD);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(json(&WebOrigin::of("https://app.example.com/x?token=abc")), "https://app.example.com");
        assert_eq!(json(&WebOrigin::of("http://user:pass@127.0.0.1:9101")), "http://127.0.0.1:9101");
        assert_eq!(json(&WebOrigin::of("data:text/plain,x")), WITHHELD);
    }

    #[test]
    fn a_pseudonym_depends_on_salt_and_value_and_shows_neither() {
        let (one, other) = (CommitmentSalt([1; 16]), CommitmentSalt([2; 16]));
        let pseudonym = Pseudonym::commit(one, "ann@example.test");
        assert_eq!(pseudonym, Pseudonym::commit(one, "ann@example.test"));
        assert_ne!(pseudonym, Pseudonym::commit(other, "ann@example.test"));
        assert_ne!(pseudonym, Pseudonym::commit(one, "bob@example.test"));
        assert!(!json(&pseudonym).contains("ann"));
    }

    #[test]
    fn a_moment_is_rfc_3339_in_utc() {
        let moment = Moment(time::macros::datetime!(2026-11-21 12:00:00.5 +2));
        assert_eq!(json(&moment), "2026-11-21T10:00:00.500000Z");
    }
}
