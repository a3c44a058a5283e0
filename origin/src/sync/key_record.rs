//! What a webhook, or a row of a backfill, says of an API key. A [`KeyRecord`] is well formed, and holds a hash and no key.

use serde_json::Value;
use shared::scope::Scopes;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    fields::{self, Fields, Given},
    raw_key::{self, Scrutiny},
    refused::{FaultKind, RecordFault},
};
use crate::{credentials::parse_sha256, events::field::Moment};

/// How many permissions a key may have.
const MOST_PERMISSIONS: usize = 128;
/// How long one may be, in bytes.
const LONGEST_PERMISSION: usize = 128;
/// Members that hold hashes.
const HASHES: [&str; 2] = ["key_hash", "old_key_hash"];

/// SHA-256 of a key. Not secret as the key is, but nobody's to see: it has no `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyHash(pub(super) [u8; 32]);

/// What the source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// It made the key.
    Create,
    /// It changed what it says of it.
    Update,
    /// It gave it another secret.
    Rotate,
    /// It revoked it.
    Revoke,
    /// It only says how things stand.
    State,
}

/// A well-formed record.
#[derive(Clone)]
pub(super) struct KeyRecord {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) organization_id: Uuid,
    pub(super) name: String,
    pub(super) key_hash: KeyHash,
    pub(super) intent: Intent,
    pub(super) permissions: Given<Scopes>,
    pub(super) expires_at: Given<OffsetDateTime>,
    pub(super) created_at: Option<OffsetDateTime>,
    /// The source's stamp of this state.
    pub(super) updated_at: Option<OffsetDateTime>,
    /// The slug of the project it is for.
    pub(super) project: Option<String>,
}

impl KeyRecord {
    /// Reads a webhook's body: without an `event_type` it is about a key that was made.
    pub(super) fn of_webhook(bytes: &[u8]) -> Result<Self, RecordFault> {
        Self::read(bytes, Intent::Create)
    }

    /// Reads a row of a backfill: without an `event_type` it says how things stand.
    pub(super) fn of_row(bytes: &[u8]) -> Result<Self, RecordFault> {
        Self::read(bytes, Intent::State)
    }

    fn read(bytes: &[u8], unsaid: Intent) -> Result<Self, RecordFault> {
        let members = fields::object(bytes)?;
        if let Some(field) = raw_key::find(&members, &HASHES, Scrutiny::Key) {
            let why = "looks like a credential itself; send its SHA-256 as key_hash and leave it out";
            return Err(RecordFault::field(FaultKind::RawKey, field, why));
        }
        let mut fields = Fields::of(&members);
        let id = fields.required_uuid("id");
        let user_id = fields.required_uuid("user_id");
        let organization_id = fields.required_uuid("organization_id");
        let name = name(&mut fields);
        let key_hash = fields.required_text("key_hash").map(|text| hash(&mut fields, "key_hash", text));
        if let Some(text) = fields.text("old_key_hash") {
            // Which one it was is known here; that it is a hash is still the rule.
            hash(&mut fields, "old_key_hash", text);
        }
        let intent = intent(&mut fields, unsaid);
        let permissions = permissions(&mut fields);
        let expires_at = fields.given_moment("expires_at");
        let created_at = fields.moment("created_at");
        let updated_at = fields.moment("updated_at");
        let project = project(&mut fields);
        let whole = (|| {
            Some(Self {
                id: id?,
                user_id: user_id?,
                organization_id: organization_id?,
                name: name?,
                key_hash: key_hash??,
                intent: intent?,
                permissions,
                expires_at,
                created_at,
                updated_at,
                project,
            })
        })();
        fields.finish(whole)
    }

    /// The source's stamp as an event has it.
    pub(super) fn stamp(&self) -> Option<Moment> {
        self.updated_at.map(Moment)
    }
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.required_text("name")?;
    if (1..=200).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Some(name.to_owned());
    }
    fields.fault("name", "must have 1 to 200 characters, none of them a control character");
    None
}

/// A hash in hexadecimal or base64url; everything else is taken for the key itself.
fn hash(fields: &mut Fields<'_>, field: &'static str, text: &str) -> Option<KeyHash> {
    let hash = parse_sha256(text).map(KeyHash);
    if hash.is_none() {
        fields.fault(field, "must be a SHA-256: 64 hexadecimal digits, or 43 characters of base64url");
    }
    hash
}

