//! Reading a record's members one by one, keeping every fault. It may not keep a value that was refused.

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::refused::{FaultKind, FieldFault, RecordFault};

/// A member that may be left out (the value stays), be `null` (it is emptied), or have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given<T> {
    /// Nothing was said.
    Left,
    /// It is to be this, or nothing.
    Set(Option<T>),
}

/// Reads a document that must be one unambiguous JSON object.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, RecordFault> {
    let malformed = || RecordFault::whole(FaultKind::Malformed);
    // Two members of one name would be two records.
    shared::json::object_members(bytes).ok_or_else(malformed)?;
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(malformed()),
    }
}

/// A record that is being read.
pub(super) struct Fields<'a> {
    members: &'a Map<String, Value>,
    faults: Vec<FieldFault>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(members: &'a Map<String, Value>) -> Self {
        Self { members, faults: Vec::new() }
    }

    /// Says what is wrong with a field.
    pub(super) fn fault(&mut self, field: &'static str, why: &'static str) {
        self.faults.push(FieldFault { field: field.to_owned(), why });
    }

    /// The whole, where nothing was wrong.
    pub(super) fn finish<T>(self, whole: Option<T>) -> Result<T, RecordFault> {
        match whole {
            Some(whole) if self.faults.is_empty() => Ok(whole),
            _ => Err(RecordFault { kind: FaultKind::Field, faults: self.faults }),
        }
    }

    /// The value of a member; `null` counts as none.
    pub(super) fn value(&self, field: &str) -> Option<&'a Value> {
        self.members.get(field).filter(|value| !value.is_null())
    }

    /// A text that may be left out.
    pub(super) fn text(&mut self, field: &'static str) -> Option<&'a str> {
        let value = self.value(field)?;
        let text = value.as_str();
        if text.is_none() {
            self.fault(field, "must be a text");
        }
        text
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, field: &'static str) -> Option<&'a str> {
        match self.value(field) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            Some(Value::String(_)) | None => {
                self.fault(field, "is missing");
                None
            }
            Some(_) => {
                self.fault(field, "must be a text");
                None
            }
        }
    }

    /// A UUID that must be there, in the one spelling with dashes; not the nil UUID, which is the gateway's own.
    pub(super) fn required_uuid(&mut self, field: &'static str) -> Option<Uuid> {
        let text = self.required_text(field)?;
        let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
        match id {
            Some(id) if !id.is_nil() => Some(id),
            _ => {
                self.fault(
                    field,
                    "must be a UUID, such as 0199a1b2-0000-7000-8000-000000000001, and not the nil one",
                );
                None
            }
        }
    }

    /// A moment that may be left out, in microseconds, as Postgres keeps it.
    pub(super) fn moment(&mut self, field: &'static str) -> Option<OffsetDateTime> {
        let text = self.text(field)?;
        let parsed =
            OffsetDateTime::parse(text, &Rfc3339).ok().filter(|at| (1970..=9999).contains(&at.year()));
        let kept = parsed.and_then(|at| at.replace_microsecond(at.microsecond()).ok());
        if kept.is_none() {
            self.fault(field, "must be a moment as in RFC 3339, such as 2026-11-21T10:00:00Z");
        }
        kept
    }

    /// A moment that may be left out or emptied.
    pub(super) fn given_moment(&mut self, field: &'static str) -> Given<OffsetDateTime> {
        if !self.members.contains_key(field) {
            return Given::Left;
        }
        Given::Set(self.moment(field))
    }

    /// Yes or no, where it was said.
    pub(super) fn flag(&mut self, field: &'static str) -> Option<bool> {
        let value = self.value(field)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.fault(field, "must be true or false");
        }
        flag
    }
}
