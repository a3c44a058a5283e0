//! Introspection: what is active, told to whom, and nothing more to anybody else.

use serde_json::{Value, json};
use shared::scope::Scopes;

use super::*;
use crate::{
    service_tokens::{TokenRequest, issue},
    test_database,
};

/// `backend` is of the project `notes` now, like `app`; `foreign` has a project of its own.
async fn stage(databases: &TestDatabase) -> Stage<'_> {
    let stage = Stage::set(databases).await;
    let secret = stage.secret.expose();
    let now = "timestamptz '2026-11-21 10:00Z'";
    stage
        .sql(&format!(
            "UPDATE oauth_clients SET project_id = '{notes}' WHERE client_id = 'backend';
             INSERT INTO oauth_clients (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, secret_hash,
                                        created_at, updated_at)
             VALUES ('{id}', 'foreign', '{WORKSPACE}', '{captions}', 'foreign', '{{https://f.test/cb}}', '{{notes:read}}',
                     'confidential', sha256('{secret}'), {now}, {now});",
            notes = Uuid::from_u128(0xB0),
            captions = Uuid::from_u128(0xB1),
            id = Uuid::from_u128(0xC20),
        ))
        .await;
    stage
}

async fn ask(stage: &Stage<'_>, client_id: &str, token: &str) -> Answer {
    let form = [("token", token), ("client_id", client_id), ("client_secret", stage.secret.expose())];
    stage.test.post("/oauth/introspect", &[], &encode(&form)).await
}

/// The answer, which must be one.
async fn told(stage: &Stage<'_>, client_id: &str, token: &str) -> Value {
    let answer = ask(stage, client_id, token).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

fn nothing() -> Value {
    json!({"active": false})
}

#[tokio::test]
async fn an_access_token_is_told_of_to_its_projects_clients_and_nobody_else() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let tokens = stage.tokens().await;
        let access = text(&tokens, "access_token");
        let claims = stage.verify(&access).await;
        let told_of = told(&stage, "backend", &access).await;
        assert_eq!(
            told_of,
            json!({
                "active": true, "iss": "https://auth.test", "sub": PERSON.to_string(), "aud": "https://auth.test/notes",
                "client_id": "app", "scope": "notes:read notes:write", "token_type": "Bearer", "exp": claims.exp,
                "iat": claims.iat, "jti": claims.jti, "sid": claims.sid, "workspace_id": WORKSPACE.to_string(),
                "auth_time": claims.auth_time, "acr": "urn:gateward:acr:1", "amr": ["otp"],
            })
        );
        assert_eq!(told(&stage, "foreign", &access).await, nothing());
        // A refresh token is the business of its client alone.
        assert_eq!(told(&stage, "backend", &text(&tokens, "refresh_token")).await, nothing());
        let last = access.len() - 1;
        for token in ["", "x", "gw_rt_x", "a.b.c", access.get(..last).unwrap()] {
            if token.is_empty() {
                assert_error(&ask(&stage, "backend", token).await, 400, "invalid_request");
            } else {
                assert_eq!(told(&stage, "backend", token).await, nothing(), "{token}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn attack_16_what_has_ended_is_not_active_at_once() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let access = text(&stage.tokens().await, "access_token");
        for (gone, back) in [
            ("UPDATE user_accounts SET status = 'suspended'", "UPDATE user_accounts SET status = 'active'"),
            (
                "UPDATE oauth_clients SET enabled = false WHERE client_id = 'app'",
                "UPDATE oauth_clients SET enabled = true WHERE client_id = 'app'",
            ),
            ("UPDATE oauth_grants SET revoked_at = now()", "UPDATE oauth_grants SET revoked_at = NULL"),
            ("UPDATE oauth_tokens SET revoked_at = now()", "UPDATE oauth_tokens SET revoked_at = NULL"),
        ] {
            stage.sql(gone).await;
            assert_eq!(told(&stage, "backend", &access).await, nothing(), "{gone}");
            stage.sql(back).await;
            assert_eq!(told(&stage, "backend", &access).await["active"], true, "{back}");
        }
        t.clock.advance(std::time::Duration::from_mins(5));
        assert_eq!(told(&stage, "backend", &access).await, nothing());
    })
    .await;
}

#[tokio::test]
async fn a_client_learns_of_its_own_refresh_token_while_it_is_the_one_in_use() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let secret = stage.secret.expose();
        let code = stage.code_for("backend", "https://b.test/a", "").await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("client_id", "backend"),
            ("client_secret", secret),
            ("code_verifier", VERIFIER),
        ];
        let tokens = stage.token(&form).await.json();
        let refresh = text(&tokens, "refresh_token");
        let answer = told(&stage, "backend", &refresh).await;
        assert_eq!(
            (answer["active"].as_bool(), answer["sub"].as_str()),
            (Some(true), Some(PERSON.to_string().as_str()))
        );
        assert_eq!(answer.get("token_type"), None);
        assert_eq!(told(&stage, "foreign", &refresh).await, nothing());
        let next = stage.refresh_as("backend", &refresh, &[("client_secret", secret)]).await.json();
        assert_eq!(told(&stage, "backend", &refresh).await, nothing());
        assert_eq!(told(&stage, "backend", &text(&next, "refresh_token")).await["active"], true);
        assert_eq!(
            stage.events().await.last().map(String::as_str),
            Some("RefreshTokenRotated"),
            "asking changed something"
        );
    })
    .await;
}

