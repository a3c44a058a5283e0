//! Signing in through the router, with a real Postgres and a real conversation with a mail server.

mod limits;
mod link;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{EmailAddress, issue_link};
use crate::http::test_origin::{Answer, ISSUER, TestOrigin};
use crate::mail::peer::{Behaviour, SmtpPeer};
use crate::pages::test_browser::Browser;
use crate::test_database::{self, TestDatabase, execute};

const EMAIL: &str = "ann@example.test";
const SESSION: &str = "__Host-gateward_session";

/// An origin that mails to a peer of the test.
async fn origin(databases: &TestDatabase) -> (Arc<TestOrigin>, SmtpPeer) {
    let peer = SmtpPeer::start(Behaviour::Take).await;
    let variables = [("SMTP_URL", peer.url())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    (Arc::new(TestOrigin::with(databases, databases.database.clone(), &variables)), peer)
}

/// Asks for a code and reads it from the mail.
async fn ask(browser: &Browser, peer: &SmtpPeer, email: &str) -> String {
    let asked = browser.post("/sign-in", &[("email", email)]).await;
    assert_eq!((asked.status.as_u16(), asked.header("location")), (303, "/sign-in/code"), "{}", asked.text());
    let mail = peer.next().await;
    assert_eq!(mail.to, [email]);
    mail.code()
}

/// Another code than this one.
fn wrong(code: &str) -> String {
    let other = (code.parse::<u32>().unwrap() + 1) % 100_000_000;
    format!("{other:08}")
}

async fn answer(browser: &Browser, code: &str) -> Answer {
    browser.post("/sign-in/code", &[("code", code)]).await
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM auth_gateway.{table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(connection).await.unwrap()
}

/// The types of all events, sorted: under a clock that stands still there is no order between aggregates.
async fn events(connection: &mut PgConnection) -> Vec<String> {
    let query = "SELECT event_type FROM auth_gateway.events ORDER BY 1";
    sqlx::query_scalar(query).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn a_mailed_code_makes_the_account_and_the_session() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        assert_eq!(browser.get("/account").await.header("location"), "/sign-in");
        assert_eq!(browser.get("/").await.header("location"), "/sign-in");
        let page = browser.get("/sign-in").await;
        for part in ["type=\"email\"", "autocomplete=\"email\"", "inputmode=\"email\"", "autofocus"] {
            assert!(page.text().contains(part), "{part}");
        }
        let code = ask(&browser, &peer, EMAIL).await;
        let page = browser.get("/sign-in/code").await.text();
        for part in [EMAIL, "autocomplete=\"one-time-code\"", "inputmode=\"numeric\"", "10 more minutes"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains(&code));
        let spaced = format!(" {} {} ", &code.get(..4).unwrap(), &code.get(4..).unwrap());
        let done = answer(&browser, &spaced).await;
        assert_eq!((done.status.as_u16(), done.header("location")), (303, "/account"));
        let account = browser.get("/account").await;
        assert!(
            account.status == 200 && account.text().contains(EMAIL) && account.text().contains("192.0.2.7")
        );
        assert_eq!(browser.get("/").await.header("location"), "/account");
        assert_eq!(browser.get("/sign-in").await.header("location"), "/account");
        // The challenge's cookie is gone with the challenge.
        assert_eq!(browser.cookie("__Host-gateward_challenge"), None);

        let mut admin = databases.admin().await;
        assert_eq!(events(&mut admin).await, ["SessionStarted", "SignInCodeSent", "UserRegistered"]);
        let said: String = sqlx::query_scalar(
            "SELECT string_agg(payload::text || metadata::text, ' ') FROM auth_gateway.events",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        let token = browser.cookie(SESSION).unwrap();
        for secret in [EMAIL, "ann", &code, &token] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
        let stored: (String, String) = sqlx::query_as(
            "SELECT (SELECT string_agg(c::text, ' ') FROM auth_gateway.sign_in_challenges c),
                    (SELECT string_agg(s::text, ' ') FROM auth_gateway.sessions s)",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        assert!(!stored.0.contains(&code) && !stored.1.contains(&token));

        // The second time there is an account.
        let again = Browser::new(&origin);
        let code = ask(&again, &peer, EMAIL).await;
        assert_eq!(answer(&again, &code).await.status, 303);
        let all = ["SessionStarted", "SessionStarted", "SignInCodeSent", "SignInCodeSent", "UserRegistered"];
        assert_eq!(events(&mut admin).await, all);
        assert_eq!(count(&mut admin, "user_accounts").await, 1);
    })
    .await;
}

#[tokio::test]
async fn attack_24_of_32_parallel_submissions_one_signs_in() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        let mut submissions = JoinSet::new();
        for _ in 0..32 {
            // Each brings the same cookies, and what the others get does not reach it.
            let (other, code) = (Browser::new(&origin), code.clone());
            let name = "__Host-gateward_challenge";
            other.set_cookie(name, &browser.cookie(name).unwrap());
            submissions
                .spawn(async move { (answer(&other, &code).await.status.as_u16(), other.cookie(SESSION)) });
        }
        let outcomes = submissions.join_all().await;
        let admitted: Vec<_> = outcomes.iter().filter(|(status, _)| *status == 303).collect();
        assert_eq!(admitted.len(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|(status, session)| (*status == 303) == session.is_some()));
        assert!(outcomes.iter().all(|(status, _)| matches!(status, 303 | 410)), "{outcomes:?}");
        let mut admin = databases.admin().await;
        assert_eq!((count(&mut admin, "sessions").await, count(&mut admin, "user_accounts").await), (1, 1));
        let events = events(&mut admin).await;
        assert_eq!(events.iter().filter(|name| *name == "SessionStarted").count(), 1);
        assert_eq!(events.iter().filter(|name| *name == "SignInCodeRefused").count(), 31);
    })
    .await;
}