/// What happened, by `event_type`, or else by what it says of the key's state.
fn intent(fields: &mut Fields<'_>, unsaid: Intent) -> Option<Intent> {
    let said = match fields.text("event_type") {
        None => Some(unsaid),
        Some("CREATE" | "INSERT") => Some(Intent::Create),
        Some("UPDATE") => Some(Intent::Update),
        Some("ROTATE") => Some(Intent::Rotate),
        Some("REVOKE" | "DELETE") => Some(Intent::Revoke),
        Some(_) => {
            fields.fault("event_type", "must be CREATE, UPDATE, ROTATE or REVOKE");
            None
        }
    };
    let is_active = fields.flag("is_active").unwrap_or(true);
    let is_revoked = match fields.text("status") {
        None | Some("active") => false,
        Some("revoked") => true,
        Some(_) => {
            fields.fault("status", "must be active or revoked");
            false
        }
    };
    let was_revoked = fields.moment("revoked_at").is_some();
    if !is_active || is_revoked || was_revoked { Some(Intent::Revoke) } else { said }
}

fn permissions(fields: &mut Fields<'_>) -> Given<Scopes> {
    let Some(value) = fields.value("permissions") else { return Given::Left };
    let read = || {
        let Value::Array(values) = value else { return None };
        let is_scope = |text: &str| {
            (1..=LONGEST_PERMISSION).contains(&text.len())
                && !text.contains(' ')
                && Scopes::parse(text).is_some()
        };
        let texts: Option<Vec<&str>> =
            values.iter().map(|value| value.as_str().filter(|text| is_scope(text))).collect();
        texts.filter(|texts| texts.len() <= MOST_PERMISSIONS)
    };
    if let Some(texts) = read() {
        return Given::Set(Some(texts.into_iter().collect()));
    }
    let why = "must be a list of at most 128 scopes: visible ASCII without quotes and backslashes, 128 characters each";
    fields.fault("permissions", why);
    Given::Left
}