#[tokio::test]
async fn a_service_asks_with_its_token_and_of_its_project_only() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let configuration = &stage.test.origin.configuration;
        let sealer = crate::signing_keys::Sealer::new(&configuration.key_encryption_key);
        let service = async |project: &str| {
            let request = TokenRequest {
                project: project.to_owned(),
                service: "worker".to_owned(),
                scopes: Scopes::default(),
                lifetime: std::time::Duration::from_hours(1),
                issued_by: "operator".to_owned(),
            };
            let issued = issue(&t.database, &sealer, &configuration.issuer, &request).await.unwrap();
            issued.token.expose().to_owned()
        };
        let (own, foreign) = (service("notes").await, service("captions").await);
        let access = text(&stage.tokens().await, "access_token");
        let ask = async |bearer: &str, token: &str| {
            let authorization = format!("Bearer {bearer}");
            let form = encode(&[("token", token)]);
            stage.test.post("/oauth/introspect", &[("authorization", &authorization)], &form).await
        };
        assert_eq!(ask(&own, &access).await.json()["active"], true);
        assert_eq!(ask(&foreign, &access).await.json(), nothing());
        let of_itself = ask(&own, &own).await.json();
        assert_eq!(
            (of_itself["active"].as_bool(), of_itself["sub"].as_str()),
            (Some(true), Some("service:worker"))
        );
        assert_eq!(ask(&own, &foreign).await.json(), nothing());
        // An access token is no caller, and neither is who is nobody.
        assert_eq!(ask(&access, &access).await.status, 401);
        assert_eq!(ask("x", &access).await.status, 401);
        let public = encode(&[("token", access.as_str()), ("client_id", "app")]);
        assert_error(&stage.test.post("/oauth/introspect", &[], &public).await, 401, "invalid_client");
        let nobody = encode(&[("token", access.as_str())]);
        assert_error(&stage.test.post("/oauth/introspect", &[], &nobody).await, 401, "invalid_client");
    })
    .await;
}

#[tokio::test]
async fn attack_10_the_signed_answer_is_for_who_asked_and_opens_nothing() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let access = text(&stage.tokens().await, "access_token");
        let form =
            encode(&[("token", &access), ("client_id", "backend"), ("client_secret", stage.secret.expose())]);
        let accept = [("accept", "application/json;q=0.5, application/token-introspection+jwt")];
        let answer = stage.test.post("/oauth/introspect", &accept, &form).await;
        assert_eq!(answer.header("content-type"), "application/token-introspection+jwt");
        let jwt = String::from_utf8(answer.body).unwrap();
        let compiled = stage.test.origin.policy.current(&stage.test.origin.database).await.unwrap();
        let unverified = shared::jwt::Unverified::parse(&jwt).unwrap();
        let now = UnixMillis(t.clock.unix_millis());
        let (_, key) = compiled.key(unverified.key_id().unwrap(), now).unwrap();
        let claims: Value = shared::jwt::verify_own(&jwt, "token-introspection+jwt", key).unwrap();
        assert_eq!(
            (claims["iss"].as_str(), claims["aud"].as_str()),
            (Some("https://auth.test"), Some("backend"))
        );
        assert_eq!(claims["token_introspection"], told(&stage, "backend", &access).await);
        assert!(claims.get("sub").is_none() && claims.get("exp").is_none());
        assert_eq!(told(&stage, "backend", &jwt).await, nothing());
    })
    .await;
}
