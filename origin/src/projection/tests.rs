//! Comparing, mending and rebuilding against real databases, with traffic going on.

mod drift;
mod rebuild;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::clock::{Clock, Randomness};
use crate::database::{Actor, Component, Database};
use crate::events::NewEvent;
use crate::events::field::Identifier;
use crate::events::payload::AuthorizationCodeReplayed;
use crate::projects::{self, Declaration};
use crate::test_database::{TestDatabase, execute};

const WORKSPACE: Uuid = Uuid::from_u128(0x77);

/// Appends events, one transaction each, spread over aggregates in turn.
async fn append(database: &Database, aggregates: u128, events: std::ops::Range<u128>) {
    for number in events {
        let mut scope = database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
        let event = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
        scope
            .append(NewEvent::of(WORKSPACE, Uuid::from_u128(number % aggregates + 1), &event))
            .await
            .unwrap();
        scope.commit().await.unwrap();
    }
}

/// Makes events by the thousand, as if they had been delivered to nobody: queued for no destination.
async fn make_unqueued(t: &TestDatabase, events: u32) {
    execute(
        &mut t.admin().await,
        format!(
            "INSERT INTO auth_gateway.events
             SELECT ('01930000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
                    '{WORKSPACE}', 'grant', ('00000000-0000-0000-0001-' || lpad(to_hex(n % 100), 12, '0'))::uuid, n / 100 + 1,
                    'AuthorizationCodeReplayed', 1, jsonb_build_object('client_id', 'app-' || n), '{{\"actor\": null}}', now(), '',
                    CASE WHEN n >= 100 THEN sha256('') END, sha256('')
             FROM generate_series(0, {events} - 1) AS n"
        ),
    )
    .await;
}

/// A project with a client, by the name of the client.
async fn apply(database: &Database, name: &str) {
    let file = format!(
        "[workspace]\nslug = \"demo\"\n[[project]]\nslug = \"notes\"\nname = \"{name}\"\n[[project.service]]\nslug = \"api\"\n\
         upstreams = [\"http://127.0.0.1:9100\"]\n[[client]]\nclient_id = \"demo-app\"\nname = \"{name}\"\nproject = \"notes\"\n\
         redirect_uris = [\"https://app.example.com/callback\"]\n"
    );
    projects::apply(database, &Declaration::parse(&file).unwrap()).await.unwrap();
}

/// Everything that is queued arrives.
async fn drain(t: &TestDatabase) {
    t.real_forwarder("drain").drain().await.unwrap();
    t.registry_forwarder("drain").drain().await.unwrap();
}

/// The origin's way in with the real clock, so that ids are as young as they look.
fn in_real_time(t: &TestDatabase) -> Database {
    Database::new(t.configuration.serve_login.options(), 4, Clock::System, Randomness::System)
}

async fn count(connection: &mut sqlx::PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(connection)
        .await
        .unwrap()
}
