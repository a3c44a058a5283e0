mod filter;
mod reports;

use std::{sync::Arc, time::Duration};

use shared::{
    jwt::SigningKey,
    policy::{ActivePolicy, Credential, STATEMENT_HEADER, Upstream},
    time::UnixMillis,
};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    http::test_origin::{ISSUER, TestOrigin},
    test_database::{self, TestDatabase, execute},
};

/// A workspace with one project, one service and one client.
async fn seed(databases: &TestDatabase) {
    let mut admin = databases.admin().await;
    execute(
        &mut admin,
        "SET search_path = auth_gateway;
         INSERT INTO workspaces (id, slug, name, created_at, updated_at)
         VALUES ('00000000-0000-0000-0000-00000000000a', 'demo', 'Demo', now(), now());
         INSERT INTO projects (id, workspace_id, slug, name, created_at, updated_at)
         VALUES ('00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-00000000000a', 'notes', 'Notes', now(), now());
         INSERT INTO services (id, workspace_id, project_id, slug, upstreams, scopes, public, credentials, created_at, updated_at)
         VALUES ('00000000-0000-0000-0000-00000000000c', '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b',
                 'api', '{http://127.0.0.1:9100/}', '{notes:read}', '[{\"method\": \"GET\", \"path\": \"/health\"}]', '{access_token,api_key}', now(), now());
         INSERT INTO oauth_clients (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, created_at, updated_at)
         VALUES ('00000000-0000-0000-0000-00000000000d', 'app', '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b',
                 'App', '{https://app.test/cb}', '{notes:read}', 'public', now(), now());"
            .to_owned(),
    )
    .await;
    admin.close().await.unwrap();
}

async fn revoke(admin: &mut PgConnection, kind: &str, value: &str, seconds: i64) {
    sqlx::query(
        "INSERT INTO auth_gateway.revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
         VALUES ($1, $2, $3, '2026-11-21 10:00:00.5Z', timestamptz '2026-11-21 10:00Z' + make_interval(secs => $4), 'test', '{}', now())",
    )
    .bind(kind)
    .bind(value)
    .bind(Uuid::nil())
    .bind(f64::from(i32::try_from(seconds).unwrap()))
    .execute(admin)
    .await
    .unwrap();
}

