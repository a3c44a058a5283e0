//! Clients that act for themselves, by each way to authenticate: what they get, and each thing that is wrong by itself.

use serde_json::{Value, json};
use shared::{client::ASSERTION_TYPE, jwt::SigningKey};

use super::*;
use crate::test_database;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// The key of the client `worker`.
fn key() -> SigningKey {
    SigningKey::from_seed("w1", &[42; 32])
}

/// Adds `worker`, by assertion, and `batch`, by a secret in the header alone; neither has a redirect URI.
async fn stage(databases: &TestDatabase) -> Stage<'_> {
    let stage = Stage::set(databases).await;
    let mut jwk = serde_json::to_value(key().public_jwk()).unwrap();
    jwk["kid"] = "w1".into();
    jwk["alg"] = "EdDSA".into();
    let jwks = json!({ "keys": [jwk] });
    let now = "timestamptz '2026-11-21 10:00Z'";
    let columns = "(id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, secret_hash, \
                    token_endpoint_auth_method, jwks, grant_types, created_at, updated_at)";
    let project = Uuid::from_u128(0xB0);
    let secret = stage.secret.expose();
    stage
        .sql(&format!(
            "INSERT INTO oauth_clients {columns} VALUES
             ('{}', 'worker', '{WORKSPACE}', '{project}', 'worker', '{{}}', '{{notes:read,notes:write}}', 'confidential', NULL,
              'private_key_jwt', '{jwks}', '{{client_credentials}}', {now}, {now}),
             ('{}', 'batch', '{WORKSPACE}', '{project}', 'batch', '{{}}', '{{notes:read}}', 'confidential', sha256('{secret}'),
              'client_secret_basic', NULL, '{{client_credentials}}', {now}, {now});
             UPDATE oauth_clients SET grant_types = '{{authorization_code,refresh_token,client_credentials}}'
             WHERE client_id = 'backend';",
            Uuid::from_u128(0xC10),
            Uuid::from_u128(0xC11),
        ))
        .await;
    stage
}

fn assertion_of(stage: &Stage<'_>, jti: &str, change: impl FnOnce(&mut Value)) -> String {
    let now = stage.databases.clock.unix_millis() / 1_000;
    let mut claims = json!({"iss": "worker", "sub": "worker", "aud": "https://auth.test", "exp": now + 60, "iat": now,
                            "jti": jti});
    change(&mut claims);
    key().sign("client-authentication+jwt", &claims).unwrap()
}

/// `worker` asks, with parameters added.
async fn as_worker(stage: &Stage<'_>, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![GRANT, ("client_assertion", assertion), ("client_assertion_type", ASSERTION_TYPE)];
    form.extend_from_slice(more);
    stage.token(&form).await
}

/// A client asks by `client_secret_basic`.
async fn by_header(stage: &Stage<'_>, client_id: &str, secret: &str, form: &[(&str, &str)]) -> Answer {
    use base64ct::Encoding as _;
    let basic = base64ct::Base64::encode_string(format!("{client_id}:{secret}").as_bytes());
    stage.test.post("/oauth/token", &[("authorization", &format!("Basic {basic}"))], &encode(form)).await
}

#[tokio::test]
async fn each_method_gets_a_token_for_the_client_itself_and_leaves_an_event() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let secret = stage.secret.expose();
        let answers = [
            ("worker", "notes", as_worker(&stage, &assertion_of(&stage, "j1", |_| {}), &[]).await),
            ("batch", "notes", by_header(&stage, "batch", secret, &[GRANT]).await),
            (
                "backend",
                "captions",
                stage.token(&[GRANT, ("client_id", "backend"), ("client_secret", secret)]).await,
            ),
        ];
        for (client_id, project, answer) in answers {
            assert_eq!(answer.status, 200, "{client_id}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(answer.header("cache-control"), "no-store");
            let json = answer.json();
            assert!(json.get("refresh_token").is_none(), "{json}");
            let claims = stage.verify(&text(&json, "access_token")).await;
            // RFC 9068 section 5: no person's id is like it.
            assert_eq!(claims.sub.as_deref(), Some(format!("client:{client_id}").as_str()));
            assert_eq!(claims.client_id.as_deref(), Some(client_id));
            assert_eq!(claims.workspace_id, Some(WORKSPACE.to_string()));
            assert!(claims.aud.unwrap().includes(&format!("https://auth.test/{project}")));
            assert_eq!((claims.auth_time, claims.acr, claims.amr.len()), (None, None, 0));
        }
        assert_eq!(stage.events().await, ["ClientTokenIssued"; 3]);
        let methods: Vec<String> = sqlx::query_scalar(
            "SELECT payload ->> 'token_endpoint_auth_method' FROM auth_gateway.events
             WHERE event_type = 'ClientTokenIssued' ORDER BY 1",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(methods, ["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    })
    .await;
}

