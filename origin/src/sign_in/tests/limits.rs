//! What is counted, for whom, and that the counters themselves are no burden.

use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::configuration::Retention;
use crate::retention::sweep;

const RETENTION: Retention =
    Retention { expired: Duration::from_hours(24), ended: Duration::from_hours(720) };

#[tokio::test]
async fn attack_19_guesses_are_counted_per_address_over_all_challenges() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        for _ in 0..2 {
            let browser = Browser::new(&origin);
            let code = ask(&browser, &peer, EMAIL).await;
            for _ in 0..5 {
                answer(&browser, &wrong(&code)).await;
            }
        }
        let browser = Browser::new(&origin);
        // Another spelling is the same address.
        browser.post("/sign-in", &[("email", " ANN@Example.test ")]).await;
        let code = peer.next().await.code();
        let limited = answer(&browser, &code).await;
        assert_eq!(limited.status, 429);
        assert_eq!(limited.header("retry-after"), "360");
        assert!(limited.text().contains("in 6 minutes"));
        assert_eq!(browser.cookie(SESSION), None);
        // Nobody else is locked out, and it passes.
        let other = Browser::new(&origin);
        let others = ask(&other, &peer, "bob@example.test").await;
        assert_eq!(answer(&other, &others).await.status, 303);
        databases.clock.advance(Duration::from_mins(6));
        assert_eq!(answer(&browser, &code).await.status, 303);
    })
    .await;
}

#[tokio::test]
async fn an_address_is_mailed_five_codes_in_a_quarter_of_an_hour() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        for _ in 0..5 {
            ask(&Browser::new(&origin), &peer, EMAIL).await;
        }
        let browser = Browser::new(&origin);
        let limited = browser.post("/sign-in", &[("email", EMAIL)]).await;
        assert_eq!((limited.status.as_u16(), limited.header("retry-after")), (429, "180"));
        assert_eq!(browser.cookie("__Host-gateward_challenge"), None);
        assert_eq!(peer.unread().await, 0);
        databases.clock.advance(Duration::from_mins(3));
        ask(&browser, &peer, EMAIL).await;
    })
    .await;
}

#[tokio::test]
async fn counters_that_say_nothing_any_more_are_removed_without_a_standstill() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let ask_all = async || {
            let mut asks = JoinSet::new();
            for number in 0..24 {
                let browser = Browser::new(&origin);
                asks.spawn(async move {
                    let email = format!("person-{number}@example.test");
                    browser.post("/sign-in", &[("email", &email)]).await.status.as_u16()
                });
            }
            // A sweep goes on beside them: whoever is counted again in this moment is not forgotten, and nobody waits for anybody.
            let (statuses, swept) = tokio::join!(asks.join_all(), sweep(&databases.database, RETENTION));
            assert!(swept.failed.is_empty(), "{swept:?}");
            assert_eq!(statuses, [303; 24]);
            for _ in 0..24 {
                peer.next().await;
            }
        };
        let mut admin = databases.admin().await;
        ask_all().await;
        assert_eq!(count(&mut admin, "rate_limits").await, 24);
        for _ in 0..3 {
            databases.clock.advance(Duration::from_hours(1));
            ask_all().await;
        }
        databases.clock.advance(Duration::from_hours(25));
        for number in 0..6 {
            ask(&Browser::new(&origin), &peer, &format!("other-{number}@example.test")).await;
        }
        sweep(&databases.database, RETENTION).await;
        assert_eq!(count(&mut admin, "rate_limits").await, 6);
        assert_eq!(count(&mut admin, "sign_in_challenges").await, 6);
    })
    .await;
}
