//! Each finding provoked for real: broken, seen, mended, gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{IDS, Report, Severity, State, examine};
use crate::clock::Clock;
use crate::configuration::{KeyBytes, Source};
use crate::database::{Actor, Component};
use crate::events::NewEvent;
use crate::events::field::Identifier;
use crate::events::payload::AuthorizationCodeReplayed;
use crate::projects::{self, Declaration};
use crate::signing_keys::{Sealer, active};
use crate::test_database::{self, TestDatabase, execute};

/// 32 bytes of 7.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
/// What is provoked where Postgres is nobody else's, in `e2e/doctor.test.mjs`: a role is one of the whole server.
const ELSEWHERE: [&str; 1] = ["role-privileged"];

fn environment(t: &TestDatabase) -> Source {
    t.surroundings.source.clone().with([
        ("ISSUER", "https://auth.example.test"),
        ("POLICY_SIGNING_KEY", KEY),
        ("CODE_MAC_KEY", KEY),
        ("KEY_ENCRYPTION_KEY", KEY),
        ("AUDIT_SIGNING_KEY", KEY),
        ("WEBHOOK_SECRET", "a-secret-of-the-webhooks-of-this-test"),
        ("EDGE_PUBLIC_KEYS", "edge-1=11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
        ("SMTP_URL", "smtp://127.0.0.1:2525"),
        ("MAIL_FROM", "Gateward <sign-in@example.test>"),
    ])
}

/// A gateway that has been at work: a signing key, a policy, a project with a client, a few events, all of it delivered.
async fn at_work(t: &TestDatabase) {
    active(&t.database, &Sealer::new(&KeyBytes::new([7; 32]))).await.unwrap();
    let file = "[workspace]\nslug = \"demo\"\n[[project]]\nslug = \"notes\"\n[[project.service]]\nslug = \"api\"\n\
                upstreams = [\"http://127.0.0.1:9100\"]\n[[client]]\nclient_id = \"demo-app\"\nname = \"Demo\"\nproject = \"notes\"\n\
                redirect_uris = [\"https://app.example.com/callback\"]\n";
    projects::apply(&t.database, &Declaration::parse(file).unwrap()).await.unwrap();
    append(t).await;
    execute(
        &mut t.admin().await,
        "UPDATE auth_gateway.policy_head SET version = 1, changed_at = now()".to_owned(),
    )
    .await;
    t.settle().await;
}

async fn append(t: &TestDatabase) {
    let mut scope = t.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
    let event = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
    scope.append(NewEvent::of(Uuid::from_u128(7), Uuid::from_u128(8), &event)).await.unwrap();
    scope.commit().await.unwrap();
}

/// What was found, without what another test does to a login of its own on the same server.
fn found(report: &Report) -> Vec<(&'static str, Severity)> {
    report
        .findings
        .iter()
        .filter(|finding| !(finding.id == "login-privileged" && finding.subject.starts_with("strong_")))
        .map(|finding| (finding.id, finding.severity))
        .collect()
}

async fn look(source: &Source) -> Report {
    examine(source, Clock::System, false).await
}

#[tokio::test]
async fn a_gateway_that_is_well_has_no_finding() {
    test_database::run(async |t| {
        at_work(t).await;
        let report = look(&environment(t)).await;
        assert_eq!(found(&report), [], "{:?}", report.findings);
        assert!(report.checks.iter().all(|check| check.state != State::NotExamined));
        let facts: Vec<&str> =
            report.checks.iter().flat_map(|check| &check.facts).map(String::as_str).collect();
        for expected in [
            "security_service: 0 API keys active",
            "auth_gateway: 1 projects, 1 clients",
            "registry: 1 projects, 1 clients",
            "policy version 1",
        ] {
            assert!(facts.iter().any(|fact| fact.starts_with(expected)), "{expected} is not in {facts:?}");
        }
        let said = serde_json::to_string(&report).unwrap();
        assert!(!said.contains(KEY) && !said.contains("of-a-test"), "a secret was printed");
    })
    .await;
}

#[derive(Clone, Copy)]
enum At {
    Command,
    Read,
    Registry,
}

/// What is done to a store, what must be seen of it, and what undoes it.
const DAMAGE: [(At, &str, &str, Severity, &str); 27] = {
    use At::{Command, Read, Registry};
    use Severity::{Failure, Warning};
    [
        (Command, "DELETE FROM public._sqlx_migrations WHERE version = 1", "migrations-missing", Failure, "keep"),
        (Read, "INSERT INTO public._sqlx_migrations SELECT 9999, 'x', now(), true, ''::bytea, 0", "migrations-unknown", Warning,
         "DELETE FROM public._sqlx_migrations WHERE version = 9999"),
        (Registry, "UPDATE public._sqlx_migrations SET checksum = checksum || '\\x00'::bytea", "migrations-changed", Failure,
         "UPDATE public._sqlx_migrations SET checksum = substr(checksum, 1, length(checksum) - 1)"),
        (Command, "ALTER TABLE security_service.key_usage_analytics RENAME TO elsewhere", "table-missing", Failure,
         "ALTER TABLE security_service.elsewhere RENAME TO key_usage_analytics"),
        (Command, "ALTER TABLE auth_gateway.projects NO FORCE ROW LEVEL SECURITY", "row-security", Failure,
         "ALTER TABLE auth_gateway.projects FORCE ROW LEVEL SECURITY"),
        (Read, "ALTER TABLE public.auth_events DISABLE ROW LEVEL SECURITY", "row-security", Failure,
         "ALTER TABLE public.auth_events ENABLE ROW LEVEL SECURITY"),
        (Command, "ALTER VIEW auth_gateway.oauth_audit_log SET (security_invoker = false)", "row-security", Failure,
         "ALTER VIEW auth_gateway.oauth_audit_log SET (security_invoker = true)"),
        (Command, "REVOKE SELECT ON security_service.mcp_tools FROM gateward_auditor", "check-failed", Warning,
         "GRANT SELECT ON security_service.mcp_tools TO gateward_auditor"),
        (Command, "UPDATE auth_gateway.outbox_destinations SET name = 'another' WHERE id = 1", "destination-missing", Failure,
         "UPDATE auth_gateway.outbox_destinations SET name = 'read-database' WHERE id = 1"),
        (Command, "UPDATE auth_gateway.outbox_destinations SET enabled = false WHERE id = 1", "destination-disabled", Failure,
         "UPDATE auth_gateway.outbox_destinations SET enabled = true WHERE id = 1"),
        (Command, "UPDATE auth_gateway.outbox_destinations SET breaker_failures = 2, breaker_error = 'it said of-a-test' WHERE id = 1",
         "destination-away", Warning, "UPDATE auth_gateway.outbox_destinations SET breaker_failures = 9 WHERE id = 1"),
        (Command, "SELECT", "destination-away", Failure,
         "UPDATE auth_gateway.outbox_destinations SET breaker_failures = 0, breaker_error = NULL"),
        (Command, "INSERT INTO auth_gateway.outbox_destinations (id, name, kind) VALUES (40, 'second-site', 'postgres')",
         "destination-credentials", Warning, "DELETE FROM auth_gateway.outbox_destinations WHERE id = 40"),
        (Command, "INSERT INTO auth_gateway.outbox (destination_id, lane, event_id, created_at, next_attempt_at, last_error)
                   SELECT 1, 1, event_id, now() - interval '2 minutes', now() + interval '1 hour', 'no such column' FROM auth_gateway.events LIMIT 1",
         "outbox-lag", Warning, "UPDATE auth_gateway.outbox SET created_at = now() - interval '1 hour'"),
        (Command, "SELECT", "outbox-lag", Failure, "UPDATE auth_gateway.outbox SET next_attempt_at = NULL"),
        (Command, "SELECT", "forwarder-silent", Failure, "DELETE FROM auth_gateway.outbox"),
        (Command, "INSERT INTO auth_gateway.outbox_failed SELECT 1, 1, 1, event_id, 5, 'refused', 'too long', now(), now() FROM auth_gateway.events LIMIT 1",
         "outbox-failed", Failure, "DELETE FROM auth_gateway.outbox_failed"),
        (Command, "UPDATE auth_gateway.policy_head SET version = 2, changed_at = now() - interval '1 minute';
                   INSERT INTO auth_gateway.edge_isolates VALUES ('edge-1', 'a', 1, now())", "edges-behind", Warning,
         "UPDATE auth_gateway.policy_head SET changed_at = now() - interval '1 hour'"),
        (Command, "SELECT", "edges-behind", Failure, "DELETE FROM auth_gateway.edge_isolates"),
        (Command, "UPDATE auth_gateway.policy_head SET version = 0", "policy-missing", Warning, "UPDATE auth_gateway.policy_head SET version = 1"),
        (Command, "UPDATE auth_gateway.signing_keys SET phase = 'retiring', retiring_at = now()", "signing-keys", Failure,
         "UPDATE auth_gateway.signing_keys SET phase = 'active', activated_at = now() - interval '2 years'"),
        (Command, "SELECT", "signing-keys", Warning, "UPDATE auth_gateway.signing_keys SET activated_at = now()"),
        (
            Command,
            "UPDATE auth_gateway.audit_checkpoints SET size = size - 1, made_at = now() - interval '2 minutes'",
            "checkpoint-old",
            Warning,
            "UPDATE auth_gateway.audit_checkpoints SET made_at = now() - interval '1 hour'",
        ),
        (
            Command,
            "SELECT",
            "checkpoint-old",
            Failure,
            "UPDATE auth_gateway.audit_checkpoints SET size = size + 1, made_at = now() - interval '2 minutes'",
        ),
        (
            Command,
            "INSERT INTO auth_gateway.audit_publications VALUES ('file', NULL, NULL, now(), 3, 'no space left')",
            "checkpoint-unpublished",
            Warning,
            "UPDATE auth_gateway.audit_checkpoints SET made_at = now() - interval '1 hour'",
        ),
        (Command, "SELECT", "checkpoint-unpublished", Failure, "DELETE FROM auth_gateway.audit_publications"),
        (Registry, "UPDATE public.projects SET name = 'x'", "registry-drift", Failure, "UPDATE public.projects SET name = 'notes'"),
    ]
};

#[tokio::test]
async fn what_is_broken_is_seen_and_gone_when_it_is_mended() {
    test_database::run(async |t| {
        at_work(t).await;
        let source = environment(t);
        let name: String = sqlx::query_scalar("SELECT name FROM public.projects")
            .fetch_one(&mut t.registry_side().await)
            .await
            .unwrap();
        let first: (String, Vec<u8>) =
            sqlx::query_as("SELECT description, checksum FROM public._sqlx_migrations WHERE version = 1")
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap();
        for (at, damage, id, severity, mend) in DAMAGE {
            let mut admin: PgConnection = match at {
                At::Command => t.admin().await,
                At::Read => t.read_side().await,
                At::Registry => t.registry_side().await,
            };
            execute(&mut admin, damage.to_owned()).await;
            let report = look(&source).await;
            // A destination under another name has no credentials, either.
            let most = if id == "destination-missing" { 2 } else { 1 };
            let seen = found(&report);
            assert!(
                seen.first() == Some(&(id, severity)) && seen.len() <= most,
                "{damage}: {:#?}",
                report.findings
            );
            let finding = &report.findings[0];
            assert!(!finding.found.is_empty() && !finding.action.is_empty(), "{id} says nothing");
            assert!(!finding.found.contains("of-a-test"), "a password was printed: {}", finding.found);
            assert_eq!(report.exit_code(), if severity == Severity::Failure { 2 } else { 1 });
            if mend == "keep" {
                sqlx::query(AssertSqlSafe(
                    "INSERT INTO public._sqlx_migrations VALUES (1, $1, now(), true, $2, 0)",
                ))
                .bind(&first.0)
                .bind(&first.1)
                .execute(&mut admin)
                .await
                .unwrap();
            } else {
                execute(&mut admin, mend.replace("'notes'", &format!("'{name}'"))).await;
            }
        }
        let report = look(&source).await;
        assert_eq!(found(&report), [], "{:?}", report.findings);
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_away_keeps_no_check_of_another_from_looking() {
    test_database::run(async |t| {
        at_work(t).await;
        let nowhere = "postgres://login:of-a-test@127.0.0.1:1/nothing";
        let whole = environment(t);
        for (variable, not_examined) in [
            ("READ_DATABASE_URL", &["read side"][..]),
            ("REGISTRY_DATABASE_URL", &["client registry"]),
            (
                "DATABASE_URL",
                &[
                    "destinations",
                    "outbox",
                    "edges",
                    "audit log",
                    "signing keys",
                    "assets",
                    "read side",
                    "client registry",
                ],
            ),
        ] {
            let report = look(&whole.clone().with([(variable, nowhere)])).await;
            assert_eq!(found(&report), [("database-unreachable", Severity::Failure)], "{variable}");
            let others: Vec<&str> = report
                .checks
                .iter()
                .filter(|check| check.state == State::NotExamined)
                .map(|check| check.check)
                .collect();
            assert_eq!(others, not_examined, "{variable}");
            assert!(!serde_json::to_string(&report).unwrap().contains("of-a-test"));

            let report = look(&whole.clone().with([(variable, "")])).await;
            let ids: BTreeSet<_> = found(&report).into_iter().map(|(id, _)| id).collect();
            assert!(ids.contains("configuration"), "{ids:?}");
        }
        // A login of another store: it gets in here, and may act as nobody.
        let read = whole.value("READ_DATABASE_URL").to_owned();
        let registry = whole.value("REGISTRY_DATABASE_URL").rsplit('/').next().unwrap().to_owned();
        let stranger = format!("{}/{registry}", read.rsplit_once('/').unwrap().0);
        let report = look(&whole.with([("REGISTRY_DATABASE_URL", stranger.as_str())])).await;
        assert_eq!(found(&report), [("role-missing", Severity::Failure)]);
    })
    .await;
}

#[tokio::test]
async fn clocks_keys_and_logins_that_are_wrong_are_seen() {
    test_database::run(async |t| {
        at_work(t).await;
        let source = environment(t);
        for (seconds, severity) in [(2, Severity::Warning), (-30, Severity::Failure)] {
            let clock = Clock::fixed(Clock::System.now() + time::Duration::seconds(seconds));
            let report = examine(&source, clock, false).await;
            assert_eq!(found(&report), [("clock-skew", severity); 3]);
        }
        let other = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg";
        let report = look(&source.clone().with([("KEY_ENCRYPTION_KEY", other)])).await;
        assert_eq!(found(&report), [("signing-keys", Severity::Failure)]);

        let strong =
            format!("strong_{}", Uuid::from_bytes(crate::clock::Randomness::System.bytes()).simple());
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            format!("CREATE ROLE {strong} LOGIN BYPASSRLS NOINHERIT; GRANT gateward_app TO {strong}"),
        )
        .await;
        let report = look(&source).await;
        execute(&mut admin, format!("DROP ROLE {strong}")).await;
        let subjects: Vec<&str> = report.findings.iter().map(|finding| finding.subject.as_str()).collect();
        assert!(subjects.contains(&strong.as_str()), "{subjects:?}");
    })
    .await;
}

#[tokio::test]
async fn repairing_says_what_it_did_and_twice_is_harmless() {
    test_database::run(async |t| {
        at_work(t).await;
        let source = environment(t);
        let mut read = t.read_side().await;
        let stranger = Uuid::from_u128(5);
        execute(
            &mut read,
            format!(
                "DELETE FROM public.auth_events WHERE event_type = 'ProjectCreated';
                 UPDATE public.auth_events SET payload = '{{}}' WHERE event_type = 'ClientRegistered';
                 INSERT INTO public.auth_events SELECT '{stranger}', gen_random_uuid(), 'x', gen_random_uuid(), 1, 'x', 1, '{{}}', '{{}}', now()"
            ),
        )
        .await;
        execute(&mut t.registry_side().await, "DELETE FROM public.oauth_clients".to_owned()).await;
        let report = look(&source).await;
        assert_eq!(found(&report), [("read-drift", Severity::Failure), ("registry-drift", Severity::Failure)]);
        assert!(report.findings[0].found.starts_with("1 missing, 1 changed, 1 extra: "), "{}", report.findings[0].found);
        assert!(report.repairs.is_empty(), "it repaired without being asked to");

        let mended = examine(&source, Clock::System, true).await;
        assert_eq!(found(&mended), []);
        let [of_read, of_registry] = mended.repairs.as_slice() else { panic!("{:?}", mended.repairs) };
        let counts = |repair: &super::Repair| {
            (repair.repaired.added.len(), repair.repaired.replaced.len(), repair.repaired.removed.len())
        };
        assert_eq!((counts(of_read), counts(of_registry)), ((1, 1, 1), (1, 0, 0)));
        assert_eq!(of_read.repaired.removed[0].id, stranger);
        let again = examine(&source, Clock::System, true).await;
        assert_eq!((found(&again), again.repairs.len()), (Vec::new(), 0));

        // What the table will not take back is said, and stays a finding.
        execute(
            &mut read,
            "DELETE FROM public.auth_events WHERE event_type = 'ProjectCreated';
             ALTER TABLE public.auth_events ADD CONSTRAINT no CHECK (event_type <> 'ProjectCreated')"
                .to_owned(),
        )
        .await;
        let stuck = examine(&source, Clock::System, true).await;
        assert_eq!(found(&stuck), [("read-drift", Severity::Failure)]);
        assert!(stuck.findings[0].found.contains("violates check constraint"), "{}", stuck.findings[0].found);
        execute(&mut read, "ALTER TABLE public.auth_events DROP CONSTRAINT no".to_owned()).await;
        assert_eq!(found(&examine(&source, Clock::System, true).await), []);
    })
    .await;
}

#[tokio::test]
async fn more_than_can_be_listed_is_said_to_be_more() {
    test_database::run_leaving_work(async |t| {
        at_work(t).await;
        execute(
            &mut t.admin().await,
            "INSERT INTO auth_gateway.events
             SELECT ('01930000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, gen_random_uuid(), 'grant', gen_random_uuid(), 1, 'X', 1,
                    '{}', '{}', now(), '', NULL, sha256('') FROM generate_series(1, 33000) AS n"
                .to_owned(),
        )
        .await;
        let report = look(&environment(t)).await;
        assert_eq!(found(&report), [("read-drift", Severity::Failure), ("drift-incomplete", Severity::Warning)]);
    })
    .await;
}

/// The literals that stand in the sources as ids of findings.
fn ids_in_sources() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/doctor");
    let mut ids = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() || path.ends_with("finding.rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        for call in text.split("Finding::").skip(1) {
            ids.extend(
                call.split('"')
                    .nth(1)
                    .filter(|_| call.starts_with("warning(") || call.starts_with("failure("))
                    .map(str::to_owned),
            );
        }
    }
    ids
}

#[test]
fn every_finding_has_a_page_and_was_provoked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let here = fs::read_to_string(root.join("origin/src/doctor/tests.rs")).unwrap();
    for id in IDS {
        let page = fs::read_to_string(root.join(format!("docs/runbooks/{id}.md")))
            .unwrap_or_else(|error| panic!("docs/runbooks/{id}.md: {error}"));
        for section in ["## Symptom", "## Query", "## Fix", "## Check"] {
            assert!(page.contains(section), "docs/runbooks/{id}.md has no section {section}");
        }
        assert!(page.starts_with("# "), "docs/runbooks/{id}.md has no title");
        assert!(
            ELSEWHERE.contains(&id) || here.contains(&format!("\"{id}\"")),
            "{id} is provoked by no test"
        );
    }
    let known: BTreeSet<String> = IDS.iter().map(|id| (*id).to_owned()).collect();
    let used = ids_in_sources();
    let unknown: Vec<_> =
        used.difference(&known).filter(|id| id.contains('-') || *id == "configuration").collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among the ids");
    for page in fs::read_dir(root.join("docs/runbooks")).unwrap() {
        let name = page.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(known.contains(&name) || name == "README", "docs/runbooks/{name}.md is of no finding");
    }
}
