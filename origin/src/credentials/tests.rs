//! Make, import, look up, list and revoke, against a real Postgres.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::{
    address_range::AddressRange,
    api_key::{ApiKey, Environment},
    base64url,
    credential::{CredentialKind, CredentialStatement, Resolved},
    jwt::SigningKey,
    scope::Scopes,
};
use sqlx::Row as _;
use uuid::Uuid;

use super::{CredentialError, ImportRequest, KeyRequest, Revoked, create, import, list, revoke};
use crate::{
    http::test_origin::{ISSUER, TestOrigin},
    projects,
    test_database::{self, TestDatabase},
};

const RESOLVE: &str = "/internal/credentials/resolve";

async fn project(t: &TestDatabase) {
    let text = "[workspace]\nslug = \"demo\"\nname = \"Demo\"\n[[project]]\nslug = \"notes\"\n[[project.service]]\nslug = \"api\"\n\
                upstreams = [\"http://127.0.0.1:9100\"]\n";
    projects::apply(&t.database, &projects::Declaration::parse(text).unwrap()).await.unwrap();
}

fn request() -> KeyRequest {
    KeyRequest {
        project: "notes".to_owned(),
        name: "ci".to_owned(),
        subject: None,
        scopes: Scopes::parse("notes:read").unwrap(),
        lifetime: Some(Duration::from_hours(24)),
        addresses: vec![
            AddressRange::parse("192.0.2.0/24").unwrap(),
            AddressRange::parse("2001:db8::/32").unwrap(),
        ],
        created_by: "ann".to_owned(),
    }
}

/// What the origin says of a hash, as an edge hears it.
async fn ask(test: &TestOrigin, sha256: &str) -> CredentialStatement {
    let answer = test.send("POST", RESOLVE, &[], &json!({ "sha256": sha256 }).to_string()).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    let key = SigningKey::from_seed("policy", &[1; 32]).verification_key();
    let statement = CredentialStatement::verify(body["statement"].as_str().unwrap(), &key, ISSUER).unwrap();
    assert!(statement.is_about(sha256));
    statement
}

async fn resolve(test: &TestOrigin, sha256: &str) -> Option<Resolved> {
    ask(test, sha256).await.credential
}

