//! What a record changes of a key: a pure decision. A key that was revoked stays revoked; a state that is older than the one that is
//! held changes nothing; the same again changes nothing.

use shared::scope::Scopes;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    fields::Given,
    key_record::{Intent, KeyHash, KeyRecord},
};

/// What can change of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyState {
    /// Its place in the security service.
    pub(super) project_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) name: String,
    pub(super) key_hash: KeyHash,
    pub(super) scopes: Scopes,
    pub(super) expires_at: Option<OffsetDateTime>,
}

/// A key as it is held.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HeldKey {
    pub(super) state: KeyState,
    pub(super) is_revoked: bool,
    /// The source's stamp of it.
    pub(super) source_updated_at: Option<OffsetDateTime>,
}

/// What to do.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new. One that is revoked before it was ever seen is kept as that.
    Insert {
        /// As what.
        state: KeyState,
        /// Whether it is revoked already.
        is_revoked: bool,
    },
    /// It is something else now.
    Update(KeyState),
    /// It is revoked now.
    Revoke,
    /// It is the same, as of a later moment.
    Stamp,
    /// Nothing.
    Nothing,
}

/// Decides. `project_id` is where the key stands from now on.
pub(super) fn decide(held: Option<&HeldKey>, record: &KeyRecord, project_id: Uuid) -> Change {
    let is_revoked = record.intent == Intent::Revoke;
    let Some(held) = held else {
        return Change::Insert { state: state(None, record, project_id), is_revoked };
    };
    if held.is_revoked {
        return Change::Nothing;
    }
    if is_revoked {
        // Whatever its stamp: what was revoked once was revoked after everything else.
        return Change::Revoke;
    }
    let is_stale =
        matches!((record.updated_at, held.source_updated_at), (Some(this), Some(that)) if this < that);
    if is_stale {
        return Change::Nothing;
    }
    let next = state(Some(&held.state), record, project_id);
    if next != held.state {
        Change::Update(next)
    } else if record.updated_at.is_some() && record.updated_at != held.source_updated_at {
        Change::Stamp
    } else {
        Change::Nothing
    }
}