fn project(fields: &mut Fields<'_>) -> Option<String> {
    let slug = fields.text("project")?;
    let fits = (1..=63).contains(&slug.len())
        && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !fits {
        fields.fault("project", "must be the slug of a project: lower-case letters, digits and dashes");
    }
    Some(slug.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::base64url;

    use super::*;

    fn record() -> Value {
        json!({
            "id": "0199a1b2-0000-7000-8000-000000000001",
            "user_id": "0199a1b2-0000-7000-8000-000000000002",
            "organization_id": "0199a1b2-0000-7000-8000-000000000003",
            "name": "ci",
            "key_hash": "ab".repeat(32),
        })
    }

    fn with(changes: &Value) -> Result<KeyRecord, RecordFault> {
        let mut record = record();
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        KeyRecord::of_webhook(record.to_string().as_bytes())
    }

    fn fault(changes: &Value) -> (FaultKind, Vec<String>) {
        let fault = with(changes).err().unwrap_or_else(|| panic!("{changes} was taken"));
        (fault.kind, fault.faults.into_iter().map(|fault| fault.field).collect())
    }

    #[test]
    fn the_five_fields_are_enough_and_each_is_needed() {
        let read = with(&json!({})).ok().unwrap();
        assert_eq!((read.name.as_str(), read.intent), ("ci", Intent::Create));
        assert!(read.key_hash == KeyHash([0xab; 32]));
        assert!(matches!((read.permissions, read.expires_at), (Given::Left, Given::Left)));
        let text = record().to_string();
        assert_eq!(KeyRecord::of_row(text.as_bytes()).ok().unwrap().intent, Intent::State);
        for field in ["id", "user_id", "organization_id", "name", "key_hash"] {
            for value in [json!(null), json!("")] {
                assert_eq!(fault(&json!({field: value})), (FaultKind::Field, vec![field.to_owned()]));
            }
            assert_eq!(fault(&json!({field: 7})), (FaultKind::Field, vec![field.to_owned()]));
        }
        let all = fault(
            &json!({"id": null, "user_id": "x", "organization_id": "00000000-0000-0000-0000-000000000000", "name": "a\u{0}", "key_hash": "ab"}),
        );
        assert_eq!(all.1, ["id", "user_id", "organization_id", "name", "key_hash"]);
    }

    #[test]
    fn a_hash_has_two_spellings_and_nothing_else_passes_for_one() {
        let bytes = [0x5a; 32];
        for text in ["5a".repeat(32), "5A".repeat(32), base64url::encode(&bytes)] {
            assert!(with(&json!({"key_hash": text})).ok().unwrap().key_hash == KeyHash(bytes));
        }
        for text in [
            "5a".repeat(31),
            "zz".repeat(32),
            format!("{}=", base64url::encode(&bytes)),
            "hunter2".to_owned(),
        ] {
            assert_eq!(fault(&json!({"key_hash": text})), (FaultKind::Field, vec!["key_hash".to_owned()]));
        }
        // Of a hash's length, but it begins like a key.
        let key = format!("sk_{}", "A".repeat(40));
        assert_eq!(fault(&json!({"key_hash": key})), (FaultKind::RawKey, vec!["key_hash".to_owned()]));
        assert_eq!(fault(&json!({"old_key_hash": "x"})).1, ["old_key_hash"]);
        assert!(with(&json!({"old_key_hash": "cd".repeat(32)})).is_ok());
    }

    #[test]
    fn what_happened_is_one_of_four_words_or_is_seen_from_the_state() {
        let intent = |changes| with(&changes).ok().unwrap().intent;
        for (word, expected) in [
            ("CREATE", Intent::Create),
            ("INSERT", Intent::Create),
            ("UPDATE", Intent::Update),
            ("ROTATE", Intent::Rotate),
            ("REVOKE", Intent::Revoke),
            ("DELETE", Intent::Revoke),
        ] {
            assert_eq!(intent(json!({"event_type": word})), expected);
        }
        assert_eq!(intent(json!({"event_type": "UPDATE", "is_active": false})), Intent::Revoke);
        assert_eq!(intent(json!({"status": "revoked"})), Intent::Revoke);
        assert_eq!(intent(json!({"revoked_at": "2026-11-21T10:00:00Z"})), Intent::Revoke);
        assert_eq!(
            intent(json!({"is_active": true, "status": "active", "revoked_at": null})),
            Intent::Create
        );
        assert_eq!(fault(&json!({"event_type": "revoke"})).1, ["event_type"]);
        assert_eq!(fault(&json!({"is_active": "no"})).1, ["is_active"]);
        assert_eq!(fault(&json!({"status": "odd"})).1, ["status"]);
    }

    #[test]
    fn left_out_is_not_emptied() {
        let read =
            with(&json!({"permissions": ["b:c", "a"], "expires_at": null, "project": "notes"})).ok().unwrap();
        assert_eq!(read.permissions, Given::Set(Scopes::parse("a b:c")));
        assert_eq!(read.expires_at, Given::Set(None));
        assert_eq!(read.project.as_deref(), Some("notes"));
        for permissions in
            [json!("a"), json!([1]), json!(["a b"]), json!([""]), json!(["\u{e4}"]), json!({"a": 1})]
        {
            assert_eq!(fault(&json!({"permissions": permissions})).1, ["permissions"]);
        }
        for field in ["expires_at", "created_at", "updated_at"] {
            for value in [json!("yesterday"), json!(17), json!("2026-11-21")] {
                assert_eq!(fault(&json!({field: value})).1, [field]);
            }
        }
        let stamp =
            with(&json!({"updated_at": "2026-11-21T12:00:00.1234567+02:00"})).ok().unwrap().updated_at;
        assert_eq!(stamp.unwrap(), time::macros::datetime!(2026-11-21 10:00:00.123456 UTC));
        assert_eq!(fault(&json!({"project": "No Tes"})).1, ["project"]);
    }

    #[test]
    fn a_key_is_refused_in_every_member_and_before_anything_else() {
        for (field, value) in [
            ("name", json!("sk_live_abcdef")),
            ("name", json!("b0Qh3PzT9xLmN2vKc7RwYs4JdF8gHa1Ue5Io6Ap0ZkX")),
            ("anything", json!("gw_live_abc")),
            ("metadata", json!({"deep": ["pk_x"]})),
            ("permissions", json!(["eyJhbGciOiJub25lIn0"])),
            ("key", json!("x")),
            ("fingerprint", json!("0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9")),
        ] {
            let (kind, fields) = fault(&json!({field: value, "id": null}));
            assert_eq!(kind, FaultKind::RawKey, "{field}");
            assert!(fields[0].starts_with(field), "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_unambiguous_object_is_refused_whole() {
        let twice = record().to_string().replacen("\"name\"", "\"name\":\"x\",\"name\"", 1);
        for text in ["", "[]", "null", "{", "{\"id\":1}x", "\u{feff}{}", &"[".repeat(200), &twice] {
            let fault = KeyRecord::of_row(text.as_bytes()).err().unwrap();
            assert_eq!(fault, RecordFault::whole(FaultKind::Malformed), "{text}");
        }
    }
}
