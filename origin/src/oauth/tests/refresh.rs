use std::time::Duration;

use shared::refresh_token::RefreshToken;

use super::*;
use crate::test_database;

const REUSED: [&str; 2] = ["RefreshTokenReuseDetected", "GrantRevoked"];

#[tokio::test]
async fn each_exchange_gives_the_next_token_and_scopes_only_narrow() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let first = stage.tokens().await;
        let token = text(&first, "refresh_token");
        assert_error(&stage.refresh_as("app", &token, &[("scope", "admin")]).await, 400, "invalid_scope");
        let narrowed = stage.refresh_as("app", &token, &[("scope", "notes:read")]).await.json();
        assert_eq!(text(&narrowed, "scope"), "notes:read");
        // The family keeps what was granted (RFC 6749 §6).
        let whole = stage.refresh_as("app", &text(&narrowed, "refresh_token"), &[]).await.json();
        assert_eq!(text(&whole, "scope"), "notes:read notes:write");
        // The client may ask for less than before: so does its token.
        stage.sql("UPDATE oauth_clients SET scopes = '{notes:read}' WHERE client_id = 'app'").await;
        let less = stage.refresh_as("app", &text(&whole, "refresh_token"), &[]).await.json();
        assert_eq!(text(&less, "scope"), "notes:read");

        let claims = [
            stage.verify(&text(&first, "access_token")).await,
            stage.verify(&text(&less, "access_token")).await,
        ];
        assert_eq!(claims[0].sid, claims[1].sid);
        assert_ne!(claims[0].jti, claims[1].jti);
        let generation = RefreshToken::parse(&text(&less, "refresh_token")).unwrap().generation;
        assert_eq!(generation, 4);
        let mut events = vec!["AuthorizationCodeIssued", "TokensIssued"];
        events.extend(["RefreshTokenRotated"; 3]);
        assert_eq!(stage.events().await, events);
    })
    .await;
}

#[tokio::test]
async fn attack_15_the_token_before_is_a_retry_within_the_grace_and_reuse_after_it() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let first = text(&stage.tokens().await, "refresh_token");
        let second = stage.refreshed(&first).await;
        databases.clock.advance(Duration::from_secs(29));
        assert_error(&stage.refresh_as("app", &first, &[]).await, 400, "invalid_grant");
        assert_eq!(stage.revoked().await, (vec![], vec![]));
        let third = stage.refreshed(&second).await;
        databases.clock.advance(Duration::from_secs(30));
        assert_error(&stage.refresh_as("app", &second, &[]).await, 400, "invalid_grant");
        assert_eq!(stage.revoked().await.1.len(), 1);
        assert_error(&stage.refresh_as("app", &third, &[]).await, 400, "invalid_grant");
        // Told once, however often it is tried.
        assert_error(&stage.refresh_as("app", &second, &[]).await, 400, "invalid_grant");
        let events = stage.events().await;
        assert_eq!(events[events.len() - 2..], REUSED);
        assert_eq!(events.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn attack_15_an_older_generation_is_reuse_even_after_a_restart() {
    test_database::run(async |databases| {
        let mut stage = Stage::set(databases).await;
        let first = text(&stage.tokens().await, "refresh_token");
        let second = stage.refreshed(&first).await;
        let third = stage.refreshed(&second).await;
        // A new process remembers nothing but what is in the database, and goes on.
        stage.test = Arc::new(TestOrigin::new(databases));
        let fourth = stage.refreshed(&third).await;
        stage.test = Arc::new(TestOrigin::new(databases));
        assert_error(&stage.refresh_as("app", &first, &[]).await, 400, "invalid_grant");
        assert_error(&stage.refresh_as("app", &fourth, &[]).await, 400, "invalid_grant");
        assert_eq!(stage.revoked().await.1.len(), 1);
        let payload: Value = sqlx::query_scalar(
            "SELECT payload FROM auth_gateway.events WHERE event_type = 'RefreshTokenReuseDetected'",
        )
        .fetch_one(&mut databases.admin().await)
        .await
        .unwrap();
        assert_eq!((&payload["presented"], &payload["current"]), (&Value::from(1), &Value::from(4)));
        // The end of the grant follows from it, and says so.
        let follows: bool = sqlx::query_scalar(
            "SELECT ended.metadata ->> 'causation_id' = reuse.event_id::text
                    AND ended.metadata ->> 'correlation_id' = reuse.metadata ->> 'correlation_id'
                    AND reuse.metadata ->> 'causation_id' IS NULL
             FROM auth_gateway.events AS reuse JOIN auth_gateway.events AS ended USING (aggregate_id)
             WHERE reuse.event_type = 'RefreshTokenReuseDetected' AND ended.event_type = 'GrantRevoked'",
        )
        .fetch_one(&mut databases.admin().await)
        .await
        .unwrap();
        assert!(follows, "GrantRevoked does not say what caused it");
    })
    .await;
}

#[tokio::test]
async fn what_was_never_issued_ends_nothing() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let first = text(&stage.tokens().await, "refresh_token");
        let second = stage.refreshed(&stage.refreshed(&first).await).await;
        let real = RefreshToken::parse(&second).unwrap();
        // Whoever sees an access token knows the grant and can guess generations: that must not sign anybody out.
        for generation in [0, 1, 2, 3, 4, u32::MAX] {
            let forged = RefreshToken::issue(real.grant_id, generation, [7; 32]).to_text();
            assert_error(&stage.refresh_as("app", &forged, &[]).await, 400, "invalid_grant");
        }
        let elsewhere = RefreshToken::issue([9; 16], real.generation, *real.secret()).to_text();
        assert_error(&stage.refresh_as("app", &elsewhere, &[]).await, 400, "invalid_grant");
        for length in (0..second.len()).step_by(9) {
            let cut = second.get(..length).unwrap();
            let error = if length == 0 { "invalid_request" } else { "invalid_grant" };
            assert_error(&stage.refresh_as("app", cut, &[]).await, 400, error);
        }
        assert_eq!(stage.revoked().await, (vec![], vec![]));
        stage.refreshed(&second).await;
    })
    .await;
}

#[tokio::test]
async fn attack_14_another_client_gets_nothing_and_ends_nothing() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let first = text(&stage.tokens().await, "refresh_token");
        let second = stage.refreshed(&first).await;
        databases.clock.advance(Duration::from_mins(1));
        for token in [&first, &second] {
            assert_error(&stage.refresh_as("other", token, &[]).await, 400, "invalid_grant");
        }
        assert_eq!(stage.revoked().await, (vec![], vec![]));
        stage.refreshed(&second).await;
    })
    .await;
}

#[tokio::test]
async fn a_family_ends_with_its_time_however_often_it_was_used() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let mut token = text(&stage.tokens().await, "refresh_token");
        for _ in 0..2 {
            databases.clock.advance(Duration::from_hours(14 * 24));
            token = stage.refreshed(&token).await;
        }
        databases.clock.advance(Duration::from_hours(2 * 24));
        assert_error(&stage.refresh_as("app", &token, &[]).await, 400, "invalid_grant");
    })
    .await;
}