/// What the record says, and of what it does not say, what was said before.
fn state(before: Option<&KeyState>, record: &KeyRecord, project_id: Uuid) -> KeyState {
    KeyState {
        project_id,
        user_id: record.user_id,
        name: record.name.clone(),
        key_hash: record.key_hash,
        scopes: match &record.permissions {
            Given::Set(scopes) => scopes.clone().unwrap_or_default(),
            Given::Left => before.map(|state| state.scopes.clone()).unwrap_or_default(),
        },
        expires_at: match record.expires_at {
            Given::Set(expires_at) => expires_at,
            Given::Left => before.and_then(|state| state.expires_at),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    /// What a key came to after one change.
    fn apply(held: Option<HeldKey>, record: &KeyRecord) -> HeldKey {
        let change = decide(held.as_ref(), record, Uuid::nil());
        let stamped = |before: Option<OffsetDateTime>| record.updated_at.or(before);
        match (held, change) {
            (None, Change::Insert { state, is_revoked }) => {
                HeldKey { state, is_revoked, source_updated_at: record.updated_at }
            }
            (Some(held), Change::Update(state)) => {
                HeldKey { state, source_updated_at: stamped(held.source_updated_at), ..held }
            }
            (Some(held), Change::Revoke) => HeldKey { is_revoked: true, ..held },
            (Some(held), Change::Stamp) => {
                HeldKey { source_updated_at: stamped(held.source_updated_at), ..held }
            }
            (Some(held), Change::Nothing) => held,
            _ => panic!("inserted twice, or changed before it was there"),
        }
    }

    fn record(stamp: Option<u8>, content: u8, intent: Intent) -> KeyRecord {
        KeyRecord {
            id: Uuid::from_u128(1),
            user_id: Uuid::from_u128(2),
            organization_id: Uuid::from_u128(3),
            name: format!("name {content}"),
            key_hash: KeyHash([content; 32]),
            intent,
            permissions: Given::Set(Scopes::parse(&format!("scope:{content}"))),
            expires_at: Given::Set(None),
            created_at: None,
            updated_at: stamp
                .map(|stamp| datetime!(2026-11-21 10:00 UTC) + Duration::from_secs(u64::from(stamp))),
            project: None,
        }
    }

    fn intents() -> impl Strategy<Value = Intent> {
        // A revocation now and then.
        prop_oneof![
            4 => Just(Intent::Create), 8 => Just(Intent::Update), 4 => Just(Intent::Rotate), 4 => Just(Intent::State),
            1 => Just(Intent::Revoke),
        ]
    }

    proptest! {
        /// What the source did, in its order; then delivered in any order, each as often as it pleases, all of it at least once.
        #[test]
        fn whatever_comes_how_often_and_in_which_order_the_newest_state_stands(
            steps in prop::collection::vec((any::<u8>(), intents()), 1..12),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
            shuffle in any::<u64>(),
        ) {
            let records: Vec<KeyRecord> = steps
                .iter()
                .enumerate()
                .map(|(at, (content, intent))| record(Some(u8::try_from(at).unwrap()), *content, *intent))
                .collect();
            let mut deliveries: Vec<&KeyRecord> = order.iter().map(|index| index.get(&records)).collect();
            // Everything arrives once more, in an order of its own.
            let mut all: Vec<&KeyRecord> = records.iter().collect();
            all.sort_by_key(|record| {
                (u64::from(record.key_hash.0[0]) << 8 | u64::try_from(record.updated_at.unwrap().unix_timestamp()).unwrap() & 0xff)
                    .wrapping_mul(shuffle | 1)
            });
            deliveries.extend(all);
            let mut held: Option<HeldKey> = None;
            for record in &deliveries {
                let was_revoked = held.as_ref().is_some_and(|held| held.is_revoked);
                let next = apply(held, record);
                prop_assert!(!was_revoked || next.is_revoked, "it came back to life");
                // The same again changes nothing.
                prop_assert!(apply(Some(next.clone()), record) == next);
                held = Some(next);
            }
            let held = held.unwrap();
            let is_revoked = records.iter().any(|record| record.intent == Intent::Revoke);
            prop_assert_eq!(held.is_revoked, is_revoked);
            if !is_revoked {
                let newest = records.last().unwrap();
                prop_assert!(held.state == state(None, newest, Uuid::nil()));
                prop_assert_eq!(held.source_updated_at, newest.updated_at);
            }
        }
    }

    #[test]
    fn without_stamps_the_last_that_came_stands_and_revoked_is_for_good() {
        let mut held = None;
        for content in [1, 2, 1] {
            let next = apply(held, &record(None, content, Intent::Update));
            assert_eq!(next.state.name, format!("name {content}"));
            held = Some(next);
        }
        let held = apply(held, &record(None, 9, Intent::Revoke));
        let held = apply(Some(held), &record(Some(200), 7, Intent::Create));
        assert!(held.is_revoked);
        // A status flip and nothing more.
        assert_eq!(held.state.name, "name 1");
    }

    #[test]
    fn one_that_is_revoked_before_it_was_seen_never_lives() {
        let held = apply(None, &record(Some(5), 1, Intent::Revoke));
        assert!(apply(Some(held), &record(Some(4), 1, Intent::Create)).is_revoked);
    }

    #[test]
    fn the_same_as_of_later_moves_the_stamp_alone() {
        let held = apply(None, &record(Some(1), 1, Intent::Create));
        let held = apply(Some(held), &record(Some(3), 1, Intent::Update));
        // What was meant to come between comes late.
        let held = apply(Some(held), &record(Some(2), 2, Intent::Update));
        assert_eq!(held.state.name, "name 1");
    }

    #[test]
    fn what_is_left_out_stays() {
        let held = apply(None, &record(None, 1, Intent::Create));
        let partly = KeyRecord {
            permissions: Given::Left,
            expires_at: Given::Left,
            ..record(None, 2, Intent::Update)
        };
        let held = apply(Some(held), &partly);
        assert_eq!((held.state.name.as_str(), held.state.scopes.to_string().as_str()), ("name 2", "scope:1"));
    }
}
