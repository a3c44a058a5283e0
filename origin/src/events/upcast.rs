//! Events of earlier shapes, brought to the shape of today as they are read. What is stored never changes, and its hash stays good; what
//! delivers an event as it happened delivers it as it is stored. Whoever makes rows of events reads their payloads through
//! [`upcast`].
//!
//! Give a payload another shape by raising its schema version and adding the step from the version before to [`STEPS`]. A step is pure:
//! it sees the payload and nothing else, so what the earlier shape did not say stays unsaid (`null`).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::payload;

/// From a schema version of an event type to the next.
type Step = fn(&mut Map<String, Value>);

/// Every step there is.
const STEPS: [(&str, i16, Step); 7] = [
    ("ProjectCreated", 1, |payload| add(payload, "revision", json!(0))),
    ("ProjectUpdated", 1, |payload| {
        add(payload, "revision", json!(0));
        add(payload, "restored_from", Value::Null);
    }),
    ("ProjectUpdated", 2, |payload| add(payload, "slug", Value::Null)),
    ("ClientRegistered", 1, |payload| add(payload, "origins", json!([]))),
    ("ClientUpdated", 1, |payload| add(payload, "origins", json!([]))),
    ("ClientRegistered", 2, say_how_it_gets_tokens),
    ("ClientUpdated", 2, say_how_it_gets_tokens),
];

/// Before it was said, every client got tokens for codes, and showed a secret in either way if it had one.
fn say_how_it_gets_tokens(payload: &mut Map<String, Value>) {
    add(payload, "token_endpoint_auth_method", Value::Null);
    add(payload, "grant_types", json!(["authorization_code", "refresh_token"]));
    add(payload, "keys", json!([]));
}

/// Why a payload cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpcastError {
    /// A later version of gateward wrote it.
    #[error("{event_type} has schema version {found}; this version of gateward knows it up to {known}")]
    Newer {
        /// What happened.
        event_type: String,
        /// The version it has.
        found: i16,
        /// The last version that is known here.
        known: i16,
    },
    /// There is no way from its version to the next, or it is no object.
    #[error("{event_type} cannot be brought on from schema version {from}")]
    Stuck {
        /// What happened.
        event_type: String,
        /// The version it has.
        from: i16,
    },
}

/// A payload in the shape of today. One that has it already is not copied; neither is one of an event that is not known here.
pub fn upcast<'a>(
    event_type: &str,
    schema_version: i16,
    payload: &'a Value,
) -> Result<Cow<'a, Value>, UpcastError> {
    let Some(current) = payload::schema_version(event_type) else { return Ok(Cow::Borrowed(payload)) };
    if schema_version > current {
        let event_type = event_type.to_owned();
        return Err(UpcastError::Newer { event_type, found: schema_version, known: current });
    }
    let mut payload = Cow::Borrowed(payload);
    for from in schema_version..current {
        let step = STEPS.iter().find(|(name, version, _)| (*name, *version) == (event_type, from));
        match (step, payload.to_mut()) {
            (Some((_, _, step)), Value::Object(members)) => step(members),
            _ => return Err(UpcastError::Stuck { event_type: event_type.to_owned(), from }),
        }
    }
    Ok(payload)
}

fn add(payload: &mut Map<String, Value>, member: &str, value: Value) {
    payload.entry(member).or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Fixture {
        event_type: String,
        schema_version: i16,
        payload: Value,
        today: Value,
    }

    #[test]
    fn events_as_they_were_once_written_have_the_shape_of_today() {
        let fixtures: Vec<Fixture> = serde_json::from_str(include_str!("upcast.fixtures.json")).unwrap();
        for Fixture { event_type, schema_version, payload, today } in &fixtures {
            let read = upcast(event_type, *schema_version, payload).unwrap();
            assert_eq!(*read, *today, "{event_type} {schema_version}");
            // What is of today already is left as it is.
            let current = payload::schema_version(event_type).unwrap();
            assert!(matches!(upcast(event_type, current, today), Ok(Cow::Borrowed(same)) if same == today));
        }
        for (event_type, from, _) in STEPS {
            let has = |fixture: &Fixture| fixture.event_type == event_type && fixture.schema_version == from;
            assert!(fixtures.iter().any(has), "no fixture is of {event_type} {from}");
        }
    }

    #[test]
    fn there_is_a_way_from_every_version_of_every_event() {
        for (event_type, current) in payload::shapes() {
            for version in 1..=current {
                upcast(event_type, version, &json!({})).unwrap();
            }
        }
    }

    #[test]
    fn what_a_later_gateward_wrote_is_not_guessed_at() {
        let error = upcast("ProjectUpdated", 99, &json!({})).unwrap_err();
        assert_eq!(
            error,
            UpcastError::Newer { event_type: "ProjectUpdated".to_owned(), found: 99, known: 3 }
        );
        let error = upcast("ProjectUpdated", 1, &json!(7)).unwrap_err();
        assert_eq!(error, UpcastError::Stuck { event_type: "ProjectUpdated".to_owned(), from: 1 });
        assert_eq!(*upcast("NeverHeardOf", 1, &json!(7)).unwrap(), json!(7));
    }
}