#[tokio::test]
async fn attack_24_a_code_is_of_the_browser_that_asked() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let (browser, thief) = (Browser::new(&origin), Browser::new(&origin));
        let code = ask(&browser, &peer, EMAIL).await;
        // Without any challenge, with one of its own for the same address, and with the right id but another secret.
        assert_eq!(answer(&thief, &code).await.status, 410);
        let own = ask(&thief, &peer, EMAIL).await;
        assert_ne!(own, code);
        assert_eq!(answer(&thief, &code).await.status, 422);
        let name = "__Host-gateward_challenge";
        let (theirs, mine) = (browser.cookie(name).unwrap(), thief.cookie(name).unwrap());
        let (id, secret) = (theirs.split_once('.').unwrap().0, mine.split_once('.').unwrap().1);
        thief.set_cookie(name, &format!("{id}.{secret}"));
        assert_eq!(answer(&thief, &code).await.status, 410);
        assert_eq!(thief.cookie(SESSION), None);
        assert_eq!(answer(&browser, &code).await.status, 303);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_code_says_how_many_tries_are_left_and_a_mistyped_one_costs_none() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        for (tries, left) in
            [(1, "4 tries left"), (2, "3 tries left"), (3, "2 tries left"), (4, "1 try left")]
        {
            for mistyped in ["", "1234", "abcdefgh", "123456789"] {
                let page = answer(&browser, mistyped).await;
                assert_eq!(page.status, 422);
                assert!(page.text().contains("The code has 8 digits"), "{}", page.text());
            }
            let page = answer(&browser, &wrong(&code)).await;
            assert_eq!(page.status, 422, "{tries}");
            let text = page.text();
            for part in ["role=\"alert\"", "href=\"#code\"", "aria-invalid=\"true\"", "<title>Error: ", left]
            {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
        assert_eq!(answer(&browser, &wrong(&code)).await.status, 410);
        // Even the right one comes too late.
        assert_eq!(answer(&browser, &code).await.status, 410);
        assert_eq!(browser.get("/sign-in/code").await.status, 410);
        assert_eq!(browser.cookie(SESSION), None);
    })
    .await;
}

#[tokio::test]
async fn a_code_expires() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        databases.clock.advance(Duration::from_mins(10));
        let page = answer(&browser, &code).await;
        assert_eq!(page.status, 410);
        assert!(page.text().contains("href=\"/sign-in\""));
        assert_eq!(browser.cookie(SESSION), None);
    })
    .await;
}

#[tokio::test]
async fn known_and_unknown_addresses_get_the_same_answer() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        answer(&browser, &code).await;
        let mut pages = Vec::new();
        for email in [EMAIL, "eve@example.test"] {
            let browser = Browser::new(&origin);
            let asked = browser.post("/sign-in", &[("email", email)]).await;
            peer.next().await;
            let names: Vec<_> = asked.headers.keys().map(ToString::to_string).collect();
            let page = browser.get("/sign-in/code").await.text().replace(email, "EMAIL");
            pages.push((asked.status, names, page));
        }
        assert_eq!(pages[0], pages[1]);
        assert_eq!(count(&mut databases.admin().await, "user_accounts").await, 1, "asking makes no account");
    })
    .await;
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_takes_its_code_back() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        for (behaviour, status) in [(Behaviour::RefuseRecipient, 422), (Behaviour::RefuseForNow, 503)] {
            peer.set(behaviour);
            let page = browser.post("/sign-in", &[("email", EMAIL)]).await;
            assert_eq!(page.status, status, "{behaviour:?}");
            let text = page.text();
            assert!(
                text.contains("role=\"alert\"") && text.contains(&format!("value=\"{EMAIL}\"")),
                "{text}"
            );
            assert_eq!(browser.cookie("__Host-gateward_challenge"), None);
        }
        let mut admin = databases.admin().await;
        let reasons: Vec<String> = sqlx::query_scalar(
            "SELECT payload ->> 'reason' FROM auth_gateway.events WHERE event_type = 'SignInCodeWithdrawn'
             ORDER BY 1",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert_eq!(reasons, ["mail_refused", "mail_unavailable"]);
        peer.set(Behaviour::Take);
        let code = ask(&browser, &peer, EMAIL).await;
        assert_eq!(answer(&browser, &code).await.status, 303);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_address_is_said_beside_the_field() {
    test_database::run(async |databases| {
        let (origin, _peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        for typed in ["", "ann", "ann@evil.test@example.test", "\"><b>x@example.test"] {
            let page = browser.post("/sign-in", &[("email", typed)]).await;
            assert_eq!(page.status, 422, "{typed}");
            let text = page.text();
            assert!(
                text.contains("role=\"alert\"") && text.contains("href=\"#email\"") && !text.contains("<b>"),
                "{text}"
            );
        }
        assert_eq!(browser.get("/sign-in?request=nothing").await.status, 400);
        assert_eq!(browser.get(&format!("/sign-in?request={}", Uuid::nil())).await.status, 400);
        let nothing = browser.post("/sign-in", &[("email", EMAIL), ("email", EMAIL)]).await;
        assert_eq!(nothing.status, 400);
        assert_eq!(count(&mut databases.admin().await, "sign_in_challenges").await, 0);
    })
    .await;
}

#[tokio::test]
async fn forms_of_other_sites_change_nothing() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        for site in [
            &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "https://other.auth.test")],
            &[("origin", "null")],
            &[("origin", "http://auth.test")],
        ] {
            for (target, fields) in
                [("/sign-in", [("email", EMAIL)]), ("/sign-in/code", [("code", code.as_str())])]
            {
                assert_eq!(browser.post_from(target, &fields, site).await.status, 403, "{target} {site:?}");
            }
        }
        assert_eq!(peer.unread().await, 0);
        assert_eq!(browser.cookie(SESSION), None);
        // A program that is no browser says nothing of where it comes from, and has no cookies to be tricked out of.
        assert_eq!(browser.post_from("/sign-in/code", &[("code", &code)], &[]).await.status, 303);
    })
    .await;
}

