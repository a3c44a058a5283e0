//! Tests of the audit log on a real Postgres: what was sealed, signed, published and exported, by the code that does it in production.

mod database_mutations;
mod erasure;
mod keep;
mod mutations;
mod proofs;
mod publish;
mod seal;
mod speed;
mod witness;

use std::time::Duration;

use shared::scope::Scopes;
use shared::tlog::{Algorithm, NoteSigner, VerifierKey};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::export::export;
use super::verify::{PublishedCheckpoint, Report, verify};
use super::{AuditLog, Keeper, KeeperSettings, Publisher, Sealer, latest_checkpoint};
use crate::configuration::AuditConfiguration;
use crate::database::{Actor, Component, Database};
use crate::events::NewEvent;
use crate::events::field::Identifier;
use crate::events::payload::{AuthorizationCodeReplayed, ConsentGranted};
use crate::outbox::Forwarder;
use crate::test_database::TestDatabase;

pub(crate) const ORIGIN: &str = "auth.test";
pub(crate) const SEED: [u8; 32] = [1; 32];
const WORKSPACE: Uuid = Uuid::from_u128(0x77);

/// The key of the tests' log.
pub(super) fn signer() -> NoteSigner {
    of_seed(1)
}

pub(super) fn of_seed(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, Algorithm::Ed25519, &Zeroizing::new([seed; 32])).unwrap()
}

pub(super) fn key() -> VerifierKey {
    signer().verifier().clone()
}

/// A log that publishes nowhere.
pub(super) fn configuration() -> AuditConfiguration {
    AuditConfiguration {
        signer: signer(),
        file: None,
        database: None,
        witness: None,
        interval: Duration::from_millis(10),
        events: 1_000,
    }
}

/// The forwarder of the audit log.
pub(super) fn forwarder(t: &TestDatabase, name: &str) -> Forwarder<AuditLog> {
    t.forwarder_to(name, 2, AuditLog::new(t.forwarder.clone(), configuration()))
}

pub(super) fn keeper(t: &TestDatabase, publishers: Vec<Publisher>) -> Keeper {
    let settings = KeeperSettings { interval: Duration::from_millis(10), events: 1_000 };
    Keeper::new(t.forwarder.clone(), signer(), publishers, settings)
}

pub(super) fn sealer(t: &TestDatabase) -> Sealer {
    Sealer::new(t.forwarder.clone())
}

/// Appends `events` events to each of these grants, by turns.
pub(super) async fn append(t: &TestDatabase, grants: &[u128], events: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut scope = t.database.scope(Actor::System(Component::Operator)).await.unwrap();
    for _ in 0..events {
        for grant in grants {
            let consent = ConsentGranted {
                user_id: Uuid::from_u128(6),
                client_id: Identifier::of("demo-app"),
                scopes: Scopes::parse("notes:read notes:write").unwrap(),
            };
            let event = NewEvent::of(WORKSPACE, Uuid::from_u128(*grant), &consent);
            ids.push(scope.append(event).await.unwrap().event_id);
        }
    }
    scope.commit().await.unwrap();
    ids
}

/// Another kind of event.
pub(super) async fn append_replay(t: &TestDatabase, grant: u128) -> Uuid {
    let mut scope = t.database.scope(Actor::System(Component::Operator)).await.unwrap();
    let payload = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
    let event = NewEvent::of(WORKSPACE, Uuid::from_u128(grant), &payload);
    let appended = scope.append(event).await.unwrap();
    scope.commit().await.unwrap();
    appended.event_id
}

/// Seals what is queued and signs it.
pub(super) async fn seal(t: &TestDatabase) {
    let forwarder = forwarder(t, "sealer");
    assert!(forwarder.drain().await.unwrap().is_complete());
    forwarder.destination().keep_once().await.unwrap();
}

/// The latest checkpoint, as somebody has it to whom it was published.
pub(super) async fn published(t: &TestDatabase) -> PublishedCheckpoint {
    let mut scope = t.database.scope(Actor::System(Component::Auditor)).await.unwrap();
    let latest = latest_checkpoint(&mut scope).await.unwrap().unwrap();
    PublishedCheckpoint { place: "elsewhere".to_owned(), note: latest.note }
}

pub(super) async fn exported(t: &TestDatabase, from: u64) -> Vec<u8> {
    let mut log = Vec::new();
    export(&t.database, from, &mut log).await.unwrap();
    log
}

pub(super) fn check(log: &[u8], published: &[PublishedCheckpoint]) -> Report {
    verify(&mut &log[..], &[key()], published).unwrap()
}

/// Whether everything that happened is in the log, and the log verifies. For the end of every test.
pub(crate) async fn log_verifies(auditor: &Database, events: usize) {
    if events == 0 {
        return;
    }
    let mut scope = auditor.scope(Actor::System(Component::Auditor)).await.unwrap();
    let latest = latest_checkpoint(&mut scope).await.unwrap().unwrap();
    drop(scope);
    let mut log = Vec::new();
    export(auditor, 0, &mut log).await.unwrap();
    let report = check(&log, &[PublishedCheckpoint { place: "latest".to_owned(), note: latest.note }]);
    let events = u64::try_from(events).unwrap();
    assert_eq!(report.faults, [], "the audit log does not verify");
    assert_eq!((report.events, report.published_size), (events, events), "events are not in the audit log");
}
