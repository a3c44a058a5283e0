//! What is over goes, what is not stays, and of a person who was erased nothing is found anywhere.

use std::sync::Arc;
use std::time::Duration;

use shared::{api_key::Environment, scope::Scopes};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{EraseError, Erased, Person, Swept, erase, sweep};
use crate::configuration::Retention;
use crate::credentials::{self, KeyRequest};
use crate::database::{Actor, Component, Database};
use crate::http::test_origin::TestOrigin;
use crate::oauth::tests::{PERSON, Stage, WORKSPACE, assert_error, text};
use crate::pages::test_browser::Browser;
use crate::sign_in::{EmailAddress, issue_link};
use crate::test_database::{self, TestDatabase, execute};

const DAY: Duration = Duration::from_hours(24);
const RETENTION: Retention = Retention { expired: DAY, ended: Duration::from_hours(30 * 24) };

async fn count(t: &TestDatabase, table: &str) -> i64 {
    let statement = AssertSqlSafe(format!("SELECT count(*) FROM auth_gateway.{table}"));
    sqlx::query_scalar(statement).fetch_one(&mut t.admin().await).await.unwrap()
}

fn deleted(swept: &Swept) -> Vec<(&'static str, u64)> {
    assert_eq!(swept.failed.len(), 0, "{:?}", swept.failed);
    swept.deleted.iter().filter(|(_, rows)| **rows > 0).map(|(table, rows)| (*table, *rows)).collect()
}

#[tokio::test]
async fn what_is_over_goes_in_its_time_and_the_log_stays() {
    test_database::run(async |t| {
        let stage = Stage::set(t).await;
        stage.tokens().await;
        let replayed = stage.code().await;
        stage.redeem(&replayed).await;
        stage.redeem(&replayed).await;
        let events = count(t, "events").await;

        assert_eq!(deleted(&sweep(&t.database, RETENTION).await), []);
        t.clock.advance(DAY);
        assert_eq!(
            deleted(&sweep(&t.database, RETENTION).await),
            [],
            "a day after they were made they are not over for a day"
        );
        t.clock.advance(Duration::from_mins(31));
        assert_eq!(
            deleted(&sweep(&t.database, RETENTION).await),
            [
                ("authorization_requests", 2),
                ("oauth_authorization_codes", 2),
                ("oauth_tokens", 2),
                ("revocations", 1)
            ]
        );
        // One grant was ended at once, the other by its age; the sessions go when nothing points at them any more.
        t.clock.advance(30 * DAY);
        assert_eq!(deleted(&sweep(&t.database, RETENTION).await), [("oauth_grants", 1), ("sessions", 1)]);
        t.clock.advance(30 * DAY);
        assert_eq!(deleted(&sweep(&t.database, RETENTION).await), [("oauth_grants", 1), ("sessions", 1)]);
        t.clock.advance(365 * DAY);
        assert_eq!(deleted(&sweep(&t.database, RETENTION).await), []);
        assert_eq!(count(t, "events").await, events);
    })
    .await;
}

#[tokio::test]
async fn more_than_a_batch_goes_and_what_somebody_holds_is_left_to_them() {
    test_database::run(async |t| {
        let mut holder = t.admin().await;
        execute(
            &mut holder,
            "INSERT INTO auth_gateway.sign_in_challenges (id, email, email_salt, kind, secret_hash, created_at, expires_at)
             SELECT gen_random_uuid(), n || '@example.test', decode(repeat('00', 16), 'hex'), 'code', sha256(n::text::bytea),
                    timestamptz '2026-11-01 10:00Z', timestamptz '2026-11-01 10:10Z' FROM generate_series(1, 1234) AS n;
             INSERT INTO auth_gateway.rate_limits (key, tat)
             SELECT sha256(n::text::bytea), timestamptz '2026-11-21 09:59Z' FROM generate_series(1, 700) AS n"
                .to_owned(),
        )
        .await;
        execute(
            &mut holder,
            "BEGIN; SELECT id FROM auth_gateway.sign_in_challenges WHERE email = '7@example.test' FOR UPDATE"
                .to_owned(),
        )
        .await;
        // Three at once, as three origins would: each row goes once, and nobody waits.
        let (one, two, three) = tokio::join!(
            sweep(&t.database, RETENTION),
            sweep(&t.database, RETENTION),
            sweep(&t.database, RETENTION)
        );
        let sum = |table: &str| [&one, &two, &three].iter().map(|swept| swept.deleted[table]).sum::<u64>();
        assert_eq!((sum("sign_in_challenges"), sum("rate_limits")), (1_233, 700));
        execute(&mut holder, "ROLLBACK".to_owned()).await;
        assert_eq!(deleted(&sweep(&t.database, RETENTION).await), [("sign_in_challenges", 1)]);
    })
    .await;
}

