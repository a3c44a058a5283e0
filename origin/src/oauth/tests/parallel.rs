//! Sixty-four at once: one gets it, and the events say exactly what happened.

use tokio::task::JoinSet;

use super::*;
use crate::test_database;

const AT_ONCE: usize = 64;

/// Sends the same form 64 times at once, to two origins. Yields how many got tokens, and those tokens.
async fn at_once(stage: &Stage<'_>, form: &str) -> (usize, Option<Value>) {
    let origins = [Arc::clone(&stage.test), Arc::new(TestOrigin::new(stage.databases))];
    let mut requests = JoinSet::new();
    for origin in origins.iter().cycle().take(AT_ONCE) {
        let (origin, form) = (Arc::clone(origin), form.to_owned());
        requests.spawn(async move { origin.post("/oauth/token", &[], &form).await });
    }
    let (mut successes, mut tokens) = (0, None);
    for answer in requests.join_all().await {
        if answer.status == 200 {
            successes += 1;
            tokens = Some(answer.json());
        } else {
            assert_error(&answer, 400, "invalid_grant");
        }
    }
    (successes, tokens)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attack_24_of_64_redemptions_of_a_code_one_succeeds() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let code = stage.code().await;
        let (successes, tokens) = at_once(&stage, &encode(&redemption(&code))).await;
        assert_eq!(successes, 1);
        // Sixty-three replays: what the one got is revoked (RFC 6749 §4.1.2), once.
        let events =
            ["AuthorizationCodeIssued", "TokensIssued", "AuthorizationCodeReplayed", "GrantRevoked"];
        assert_eq!(stage.events().await, events);
        assert_eq!(stage.revoked().await.1.len(), 1);
        let refresh = text(&tokens.unwrap(), "refresh_token");
        assert_error(&stage.refresh_as("app", &refresh, &[]).await, 400, "invalid_grant");
        let rows: (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM auth_gateway.oauth_grants), (SELECT count(*) FROM auth_gateway.oauth_tokens)",
        )
        .fetch_one(&mut databases.admin().await)
        .await
        .unwrap();
        assert_eq!(rows, (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attack_15_of_64_redemptions_of_a_refresh_token_one_succeeds_and_the_family_lives() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let refresh = text(&stage.tokens().await, "refresh_token");
        let form = encode(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &refresh),
            ("client_id", "app"),
        ]);
        let (successes, tokens) = at_once(&stage, &form).await;
        assert_eq!(successes, 1);
        assert_eq!(stage.revoked().await, (vec![], vec![]));
        stage.refreshed(&text(&tokens.unwrap(), "refresh_token")).await;
        let mut events = vec!["AuthorizationCodeIssued", "TokensIssued"];
        events.extend(["RefreshTokenRotated"; 2]);
        assert_eq!(stage.events().await, events);
        let rows: (i64, i64) = sqlx::query_as(
            "SELECT generation, (SELECT count(*) FROM auth_gateway.oauth_tokens) FROM auth_gateway.oauth_grants",
        )
        .fetch_one(&mut databases.admin().await)
        .await
        .unwrap();
        assert_eq!(rows, (3, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_reuses_of_an_old_token_one_ends_the_family() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let refresh = text(&stage.tokens().await, "refresh_token");
        stage.refreshed(&stage.refreshed(&refresh).await).await;
        let form =
            encode(&[("grant_type", "refresh_token"), ("refresh_token", &refresh), ("client_id", "app")]);
        assert_eq!(at_once(&stage, &form).await.0, 0);
        let events = stage.events().await;
        assert_eq!(events.iter().filter(|event| *event == "RefreshTokenReuseDetected").count(), 1);
        assert_eq!(events.iter().filter(|event| *event == "GrantRevoked").count(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sign_out_among_refreshes_leaves_no_token_that_the_edges_believe() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        for round in 0..4_u128 {
            let mut refreshing = JoinSet::new();
            for _ in 0..6 {
                let token = text(&stage.tokens().await, "refresh_token");
                let code = stage.code().await;
                let test = Arc::clone(&stage.test);
                refreshing.spawn(async move {
                    let form = [("grant_type", "refresh_token"), ("refresh_token", &token), ("client_id", "app")];
                    test.post("/oauth/token", &[], &encode(&form)).await;
                    test.post("/oauth/token", &[], &encode(&redemption(&code))).await;
                });
            }
            let mut scope =
                databases.database.scope(Actor::System(Component::Authenticator)).await.unwrap();
            sqlx::query("UPDATE sessions SET ended_at = $2 WHERE id = $1")
                .bind(SESSION)
                .bind(databases.clock.now())
                .execute(scope.connection())
                .await
                .unwrap();
            crate::oauth::end_grants_of_session(&mut scope, SESSION).await.unwrap();
            scope.commit().await.unwrap();
            refreshing.join_all().await;
            let believed: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM auth_gateway.oauth_tokens AS t
                 WHERE NOT EXISTS (SELECT FROM auth_gateway.revocations AS r
                                   WHERE r.kind = 'grant' AND r.value = t.grant_id::text AND r.expires_at > t.expires_at)",
            )
            .fetch_one(&mut databases.admin().await)
            .await
            .unwrap();
            assert_eq!(believed, 0, "round {round}");
            stage.sql(&format!("UPDATE sessions SET ended_at = NULL WHERE id = '{SESSION}'")).await;
        }
    })
    .await;
}