#[tokio::test]
async fn attack_16_a_suspended_account_cannot_sign_in() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let first = Browser::new(&origin);
        let code = ask(&first, &peer, EMAIL).await;
        answer(&first, &code).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        let mut admin = databases.admin().await;
        execute(&mut admin, "UPDATE auth_gateway.user_accounts SET status = 'suspended'".to_owned()).await;
        assert_eq!(first.get("/account").await.header("location"), "/sign-in", "its sessions end at once");
        assert_eq!(answer(&browser, &code).await.status, 403);
        assert_eq!(answer(&browser, &code).await.status, 410, "the code stays used");
        let link = link(databases).await;
        assert_eq!(browser.post("/sign-in/link", &[("token", &link)]).await.status, 403);
        assert_eq!((browser.cookie(SESSION), count(&mut admin, "sessions").await), (None, 1));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        let code = ask(&browser, &peer, EMAIL).await;
        let mut admin = databases.admin().await;
        let refuse = "ALTER TABLE auth_gateway.events ADD CONSTRAINT refuse CHECK (event_type <> 'SessionStarted') NOT VALID";
        execute(&mut admin, refuse.to_owned()).await;
        let page = answer(&browser, &code).await;
        assert_eq!((page.status.as_u16(), page.header("retry-after")), (503, "5"));
        let id = page.header("x-request-id");
        assert!(id.len() == 36 && page.text().contains(&format!("<code>{id}</code>")), "{}", page.text());
        assert_eq!((count(&mut admin, "sessions").await, count(&mut admin, "user_accounts").await), (0, 0));
        assert_eq!(events(&mut admin).await, ["SignInCodeSent"]);
        execute(&mut admin, "ALTER TABLE auth_gateway.events DROP CONSTRAINT refuse".to_owned()).await;
        // The code was not used up by what did not happen.
        assert_eq!(answer(&browser, &code).await.status, 303);
    })
    .await;
}

/// A fresh link's token.
async fn link(databases: &TestDatabase) -> String {
    let email = EmailAddress::parse(EMAIL).unwrap();
    let issued = issue_link(&databases.database, ISSUER, Duration::from_mins(10), &email).await.unwrap();
    let token = issued.url.strip_prefix("https://auth.test/sign-in/link?token=").unwrap();
    token.to_owned()
}

#[tokio::test]
async fn signing_in_rotates_the_session() {
    test_database::run(async |databases| {
        let (origin, peer) = origin(databases).await;
        let browser = Browser::new(&origin);
        // A planted token is no session, before and after.
        let planted = shared::base64url::encode(&[9; 32]);
        browser.set_cookie(SESSION, &planted);
        assert_eq!(browser.get("/account").await.header("location"), "/sign-in");
        let code = ask(&browser, &peer, EMAIL).await;
        answer(&browser, &code).await;
        let first = browser.cookie(SESSION).unwrap();
        assert_ne!(first, planted);
        let code = ask(&browser, &peer, "bob@example.test").await;
        answer(&browser, &code).await;
        assert_ne!(browser.cookie(SESSION).unwrap(), first);
        let former = Browser::new(&origin);
        former.set_cookie(SESSION, &first);
        assert_eq!(former.get("/account").await.header("location"), "/sign-in");
        let ended = events(&mut databases.admin().await).await;
        assert_eq!(ended.iter().filter(|name| *name == "SessionEnded").count(), 1, "{ended:?}");
    })
    .await;
}
