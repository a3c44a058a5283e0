use std::time::Duration;

use super::*;
use crate::{
    database::{Actor, Component},
    oauth::end_grants_of_session,
    test_database,
};

/// A request to the revocation endpoint. Its answer has no body when it is good.
async fn revoke(stage: &Stage<'_>, client_id: &str, token: &str) -> Answer {
    stage.test.post("/oauth/revoke", &[], &encode(&[("token", token), ("client_id", client_id)])).await
}

#[tokio::test]
async fn a_refresh_token_of_any_generation_ends_the_grant_everywhere() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        for generation in [1, 3] {
            let tokens = stage.tokens().await;
            let first = text(&tokens, "refresh_token");
            let third = stage.refreshed(&stage.refreshed(&first).await).await;
            let given = if generation == 1 { &first } else { &third };
            let sid = stage.verify(&text(&tokens, "access_token")).await.sid.unwrap();
            let answer = revoke(&stage, "app", given).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
            // Known to the next edge that asks, without the clock having moved.
            assert!(stage.revoked().await.1.contains(&sid));
            assert_error(&stage.refresh_as("app", &third, &[]).await, 400, "invalid_grant");
            assert_eq!(revoke(&stage, "app", given).await.status, 200);
        }
        let revoked = stage.events().await.iter().filter(|event| *event == "GrantRevoked").count();
        assert_eq!(revoked, 2);
    })
    .await;
}

#[tokio::test]
async fn an_access_token_ends_alone() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let tokens = stage.tokens().await;
        let access = text(&tokens, "access_token");
        let jti = stage.verify(&access).await.jti;
        for _ in 0..2 {
            assert_eq!(revoke(&stage, "app", &access).await.status, 200);
        }
        assert_eq!(stage.revoked().await, (vec![jti], vec![]));
        stage.refreshed(&text(&tokens, "refresh_token")).await;
        let events = ["AuthorizationCodeIssued", "TokensIssued", "AccessTokenRevoked", "RefreshTokenRotated"];
        assert_eq!(stage.events().await, events);
    })
    .await;
}

#[tokio::test]
async fn anothers_token_is_refused_and_an_unknown_one_is_not_told_apart_from_a_revoked_one() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let tokens = stage.tokens().await;
        let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
        for token in [&access, &refresh] {
            assert_error(&revoke(&stage, "other", token).await, 400, "invalid_grant");
        }
        let signature = access.rfind('.').unwrap();
        let forged = format!("{}.{}", access.get(..signature).unwrap(), "A".repeat(86));
        let made_up = shared::refresh_token::RefreshToken::issue([1; 16], 1, [1; 32]).to_text();
        for token in ["x", "a.b.c", forged.as_str(), made_up.as_str()] {
            assert_eq!(revoke(&stage, "app", token).await.status, 200, "{token}");
        }
        databases.clock.advance(Duration::from_mins(5));
        assert_eq!(revoke(&stage, "app", &access).await.status, 200);
        assert_eq!(stage.revoked().await, (vec![], vec![]));
        assert_eq!(stage.events().await, ["AuthorizationCodeIssued", "TokensIssued"]);
    })
    .await;
}

#[tokio::test]
async fn who_asks_must_be_a_client() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let refresh = text(&stage.tokens().await, "refresh_token");
        assert_error(&revoke(&stage, "nobody", &refresh).await, 401, "invalid_client");
        assert_error(&revoke(&stage, "backend", &refresh).await, 401, "invalid_client");
        let nothing = stage.test.post("/oauth/revoke", &[], "client_id=app").await;
        assert_error(&nothing, 400, "invalid_request");
        let twice = stage.test.post("/oauth/revoke", &[], "client_id=app&token=a&token=b").await;
        assert_error(&twice, 400, "invalid_request");
        stage.refreshed(&refresh).await;
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_grants() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let refresh = text(&stage.tokens().await, "refresh_token");
        stage.tokens().await;
        let end = async |session| {
            let mut scope = databases.database.scope(Actor::System(Component::Authenticator)).await.unwrap();
            let ended = end_grants_of_session(&mut scope, session).await.unwrap();
            scope.commit().await.unwrap();
            ended
        };
        assert_eq!(end(OTHER_SESSION).await, 0);
        assert_eq!(end(SESSION).await, 2);
        assert_eq!(end(SESSION).await, 0);
        stage.test.origin.policy.mark_changed();
        assert_eq!(stage.revoked().await.1.len(), 2);
        assert_error(&stage.refresh_as("app", &refresh, &[]).await, 400, "invalid_grant");
    })
    .await;
}