#[tokio::test]
async fn scope_and_resource_only_narrow() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let ask = async |more: &[(&str, &str)]| {
            by_header(&stage, "batch", stage.secret.expose(), &[&[GRANT], more].concat()).await
        };
        let answer = ask(&[("scope", "notes:read"), ("resource", "https://auth.test/notes/api")]).await;
        let claims = stage.verify(&text(&answer.json(), "access_token")).await;
        assert!(claims.aud.as_ref().unwrap().includes("https://auth.test/notes/api"), "{:?}", claims.aud);
        assert!(!claims.aud.unwrap().includes("https://auth.test/notes"));
        for scope in ["notes:write", "notes:read notes:write", "openid", "a\"b"] {
            assert_error(&ask(&[("scope", scope)]).await, 400, "invalid_scope");
        }
        for resource in
            ["https://auth.test/captions", "https://auth.test", "https://auth.test/notes/other", "notes"]
        {
            assert_error(&ask(&[("resource", resource)]).await, 400, "invalid_target");
        }
        assert_eq!(stage.events().await.len(), 1, "a refusal left something behind");
    })
    .await;
}

#[tokio::test]
async fn attack_10_who_is_not_the_client_gets_nothing() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let secret = stage.secret.expose();
        let wrong = format!("{secret}x");
        for (client_id, secret) in [
            ("batch", wrong.as_str()),
            ("batch", ""),
            ("nobody", secret),
            ("worker", secret),
            ("app", secret),
        ] {
            assert_error(&by_header(&stage, client_id, secret, &[GRANT]).await, 401, "invalid_client");
        }
        // Registered for the header alone.
        let by_post = [GRANT, ("client_id", "batch"), ("client_secret", secret)];
        assert_error(&stage.token(&by_post).await, 401, "invalid_client");
        // Nothing at all, of a confidential and of a public client.
        assert_error(&stage.token(&[GRANT, ("client_id", "worker")]).await, 401, "invalid_client");
        assert_error(&stage.token(&[GRANT, ("client_id", "app")]).await, 400, "unauthorized_client");
        // Registered for other grants.
        let code = [("grant_type", "authorization_code"), ("code", "x"), ("code_verifier", VERIFIER)];
        assert_error(&by_header(&stage, "batch", secret, &code).await, 400, "unauthorized_client");
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        assert_error(&by_header(&stage, "batch", secret, &refresh).await, 400, "unauthorized_client");
        // Two ways at once.
        let assertion = assertion_of(&stage, "j1", |_| {});
        let both = [GRANT, ("client_assertion", &assertion), ("client_assertion_type", ASSERTION_TYPE)];
        assert_error(&by_header(&stage, "worker", secret, &both).await, 400, "invalid_request");
        assert!(stage.events().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn attack_10_a_wrong_assertion_is_refused_over_http() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let now = t.clock.unix_millis() / 1_000;
        for (name, value) in [
            ("iss", json!("batch")),
            ("sub", json!("batch")),
            ("aud", json!("https://auth.test/oauth/token")),
            ("aud", json!(["https://auth.test"])),
            ("exp", json!(now)),
            ("exp", json!(now + 7_200)),
            ("nbf", json!(now + 60)),
            ("jti", Value::Null),
        ] {
            let assertion = assertion_of(&stage, "j1", |claims| claims[name] = value.clone());
            assert_error(&as_worker(&stage, &assertion, &[]).await, 401, "invalid_client");
        }
        let good = assertion_of(&stage, "j1", |_| {});
        assert_error(&as_worker(&stage, &good, &[("client_id", "batch")]).await, 400, "invalid_request");
        let other_kind = [
            GRANT,
            ("client_assertion", &good),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ];
        assert_error(&stage.token(&other_kind).await, 401, "invalid_client");
        // None of these spent it.
        assert_eq!(as_worker(&stage, &good, &[("client_id", "worker")]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn attack_24_an_assertion_counts_once_whatever_becomes_of_the_request() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let spent = assertion_of(&stage, "j1", |_| {});
        assert_error(&as_worker(&stage, &spent, &[("scope", "other")]).await, 400, "invalid_scope");
        assert_error(&as_worker(&stage, &spent, &[]).await, 401, "invalid_client");
        // Not at another endpoint either.
        let form =
            [("token", "x"), ("client_assertion", spent.as_str()), ("client_assertion_type", ASSERTION_TYPE)];
        let answer = stage.test.post("/oauth/revoke", &[], &encode(&form)).await;
        assert_error(&answer, 401, "invalid_client");

        // Of many at once, one.
        let assertion = assertion_of(&stage, "j2", |_| {});
        let mut tries = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (test, assertion) = (stage.test.clone(), assertion.clone());
            tries.spawn(async move {
                let form =
                    [GRANT, ("client_assertion", &assertion), ("client_assertion_type", ASSERTION_TYPE)];
                test.post("/oauth/token", &[], &encode(&form)).await.status.as_u16()
            });
        }
        let mut answers = tries.join_all().await;
        answers.sort_unstable();
        assert_eq!((answers[0], answers[1], answers[15]), (200, 401, 401));

        // It is forgotten when it would be refused as expired anyway.
        let later = assertion_of(&stage, "j3", |_| {});
        t.clock.advance(std::time::Duration::from_secs(61));
        assert_error(&as_worker(&stage, &later, &[]).await, 401, "invalid_client");
        let swept = crate::retention::sweep(&t.database, stage.test.origin.configuration.retention).await;
        assert_eq!(swept.deleted["client_assertions"], 2);
        assert_error(&as_worker(&stage, &assertion, &[]).await, 401, "invalid_client");
    })
    .await;
}

