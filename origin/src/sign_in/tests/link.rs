//! One-time links.

use std::time::Duration;

use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn attack_24_a_link_is_looked_at_often_and_used_once() {
    test_database::run(async |databases| {
        let (origin, _peer) = origin(databases).await;
        let token = link(databases).await;
        let target = format!("/sign-in/link?token={token}");
        let browser = Browser::new(&origin);
        for _ in 0..3 {
            let page = browser.get(&target).await;
            assert!(page.status == 200 && page.text().contains(EMAIL));
            assert_eq!(page.field("token"), token);
        }
        let mut uses = JoinSet::new();
        for _ in 0..16 {
            let (browser, token) = (Browser::new(&origin), token.clone());
            uses.spawn(async move {
                let done = browser.post("/sign-in/link", &[("token", &token)]).await;
                (done.status.as_u16(), browser.get("/account").await.status.as_u16())
            });
        }
        let outcomes = uses.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == (303, 200)).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == (410, 303)).count(), 15, "{outcomes:?}");
        assert_eq!(browser.get(&target).await.status, 410);
        let mut admin = databases.admin().await;
        assert_eq!(events(&mut admin).await, ["SessionStarted", "SignInCodeSent", "UserRegistered"]);

        let late = link(databases).await;
        databases.clock.advance(Duration::from_mins(10));
        assert_eq!(browser.get(&format!("/sign-in/link?token={late}")).await.status, 410);
        assert_eq!(browser.post("/sign-in/link", &[("token", &late)]).await.status, 410);
        for other in ["", "x", "gw_link_AAAA", late.get(..40).unwrap()] {
            assert!(
                browser.post("/sign-in/link", &[("token", other)]).await.status.as_u16() >= 400,
                "{other}"
            );
        }
        let elsewhere = [("sec-fetch-site", "cross-site")];
        let token = link(databases).await;
        assert_eq!(browser.post_from("/sign-in/link", &[("token", &token)], &elsewhere).await.status, 403);
        assert_eq!(browser.cookie(SESSION), None);
    })
    .await;
}
