use std::time::Duration;

use super::*;
use crate::{
    http::test_origin::ISSUER,
    oauth::{Denial, deny},
    test_database,
};

/// Session, scopes, audience and state of a stored request.
type Row = (Option<Uuid>, Vec<String>, String, Option<String>);

#[tokio::test]
async fn a_good_request_waits_for_the_person() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let target = authorize_target("app", REDIRECT, "&scope=notes%3Aread");
        let unknown = stage.test.get(&target).await;
        assert_eq!(unknown.status, 303);
        assert!(unknown.header("location").starts_with("/sign-in?request="));
        let known = stage.test.send("GET", &target, &[("cookie", &cookie(0x51))], "").await;
        assert!(known.header("location").starts_with("/consent?request="));
        let (_, query) = target.split_once('?').unwrap();
        let posted = stage.test.post("/oauth/authorize", &[], query).await;
        assert!(posted.header("location").starts_with("/sign-in?request="));
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT session_id, scopes, resource, state FROM auth_gateway.authorization_requests ORDER BY session_id",
        )
        .fetch_all(&mut databases.admin().await)
        .await
        .unwrap();
        let row = |session_id| {
            let scopes = vec!["notes:read".to_owned()];
            (session_id, scopes, format!("{ISSUER}/notes"), Some("s&t=1".to_owned()))
        };
        assert_eq!(rows, [row(Some(SESSION)), row(None), row(None)]);
    })
    .await;
}

#[tokio::test]
async fn attack_12_an_unregistered_redirect_gets_a_page_and_never_a_redirect() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let mut targets: Vec<String> = [
            "https://app.test/cb/",
            "https://app.test/CB",
            "https://app.test/cb?x=1",
            "https://app.test/cb#x",
            "https://app.test:443/cb",
            "https://app.test/cb/../evil",
            "https://app.test@evil.test/cb",
            "https://app.test.evil.test/cb",
            "http://app.test/cb",
            "//evil.test/cb",
            "javascript:alert(1)",
            "https://other.test/cb",
        ]
        .iter()
        .map(|uri| authorize_target("app", uri, ""))
        .collect();
        targets.push(authorize_target("nobody", REDIRECT, ""));
        targets.push(authorize_target("app", REDIRECT, "&redirect_uri=https%3A%2F%2Fevil.test"));
        targets.push(authorize_target("app", REDIRECT, "&client_id=other"));
        // The wrong redirect wins over every other fault.
        targets.push(authorize_target("app", "https://evil.test/", "&response_type=token"));
        for target in targets {
            let answer = stage.test.get(&target).await;
            assert_eq!(answer.status, 400, "{target}");
            assert_eq!(answer.header("location"), "", "{target}");
            assert!(answer.header("content-type").starts_with("text/html"), "{target}");
            assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{target}");
        }
    })
    .await;
}

#[tokio::test]
async fn attack_13_without_s256_there_is_no_code() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let good = authorize_target("app", REDIRECT, "");
        let challenge = good.split('&').find(|part| part.starts_with("code_challenge=")).unwrap();
        let without = |part: &str| good.replace(&format!("&{part}"), "");
        for target in [
            without(challenge),
            without("code_challenge_method=S256"),
            good.replace("=S256", "=plain"),
            good.replace("=S256", "=s256"),
            without(challenge).replace("&code_challenge_method=S256", ""),
            good.replace(challenge, "code_challenge=short"),
            good.clone() + "&code_challenge=x",
        ] {
            let answer = stage.test.get(&target).await;
            assert_eq!(answer.status, 303, "{target}");
            let parameters = parameters_of(answer.header("location"));
            assert!(answer.header("location").starts_with(REDIRECT), "{target}");
            assert_eq!(value_of(&parameters, "error"), "invalid_request", "{target}");
            assert_eq!(value_of(&parameters, "state"), "s&t=1");
            assert_eq!(value_of(&parameters, "iss"), ISSUER);
        }
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM auth_gateway.authorization_requests")
            .fetch_one(&mut databases.admin().await)
            .await
            .unwrap();
        assert_eq!(stored, 0);
    })
    .await;
}

#[tokio::test]
async fn a_request_is_decided_once() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let id = stage.begin("app", REDIRECT, "").await;
        let parameters = stage.allow(id, SESSION).await.unwrap();
        assert_eq!(value_of(&parameters, "state"), "s&t=1");
        assert_eq!(value_of(&parameters, "iss"), ISSUER);
        assert_eq!(stage.allow(id, SESSION).await, None);

        let actor = Actor::System(Component::AuthorizationServer);
        let mut scope = databases.database.scope(actor).await.unwrap();
        assert_eq!(deny(&mut scope, &stage.test.origin, id, Denial::ByThePerson).await.unwrap(), None);
        scope.rollback().await.unwrap();

        let id = stage.begin("app", REDIRECT, "").await;
        let mut scope =
            databases.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
        let location = deny(&mut scope, &stage.test.origin, id, Denial::ByThePerson).await.unwrap().unwrap();
        scope.commit().await.unwrap();
        assert_eq!(value_of(&parameters_of(&location), "error"), "access_denied");
        assert_eq!(stage.allow(id, SESSION).await, None);
        assert_eq!(stage.events().await, ["AuthorizationCodeIssued"]);
    })
    .await;
}

#[tokio::test]
async fn a_request_belongs_to_the_session_it_began_in_until_that_ends() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let target = authorize_target("app", REDIRECT, "");
        let answer = stage.test.send("GET", &target, &[("cookie", &cookie(0x51))], "").await;
        let id: Uuid = answer.header("location").rsplit('=').next().unwrap().parse().unwrap();
        assert_eq!(stage.allow(id, OTHER_SESSION).await, None);
        for end in ["ended_at = now()", "expires_at = '2026-11-21 10:00Z'"] {
            let answer = stage.test.send("GET", &target, &[("cookie", &cookie(0x51))], "").await;
            let id: Uuid = answer.header("location").rsplit('=').next().unwrap().parse().unwrap();
            stage.sql(&format!("UPDATE sessions SET {end} WHERE id = '{SESSION}'")).await;
            assert!(stage.allow(id, OTHER_SESSION).await.is_some(), "{end}");
            stage.sql(&format!("UPDATE sessions SET ended_at = NULL WHERE id = '{SESSION}'")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_ends_with_time_and_with_its_client() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let late = stage.begin("app", REDIRECT, "").await;
        databases.clock.advance(Duration::from_mins(30));
        assert_eq!(stage.allow(late, SESSION).await, None);
        for change in [
            "UPDATE oauth_clients SET redirect_uris = '{https://app.test/new}' WHERE client_id = 'app'",
            "UPDATE oauth_clients SET scopes = '{notes:read}' WHERE client_id = 'other'",
            "UPDATE oauth_clients SET enabled = false WHERE client_id = 'backend'",
            "UPDATE projects SET enabled = false WHERE slug = 'notes'",
        ] {
            let (client_id, uri) = match change {
                change if change.contains("'app'") => ("app", REDIRECT),
                change if change.contains("'backend'") => ("backend", "https://b.test/a"),
                change if change.contains("'other'") => ("other", "https://other.test/cb"),
                _ => ("cli", "http://127.0.0.1:50123/callback"),
            };
            let id = stage.begin(client_id, uri, "").await;
            stage.sql(change).await;
            assert_eq!(stage.allow(id, SESSION).await, None, "{change}");
        }
        assert!(stage.events().await.is_empty());
    })
    .await;
}