#[tokio::test]
async fn an_edge_gets_what_the_rows_say_signed_and_learns_cheaply_that_nothing_changed() {
    test_database::run(async |databases| {
        seed(databases).await;
        let test = TestOrigin::new(databases);
        let key = SigningKey::from_seed("policy", &[1; 32]).verification_key();

        let first = test.get("/internal/policy").await;
        assert_eq!((first.status.as_u16(), first.header("etag")), (200, "\"1\""));
        let active =
            ActivePolicy::accept(first.header(STATEMENT_HEADER), &first.body, &key, ISSUER, None).unwrap();
        let service = &active.policy.projects["notes"].services["api"];
        assert_eq!(service.upstreams, [Upstream::new("http://127.0.0.1:9100")]);
        assert_eq!(service.credentials, [Credential::AccessToken, Credential::ApiKey]);
        assert!(active.routes("notes", "api").unwrap().rules(service, "GET", "/health").is_public);
        assert_eq!(active.policy.clients["app"].redirect_uris, ["https://app.test/cb"]);
        assert_eq!(active.policy.limits.address.requests, 1_200);

        databases.clock.advance(Duration::from_secs(3));
        let same = test.send("GET", "/internal/policy", &[("if-none-match", "\"1\"")], "").await;
        assert_eq!((same.status.as_u16(), same.header("etag"), same.body.len()), (304, "\"1\"", 0));
        let confirmed = active.confirmed_at(same.header(STATEMENT_HEADER), &key).unwrap();
        assert_eq!(confirmed.since(active.made_at), 3_000);

        let mut admin = databases.admin().await;
        let reported: (String, i64) =
            sqlx::query_as("SELECT edge_id, policy_version FROM auth_gateway.edge_isolates")
                .fetch_one(&mut admin)
                .await
                .unwrap();
        assert_eq!(reported, ("edge-1".to_owned(), 1));
        admin.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_revocation_makes_a_version_and_its_end_another() {
    test_database::run(async |databases| {
        seed(databases).await;
        let test = TestOrigin::new(databases);
        let current = async || test.origin.policy.current(&databases.database).await.unwrap();
        assert_eq!(current().await.version, 1);
        let mut admin = databases.admin().await;
        revoke(&mut admin, "jti", "t1", 60).await;
        revoke(&mut admin, "subject", "u1", 60).await;
        // Young enough not to be asked again, until somebody says that it changed.
        assert_eq!(current().await.version, 1);
        test.origin.policy.mark_changed();
        let revoked = current().await;
        assert_eq!(revoked.version, 2);
        let revocations = &revoked.policy.revocations;
        let second = u64::try_from(databases.clock.now().unix_timestamp()).unwrap();
        assert_eq!(revocations.tokens["t1"], second + 60);
        // Half a second later than the second: what was issued in that second is refused.
        assert_eq!(revocations.subjects["u1"], second + 1);
        databases.clock.advance(Duration::from_secs(59));
        assert_eq!(current().await.version, 2);
        databases.clock.advance(Duration::from_secs(1));
        let over = current().await;
        assert_eq!(over.version, 3);
        assert!(over.policy.revocations.tokens.is_empty());
        admin.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn versions_only_grow_with_several_origins_at_once() {
    test_database::run(async |databases| {
        seed(databases).await;
        let origins: Vec<_> = (0..4).map(|_| Arc::new(TestOrigin::new(databases))).collect();
        let mut admin = databases.admin().await;
        let mut last = 0;
        for round in 0..8 {
            revoke(&mut admin, "grant", &format!("g{round}"), 600).await;
            let compiling: Vec<_> = origins
                .iter()
                .cycle()
                .take(16)
                .map(|test| {
                    let test = Arc::clone(test);
                    test.origin.policy.mark_changed();
                    tokio::spawn(
                        async move { test.origin.policy.current(&test.origin.database).await.unwrap() },
                    )
                })
                .collect();
            let mut newest = 0;
            for compiled in compiling {
                let compiled = compiled.await.unwrap();
                assert!(compiled.version >= last && compiled.version <= last + 1);
                newest = newest.max(compiled.version);
            }
            // One change is one version, whoever saw it first.
            assert_eq!(newest, last + 1);
            last = newest;
        }
        let stored: Vec<i64> =
            sqlx::query_scalar("SELECT version FROM auth_gateway.policy_versions ORDER BY version")
                .fetch_all(&mut admin)
                .await
                .unwrap();
        assert_eq!(stored, (1..=8).collect::<Vec<i64>>());
        admin.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_bad_row_does_not_keep_the_rest_from_the_edges() {
    test_database::run(async |databases| {
        seed(databases).await;
        let mut admin = databases.admin().await;
        execute(
            &mut admin,
            "UPDATE auth_gateway.services SET public = '[{\"method\": 1}]';
             UPDATE auth_gateway.oauth_clients SET scopes = '{\"b\u{e4}d\"}';
             INSERT INTO auth_gateway.signing_keys (kid, alg, purpose, phase, public_jwk, private_key_encrypted, created_at)
             VALUES ('k1', 'EdDSA', 'token', 'active', '{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"x\": \"short\"}', '\\x00', now()),
                    ('k2', 'EdDSA', 'token', 'retiring', '{\"kty\": \"oct\"}', '\\x00', now());"
                .to_owned(),
        )
        .await;
        revoke(&mut admin, "jti", "t1", 60).await;
        let test = TestOrigin::new(databases);
        let compiled = test.origin.policy.current(&databases.database).await.unwrap();
        assert!(compiled.policy.projects["notes"].services.is_empty());
        assert!(compiled.policy.clients.is_empty() && compiled.policy.keys.is_empty());
        assert!(compiled.policy.revocations.tokens.contains_key("t1"));
        admin.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn without_a_database_an_edge_is_told_to_come_back() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        databases.database.close().await;
        let answer = test.get("/internal/policy").await;
        assert_eq!(answer.problem(), (503, "origin-unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
    })
    .await;
}

#[tokio::test]
async fn the_keys_of_the_edges_are_published_for_upstreams_alone() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        let compiled = test.origin.policy.current(&databases.database).await.unwrap();
        let [key] = &compiled.policy.edge_keys[..] else { panic!("one edge") };
        assert_eq!((key.kid.as_str(), &key.jwk), (test.edge.kid(), &test.edge.public_jwk()));
        assert_eq!(key.signs, [shared::jwt::TokenType::UpstreamAssertion]);
        let now = UnixMillis(databases.clock.unix_millis());
        assert!(compiled.key(&key.kid, now).is_none(), "an edge's key verifies no credential");
    })
    .await;
}