async fn epoch(t: &TestDatabase) -> i64 {
    sqlx::query_scalar("SELECT credential_epoch FROM auth_gateway.projects WHERE slug = 'notes'")
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_is_found_by_its_hash_until_it_is_revoked() {
    test_database::run(async |t| {
        project(t).await;
        let test = TestOrigin::new(t);
        assert_eq!(epoch(t).await, 0);
        let created = create(&t.database, Environment::Live, &request()).await.unwrap();
        let key = ApiKey::parse(created.key.expose()).expect("a well-formed key");
        assert_eq!((key.id(), key.environment()), (*created.id.as_bytes(), Environment::Live));
        assert_eq!(epoch(t).await, 1);

        let statement = ask(&test, &key.sha256_base64url()).await;
        assert_eq!(statement.made_at.0, t.clock.unix_millis());
        let resolved = statement.credential.unwrap();
        let workspace: Uuid = sqlx::query_scalar("SELECT workspace_id FROM auth_gateway.projects")
            .fetch_one(&mut t.admin().await)
            .await
            .unwrap();
        assert_eq!(
            resolved,
            Resolved {
                id: created.id.to_string(),
                kind: CredentialKind::ApiKey,
                workspace_id: workspace.to_string(),
                project: "notes".to_owned(),
                subject: format!("api_key:{}", created.id),
                issued_at: t.clock.unix_seconds(),
                client_id: None,
                scopes: Scopes::parse("notes:read").unwrap(),
                expires_at: Some(t.clock.unix_seconds() + 86_400),
                addresses: request().addresses,
                epoch: 1,
            }
        );

        assert_eq!(revoke(&t.database, created.id, "bob", "leaked").await.unwrap(), Revoked::Now);
        assert_eq!(epoch(t).await, 2);
        assert_eq!(resolve(&test, &key.sha256_base64url()).await, None);
        assert_eq!(revoke(&t.database, created.id, "eve", "again").await.unwrap(), Revoked::Before);
        assert_eq!(epoch(t).await, 2);

        // What edges may still remember is refused by its id.
        let compiled = test.origin.policy.current(&t.database).await.unwrap();
        assert!(compiled.policy.revocations.tokens.contains_key(&created.id.to_string()));
        let events: Vec<String> = sqlx::query_scalar(
            "SELECT event_type FROM auth_gateway.events WHERE aggregate_type = 'credential' ORDER BY version",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(events, ["ApiKeyCreated", "CredentialRevoked"]);
    })
    .await;
}

#[tokio::test]
async fn a_token_of_somebody_else_is_known_by_its_hash() {
    test_database::run(async |t| {
        project(t).await;
        let test = TestOrigin::new(t);
        let sha256: [u8; 32] = Sha256::digest("a token of somebody else").into();
        let key = KeyRequest {
            subject: Some("user-17".to_owned()),
            lifetime: None,
            addresses: Vec::new(),
            ..request()
        };
        let imported = ImportRequest { sha256, client_id: Some("legacy".to_owned()), key };
        let id = import(&t.database, &imported).await.unwrap();
        let resolved = resolve(&test, &base64url::encode(&sha256)).await.unwrap();
        assert_eq!((resolved.kind, resolved.subject.as_str()), (CredentialKind::OpaqueToken, "user-17"));
        assert_eq!((resolved.client_id.as_deref(), resolved.expires_at), (Some("legacy"), None));
        assert!(resolved.addresses.is_empty());
        // The same token twice would have two owners.
        assert!(matches!(import(&t.database, &imported).await, Err(CredentialError::Known)));
        assert_eq!(epoch(t).await, 1);
        revoke(&t.database, id, "ann", "moved").await.unwrap();
        assert_eq!(resolve(&test, &base64url::encode(&sha256)).await, None);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_in_force_is_answered_like_what_never_was() {
    test_database::run(async |t| {
        project(t).await;
        let test = TestOrigin::new(t);
        let nothing = base64url::encode(&[9; 32]);
        assert_eq!(resolve(&test, &nothing).await, None);

        let lifetime = Some(Duration::from_mins(1));
        let created =
            create(&t.database, Environment::Test, &KeyRequest { lifetime, ..request() }).await.unwrap();
        let sha256 = ApiKey::parse(created.key.expose()).unwrap().sha256_base64url();
        assert!(resolve(&test, &sha256).await.is_some());
        let set = async |statement: &'static str| {
            assert_eq!(sqlx::query(statement).execute(&mut t.admin().await).await.unwrap().rows_affected(), 1);
        };
        set("UPDATE auth_gateway.projects SET enabled = false").await;
        assert_eq!(resolve(&test, &sha256).await, None);
        set("UPDATE auth_gateway.projects SET enabled = true").await;

        // A person's key ends with the person's account.
        set("INSERT INTO auth_gateway.user_accounts (id, email, email_salt, created_at, updated_at)
             VALUES ('00000000-0000-0000-0000-0000000000aa', 'ann@example.test', decode(repeat('00', 16), 'hex'), now(), now())")
            .await;
        set("UPDATE security_service.api_keys SET user_id = '00000000-0000-0000-0000-0000000000aa'").await;
        let resolved = resolve(&test, &sha256).await.unwrap();
        assert_eq!(resolved.subject, "00000000-0000-0000-0000-0000000000aa");
        set("UPDATE auth_gateway.user_accounts SET status = 'suspended'").await;
        assert_eq!(resolve(&test, &sha256).await, None);
        set("UPDATE auth_gateway.user_accounts SET status = 'active'").await;

        t.clock.advance(Duration::from_secs(59));
        assert!(resolve(&test, &sha256).await.is_some());
        t.clock.advance(Duration::from_secs(1));
        assert_eq!(resolve(&test, &sha256).await, None);
    })
    .await;
}

#[tokio::test]
async fn nobody_but_an_edge_asks_and_only_by_a_hash() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let body = json!({ "sha256": base64url::encode(&[9; 32]) }).to_string();
        let answer = test.send_bare("POST", RESOLVE, &[], &body).await;
        assert_eq!(answer.problem(), (403, "assertion-refused".to_owned()));
        for faulty in [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            json!({ "sha256": "short" }).to_string(),
            json!({ "sha256": 7 }).to_string(),
            // The credential itself has no business here.
            json!({ "sha256": base64url::encode(&[9; 32]), "credential": "gw_live_…" }).to_string(),
        ] {
            let answer = test.send("POST", RESOLVE, &[], &faulty).await;
            assert_eq!(answer.problem(), (400, "request-malformed".to_owned()), "{faulty}");
        }
        assert_eq!(test.get(RESOLVE).await.status, 405);
    })
    .await;
}

#[tokio::test]
async fn the_key_is_stored_nowhere() {
    test_database::run(async |t| {
        project(t).await;
        let created = create(&t.database, Environment::Live, &request()).await.unwrap();
        let text = created.key.expose();
        // The part after the display prefix is the secret and its checksum.
        let (_, secret) = text.rsplit_once('_').unwrap();
        let mut admin = t.admin().await;
        let tables: Vec<(String, String)> = sqlx::query_as(
            "SELECT table_schema::text, table_name::text FROM information_schema.tables
             WHERE table_schema IN ('auth_gateway', 'security_service') AND table_type = 'BASE TABLE'",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert!(tables.len() > 20);
        for (schema, table) in tables {
            let query = format!("SELECT coalesce(string_agg(t::text, ''), '') FROM {schema}.{table} AS t");
            let all: String =
                sqlx::query(sqlx::AssertSqlSafe(query)).fetch_one(&mut admin).await.unwrap().get(0);
            assert!(!all.contains(secret), "{schema}.{table} has the key");
        }
        let listed = list(&t.database, Some("notes")).await.unwrap();
        assert_eq!(listed.len(), 1);
        let shown: Value = serde_json::to_value(&listed).unwrap();
        assert_eq!(shown[0]["prefix"], text.strip_suffix(secret).unwrap());
        assert_eq!(shown[0]["addresses"], json!(["192.0.2.0/24", "2001:db8::/32"]));
        assert!(!shown.to_string().contains(secret));
        assert!(list(&t.database, Some("other")).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    test_database::run(async |t| {
        project(t).await;
        let faulty = |change: fn(&mut KeyRequest)| {
            let mut request = request();
            change(&mut request);
            request
        };
        for request in [
            faulty(|request| request.name.clear()),
            faulty(|request| request.name = "a\nb".to_owned()),
            faulty(|request| request.subject = Some("a b".to_owned())),
            faulty(|request| request.subject = Some(String::new())),
            faulty(|request| request.lifetime = Some(Duration::ZERO)),
            faulty(|request| request.lifetime = Some(Duration::from_hours(24 * 4_000))),
            faulty(|request| request.addresses = vec![AddressRange::parse("::1").unwrap(); 65]),
        ] {
            let error = create(&t.database, Environment::Live, &request).await.err().unwrap();
            assert!(matches!(error, CredentialError::Faulty { .. }), "{error}");
        }
        let other = faulty(|request| request.project = "nothing".to_owned());
        let error = create(&t.database, Environment::Live, &other).await.err().unwrap();
        assert!(matches!(error, CredentialError::NoProject { .. }), "{error}");
        let error = revoke(&t.database, Uuid::from_u128(1), "ann", "x").await.unwrap_err();
        assert!(matches!(error, CredentialError::NoCredential { .. }), "{error}");
        assert!(list(&t.database, None).await.unwrap().is_empty());
        assert_eq!(epoch(t).await, 0);
    })
    .await;
}

#[tokio::test]
async fn two_first_keys_at_once_share_one_project() {
    test_database::run(async |t| {
        project(t).await;
        let (one, other) = (request(), request());
        let (one, other) = tokio::join!(
            create(&t.database, Environment::Live, &one),
            create(&t.database, Environment::Live, &other)
        );
        assert_ne!(one.unwrap().id, other.unwrap().id);
        let projects: i64 = sqlx::query_scalar("SELECT count(*) FROM security_service.projects")
            .fetch_one(&mut t.admin().await)
            .await
            .unwrap();
        assert_eq!(projects, 1);
        assert_eq!(epoch(t).await, 2);
    })
    .await;
}

#[tokio::test]
async fn the_look_up_uses_the_index_of_hashes() {
    test_database::run(async |t| {
        project(t).await;
        create(&t.database, Environment::Live, &request()).await.unwrap();
        let mut admin = t.admin().await;
        sqlx::query("SET enable_seqscan = off").execute(&mut admin).await.unwrap();
        sqlx::query("SET search_path = auth_gateway, security_service").execute(&mut admin).await.unwrap();
        let explain = format!("EXPLAIN {}", super::resolve::LOOK_UP);
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
            .bind(&[0_u8; 32][..])
            .bind(t.clock.now())
            .fetch_all(&mut admin)
            .await
            .unwrap();
        assert!(plan.iter().any(|line| line.contains("api_keys_key_hash_key")), "{plan:?}");
    })
    .await;
}
