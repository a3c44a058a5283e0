//! Sessions through the router, under a test's clock.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::http::test_origin::{ISSUER, TestOrigin};
use crate::pages::test_browser::Browser;
use crate::sign_in::{EmailAddress, issue_link};
use crate::test_database::{self, TestDatabase};

/// A browser that is signed in.
pub(crate) async fn signed_in(databases: &TestDatabase, origin: &Arc<TestOrigin>, email: &str) -> Browser {
    let email = EmailAddress::parse(email).unwrap();
    let link = issue_link(&databases.database, ISSUER, Duration::from_mins(10), &email).await.unwrap();
    let browser = Browser::new(origin);
    let token = link.url.split_once("token=").unwrap().1;
    let done = browser.post("/sign-in/link", &[("token", token)]).await;
    assert_eq!(done.header("location"), "/account", "{}", done.text());
    browser
}

async fn is_open(browser: &Browser) -> bool {
    browser.get("/account").await.status == 200
}

async fn ended(databases: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT payload ->> 'reason' FROM auth_gateway.events WHERE event_type = 'SessionEnded' ORDER BY event_id",
    )
    .fetch_all(&mut databases.admin().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_at_its_age() {
    test_database::run(async |databases| {
        let origin = Arc::new(TestOrigin::new(databases));
        let idle = signed_in(databases, &origin, "ann@example.test").await;
        let used = signed_in(databases, &origin, "ann@example.test").await;
        for _ in 0..12 {
            databases.clock.advance(Duration::from_mins(59));
            assert!(is_open(&used).await);
        }
        assert!(!is_open(&idle).await, "an hour without use ends it");
        databases.clock.advance(Duration::from_mins(12));
        assert!(!is_open(&used).await, "twelve hours end it whatever happens");
    })
    .await;
}

#[tokio::test]
async fn last_seen_is_written_at_most_once_a_minute() {
    test_database::run(async |databases| {
        let origin = Arc::new(TestOrigin::new(databases));
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let mut admin = databases.admin().await;
        let mut seen = async || -> OffsetDateTime {
            sqlx::query_scalar("SELECT last_seen_at FROM auth_gateway.sessions")
                .fetch_one(&mut admin)
                .await
                .unwrap()
        };
        let began = seen().await;
        databases.clock.advance(Duration::from_secs(59));
        assert!(is_open(&browser).await);
        assert_eq!(seen().await, began);
        databases.clock.advance(Duration::from_secs(1));
        assert!(is_open(&browser).await);
        assert_eq!(seen().await, began + Duration::from_mins(1));
    })
    .await;
}

#[tokio::test]
async fn only_the_sessions_own_form_signs_it_out() {
    test_database::run(async |databases| {
        let origin = Arc::new(TestOrigin::new(databases));
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let other = signed_in(databases, &origin, "eve@example.test").await;
        let (own, foreign) =
            (browser.get("/account").await.field("csrf"), other.get("/account").await.field("csrf"));
        for csrf in ["", "A", foreign.as_str(), own.get(1..).unwrap()] {
            assert_eq!(browser.post("/sign-out", &[("csrf", csrf)]).await.status, 403);
        }
        let from_elsewhere =
            browser.post_from("/sign-out", &[("csrf", &own)], &[("sec-fetch-site", "cross-site")]).await;
        assert_eq!(from_elsewhere.status, 403);
        assert!(is_open(&browser).await && ended(databases).await.is_empty());

        let token = browser.cookie("__Host-gateward_session").unwrap();
        let out = browser.post("/sign-out", &[("csrf", &own)]).await;
        assert_eq!((out.status.as_u16(), out.header("location")), (303, "/sign-in"));
        assert_eq!(browser.cookie("__Host-gateward_session"), None);
        browser.set_cookie("__Host-gateward_session", &token);
        assert!(!is_open(&browser).await, "the token is dead, not only forgotten");
        assert!(is_open(&other).await);
        assert_eq!(ended(databases).await, ["signed_out"]);
    })
    .await;
}

#[tokio::test]
async fn two_session_cookies_are_no_session() {
    test_database::run(async |databases| {
        let origin = Arc::new(TestOrigin::new(databases));
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let token = browser.cookie("__Host-gateward_session").unwrap();
        let pair = format!("__Host-gateward_session={token}; __Host-gateward_session={token}");
        for (cookie, status) in [(pair.clone(), 303), (pair.split_once("; ").unwrap().0.to_owned(), 200)] {
            assert_eq!(origin.send("GET", "/account", &[("cookie", &cookie)], "").await.status, status);
        }
    })
    .await;
}