#[tokio::test]
async fn attack_16_a_disabled_client_or_project_or_an_exchanged_key_gets_nothing() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let next = |jti: &str| assertion_of(&stage, jti, |_| {});
        for (number, table, column) in
            [(1, "oauth_clients", "client_id = 'worker'"), (2, "projects", "slug = 'notes'")]
        {
            stage.sql(&format!("UPDATE {table} SET enabled = false WHERE {column}")).await;
            assert_error(&as_worker(&stage, &next(&format!("d{number}")), &[]).await, 401, "invalid_client");
            stage.sql(&format!("UPDATE {table} SET enabled = true WHERE {column}")).await;
            assert_eq!(as_worker(&stage, &next(&format!("e{number}")), &[]).await.status, 200);
        }
        let other = serde_json::to_value(SigningKey::from_seed("w1", &[43; 32]).public_jwk()).unwrap();
        stage
            .sql(&format!(
                "UPDATE oauth_clients SET jwks = jsonb_set(jwks, '{{keys,0,x}}', '{}')",
                other["x"]
            ))
            .await;
        assert_error(&as_worker(&stage, &next("k1"), &[]).await, 401, "invalid_client");
    })
    .await;
}

#[tokio::test]
async fn a_client_revokes_its_own_token_and_no_one_elses() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let token =
            text(&as_worker(&stage, &assertion_of(&stage, "j1", |_| {}), &[]).await.json(), "access_token");
        let secret = stage.secret.expose();
        let revoke = async |assertion: Option<String>| {
            let mut form = vec![("token", token.as_str())];
            if let Some(assertion) = &assertion {
                form.extend([
                    ("client_assertion", assertion.as_str()),
                    ("client_assertion_type", ASSERTION_TYPE),
                ]);
            } else {
                form.extend([("client_id", "backend"), ("client_secret", secret)]);
            }
            stage.test.post("/oauth/revoke", &[], &encode(&form)).await
        };
        assert_error(&revoke(None).await, 400, "invalid_grant");
        assert_eq!(revoke(Some(assertion_of(&stage, "j2", |_| {}))).await.status, 200);
        let jti = stage.verify(&token).await.jti;
        assert_eq!(stage.revoked().await.0, [jti]);
        assert_eq!(stage.events().await, ["ClientTokenIssued", "AccessTokenRevoked"]);
    })
    .await;
}

#[tokio::test]
async fn a_client_of_codes_without_refresh_gets_no_refresh_token() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        stage
            .sql("UPDATE oauth_clients SET grant_types = '{authorization_code}' WHERE client_id = 'app'")
            .await;
        let json = stage.tokens().await;
        assert!(json.get("refresh_token").is_none(), "{json}");
        assert_eq!(
            stage.verify(&text(&json, "access_token")).await.acr.as_deref(),
            Some("urn:gateward:acr:1")
        );
    })
    .await;
}