#[tokio::test]
async fn the_sweeper_can_read_nothing_and_change_nothing_else() {
    test_database::run(async |t| {
        let stage = Stage::set(t).await;
        stage.tokens().await;
        let forbidden = [
            "SELECT email FROM sign_in_challenges",
            "SELECT refresh_secret_hash FROM oauth_grants",
            "SELECT email FROM user_accounts",
            "SELECT token_hash FROM sessions",
            "DELETE FROM events",
            "SELECT payload FROM events",
            "DELETE FROM user_accounts",
            "UPDATE oauth_grants SET revoked_at = NULL",
            // Locking takes the right to this column; the policy lets no changed row through.
            "UPDATE oauth_grants SET id = gen_random_uuid()",
        ];
        for statement in forbidden {
            let mut scope = t.database.scope(Actor::System(Component::Retention)).await.unwrap();
            let error =
                sqlx::query(statement).execute(scope.connection()).await.expect_err(statement).to_string();
            assert!(
                error.contains("permission denied") || error.contains("row-level security"),
                "{statement}: {error}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_table_that_cannot_be_swept_stops_no_other() {
    test_database::run(async |t| {
        let stage = Stage::set(t).await;
        stage.tokens().await;
        t.clock.advance(2 * DAY);
        let mut admin = t.admin().await;
        execute(&mut admin, "ALTER TABLE auth_gateway.authorization_requests RENAME TO elsewhere".to_owned())
            .await;
        let swept = sweep(&t.database, RETENTION).await;
        assert!(swept.failed["authorization_requests"].contains("authorization_requests"), "{swept:?}");
        assert_eq!((swept.deleted["oauth_authorization_codes"], swept.deleted["oauth_tokens"]), (1, 1));
        execute(&mut admin, "ALTER TABLE auth_gateway.elsewhere RENAME TO authorization_requests".to_owned())
            .await;
    })
    .await;
}

/// How many rows of any table of a database hold one of these, as text or as bytes.
async fn found(connection: &mut sqlx::PgConnection, needles: &[String]) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert!(!tables.is_empty());
    let mut found = Vec::new();
    for table in tables {
        let statement = AssertSqlSafe(format!(
            "SELECT needle FROM unnest($1::text[]) AS needle
             WHERE EXISTS (SELECT FROM {table} AS held WHERE strpos(lower(to_jsonb(held)::text), needle) > 0)"
        ));
        let needles: Vec<String> =
            sqlx::query_scalar(statement).bind(needles).fetch_all(&mut *connection).await.unwrap();
        found.extend(needles.into_iter().map(|needle| format!("{table}: {needle}")));
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

const EMAIL: &str = "rosa.luxemburg@example.test";

/// Somebody signs in for the first time. Yields the browser and the account's id.
async fn sign_in(t: &TestDatabase) -> (Browser, Uuid) {
    let email = EmailAddress::parse(EMAIL).unwrap();
    let link = issue_link(&t.database, "https://auth.test", Duration::from_mins(10), &email).await.unwrap();
    let (_, token) = link.url.split_once("token=").unwrap();
    let browser = Browser::new(&Arc::new(TestOrigin::new(t)));
    assert_eq!(browser.post("/sign-in/link", &[("token", token)]).await.status, 303);
    assert_eq!(browser.get("/account").await.status, 200);
    let id = sqlx::query_scalar("SELECT id FROM auth_gateway.user_accounts WHERE email = $1")
        .bind(EMAIL)
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
    (browser, id)
}

#[tokio::test]
async fn of_a_person_who_was_erased_nothing_is_found_anywhere() {
    test_database::run(async |t| {
        let stage = Stage::set(t).await;
        let (browser, id) = sign_in(t).await;
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            format!(
                "INSERT INTO auth_gateway.workspace_memberships VALUES ('{WORKSPACE}', '{id}', 'owner', now());
                 INSERT INTO auth_gateway.oauth_consents (workspace_id, user_id, client_id, scopes, granted_at)
                 VALUES ('{WORKSPACE}', '{id}', 'app', '{{}}', now());
                 UPDATE auth_gateway.user_accounts SET display_name = 'Rosa Luxemburg' WHERE id = '{id}';
                 UPDATE auth_gateway.sessions SET address = '198.51.100.77' WHERE user_id = '{id}'"
            ),
        )
        .await;
        let mut salts: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT email_salt FROM auth_gateway.user_accounts WHERE id = $1
             UNION ALL SELECT email_salt FROM auth_gateway.sign_in_challenges WHERE email = $2",
        )
        .bind(id)
        .bind(EMAIL)
        .fetch_all(&mut admin)
        .await
        .unwrap();
        let mut needles =
            vec![EMAIL.to_owned(), hex(EMAIL.as_bytes()), "rosa".to_owned(), "198.51.100.77".to_owned()];
        needles.extend(salts.drain(..).map(|salt| hex(&salt)));
        assert_eq!(needles.len(), 6, "the account's salt and the link's");
        assert!(found(&mut admin, &needles).await.len() >= 6, "the search itself finds what is there");

        let person = Person::Email(EmailAddress::parse(&EMAIL.to_uppercase()).unwrap());
        let erased = erase(&t.database, &person).await.unwrap();
        assert_eq!(
            erased,
            Erased {
                user_id: id,
                was_erased_before: false,
                sessions: 1,
                grants: 0,
                credentials: 0,
                workspaces_without_owner: vec!["demo".to_owned()],
            }
        );
        assert_eq!(found(&mut admin, &needles).await, Vec::<String>::new());
        t.real_forwarder("one").drain().await.unwrap();
        assert_eq!(found(&mut t.read_side().await, &needles).await, Vec::<String>::new());
        assert_eq!(browser.get("/account").await.status, 303, "the session goes on");

        // Once more, by id: nothing is left to do. By the address, there is nobody.
        let again = erase(&t.database, &Person::Id(id)).await.unwrap();
        assert_eq!(again, Erased { user_id: id, was_erased_before: true, ..Erased::default() });
        assert!(matches!(erase(&t.database, &person).await, Err(EraseError::NoAccount(_))));
        // The address can come again; it is somebody else then.
        let (_, other) = sign_in(t).await;
        assert_ne!(other, id);
        drop(stage);
    })
    .await;
}

#[tokio::test]
async fn whatever_an_erased_person_could_do_ends() {
    test_database::run(async |t| {
        let stage = Stage::set(t).await;
        let tokens = stage.tokens().await;
        let outstanding = stage.code().await;
        let request = KeyRequest {
            project: "notes".to_owned(),
            name: "the key of Ann".to_owned(),
            subject: None,
            scopes: Scopes::default(),
            lifetime: None,
            addresses: Vec::new(),
            created_by: "operator".to_owned(),
        };
        let created = credentials::create(&t.database, Environment::Live, &request).await.unwrap();
        stage.sql(&format!("UPDATE security_service.api_keys SET user_id = '{PERSON}'")).await;

        let erased = erase(&t.database, &Person::Id(PERSON)).await.unwrap();
        assert_eq!((erased.sessions, erased.grants, erased.credentials), (2, 1, 1));
        assert_error(
            &stage.refresh_as("app", &text(&tokens, "refresh_token"), &[]).await,
            400,
            "invalid_grant",
        );
        assert_error(&stage.redeem(&outstanding).await, 400, "invalid_grant");
        // By itself the origin looks within half a second; its clock stands still here.
        stage.test.origin.policy.mark_changed();
        let compiled = stage.test.origin.policy.current(&stage.test.origin.database).await.unwrap();
        let revocations = &compiled.policy.revocations;
        let now = t.clock.unix_seconds();
        assert!(
            revocations.subjects[&PERSON.to_string()] > now + 3_600,
            "a token that is being issued now is refused as well"
        );
        assert!(revocations.tokens.contains_key(&created.id.to_string()));
        assert_eq!(revocations.grants.len(), 1);
        let name: String = sqlx::query_scalar("SELECT name FROM security_service.api_keys")
            .fetch_one(&mut t.admin().await)
            .await
            .unwrap();
        assert_eq!(name, "erased");
    })
    .await;
}

#[tokio::test]
async fn an_erasure_that_fails_midway_erases_nothing() {
    test_database::run(async |t| {
        Stage::set(t).await;
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            "ALTER TABLE auth_gateway.user_accounts ADD CONSTRAINT no CHECK (status <> 'erased')".to_owned(),
        )
        .await;
        let database: &Database = &t.database;
        assert!(matches!(erase(database, &Person::Id(PERSON)).await, Err(EraseError::Database(_))));
        let open: i64 =
            sqlx::query_scalar("SELECT count(*) FROM auth_gateway.sessions WHERE ended_at IS NULL")
                .fetch_one(&mut admin)
                .await
                .unwrap();
        assert_eq!((open, count(t, "events").await), (2, 0));
    })
    .await;
}
