//! The account page through the router.

use std::sync::Arc;
use std::time::Duration;

use time::macros::datetime;

use super::ago;
use crate::http::test_origin::TestOrigin;
use crate::sessions::tests::signed_in;
use crate::test_database;

#[tokio::test]
async fn a_person_ends_their_other_sessions_and_nobody_elses() {
    test_database::run(async |databases| {
        let origin = Arc::new(TestOrigin::new(databases));
        let here = signed_in(databases, &origin, "ann@example.test").await;
        databases.clock.advance(Duration::from_mins(5));
        let there = signed_in(databases, &origin, "ann@example.test").await;
        let eve = signed_in(databases, &origin, "eve@example.test").await;

        let page = here.get("/account").await;
        let text = page.text();
        assert_eq!(text.matches("Firefox on Linux</strong>").count(), 2, "{text}");
        assert_eq!(text.matches("this browser").count(), 1);
        assert!(!text.contains("eve@"), "{text}");
        let (csrf, other) = (page.field("csrf"), page.field("session"));

        // Somebody else's session, even by its id, is not hers to end; nor is this one by a form without its token.
        let eves = eve.get("/account").await.field("csrf");
        assert_eq!(eve.post("/account", &[("csrf", &eves), ("session", &other)]).await.status, 303);
        assert_eq!(here.post("/account", &[("csrf", &eves), ("session", &other)]).await.status, 403);
        assert_eq!(here.post("/account", &[("csrf", &csrf), ("session", "x")]).await.status, 400);
        assert_eq!(there.get("/account").await.status, 200);

        let form = [("csrf", csrf.as_str()), ("session", other.as_str())];
        for _ in 0..2 {
            assert_eq!(here.post("/account", &form).await.header("location"), "/account");
        }
        assert_eq!(there.get("/account").await.header("location"), "/sign-in");
        assert_eq!(here.get("/account").await.text().matches("Firefox on Linux</strong>").count(), 1);
        let ended: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM auth_gateway.events WHERE event_type = 'SessionEnded' AND payload ->> 'reason' = 'revoked'",
        )
        .fetch_one(&mut databases.admin().await)
        .await
        .unwrap();
        assert_eq!(ended, 1);
    })
    .await;
}

#[test]
fn moments_are_said_as_people_say_them() {
    let now = datetime!(2026-11-21 10:00 UTC);
    for (at, words) in [
        (datetime!(2026-11-21 09:59 UTC), "just now"),
        (datetime!(2026-11-21 09:15 UTC), "45 minutes ago"),
        (datetime!(2026-11-20 23:00 UTC), "11 hours ago"),
        (datetime!(2026-11-03 23:00 UTC), "on 3 November 2026"),
    ] {
        assert_eq!(ago(at, now), words);
    }
}
