//! Consent through the router, from the authorization request to the redirect, against a real Postgres.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use url::Url;

use crate::http::test_origin::{Answer, TestOrigin};
use crate::mail::peer::{Behaviour, SmtpPeer};
use crate::pages::test_browser::Browser;
use crate::sessions::tests::signed_in;
use crate::test_database::{self, TestDatabase, execute};

const WEB: (&str, &str) = ("web", "https://app.test:8443/cb");
const CLI: (&str, &str) = ("cli", "http://127.0.0.1/cb");
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// An origin with a workspace, a project and two public clients, one of them on the person's own machine.
async fn origin(databases: &TestDatabase, variables: &[(&str, &str)]) -> Arc<TestOrigin> {
    let client = |number: u8, (id, uri): (&str, &str)| {
        format!(
            "INSERT INTO oauth_clients (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, created_at, updated_at)
             VALUES ('00000000-0000-0000-0000-0000000000c{number}', '{id}', '00000000-0000-0000-0000-00000000000a',
                     '00000000-0000-0000-0000-0000000000b0', 'The {id} <b>app</b>', '{{{uri}}}', '{{notes:read,notes:write}}', 'public', now(), now());"
        )
    };
    let statements = format!(
        "SET search_path = auth_gateway;
         INSERT INTO workspaces (id, slug, name, created_at, updated_at)
         VALUES ('00000000-0000-0000-0000-00000000000a', 'demo', 'Demo & Sons', now(), now());
         INSERT INTO projects (id, workspace_id, slug, name, created_at, updated_at)
         VALUES ('00000000-0000-0000-0000-0000000000b0', '00000000-0000-0000-0000-00000000000a', 'notes', 'Notes', now(), now());
         {} {}",
        client(0, WEB),
        client(1, CLI)
    );
    execute(&mut databases.admin().await, statements).await;
    Arc::new(TestOrigin::with(databases, databases.database.clone(), variables))
}

/// Begins an authorization request in a browser; yields where it leads.
async fn authorize(browser: &Browser, (client, uri): (&str, &str), scope: &str) -> String {
    let mut target =
        format!("/oauth/authorize?response_type=code&state=s1&client_id={client}&code_challenge={CHALLENGE}");
    for (name, value) in [("code_challenge_method", "S256"), ("redirect_uri", uri), ("scope", scope)] {
        target.extend(["&", name, "="]);
        shared::form::encode_into(&mut target, value);
    }
    let answer = browser.get(&target).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").to_owned()
}

async fn decide(browser: &Browser, page: &Answer, decision: &str) -> Answer {
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    browser.post("/consent", &[("request", &request), ("csrf", &csrf), ("decision", decision)]).await
}

/// The parameters that a redirect takes to the client.
fn parameters(answer: &Answer, (_, uri): (&str, &str)) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let location = answer.header("location");
    assert!(location.starts_with(&format!("{uri}?")), "{location}");
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

async fn grant_events(databases: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT event_type FROM auth_gateway.events WHERE aggregate_type = 'grant' ORDER BY aggregate_id, version",
    )
    .fetch_all(&mut databases.admin().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn from_the_request_over_the_mail_to_the_code() {
    test_database::run(async |databases| {
        let peer = SmtpPeer::start(Behaviour::Take).await;
        let origin = origin(databases, &[("SMTP_URL", &peer.url())]).await;
        let browser = Browser::new(&origin);
        let sign_in = authorize(&browser, WEB, "notes:read").await;
        let page = browser.get(&sign_in).await;
        assert!(page.text().contains("The web &#60;b&#62;app&#60;/b&#62;"), "{}", page.text());
        let request = page.field("request");
        browser.post("/sign-in", &[("email", "ann@example.test"), ("request", &request)]).await;
        let code_page = browser.get("/sign-in/code").await;
        // The answer to this form may be a redirect to the client.
        let policy = code_page.header("content-security-policy");
        assert!(policy.contains("form-action 'self' https://app.test:8443;"), "{policy}");
        let challenge = browser.cookie("__Host-gateward_challenge").unwrap();
        let done = browser.post("/sign-in/code", &[("code", &peer.next().await.code())]).await;
        assert_eq!(done.header("location"), format!("/consent?request={request}"));
        // A button pressed twice: whoever comes second finds the way on, too.
        browser.set_cookie("__Host-gateward_challenge", &challenge);
        let second = browser.post("/sign-in/code", &[("code", "00000000")]).await;
        assert_eq!(second.status, 410);
        assert!(second.text().contains(&format!("href=\"/consent?request={request}\"")), "{}", second.text());
        let page = browser.get(done.header("location")).await;
        let text = page.text();
        for part in ["Demo &#38; Sons", "Notes", "Read your notes", "notes:read", "ann@example.test", "app.test:8443"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("notes:write"));
        let policy = page.header("content-security-policy");
        assert!(policy.contains("form-action 'self' https://app.test:8443;"), "{policy}");

        let given = parameters(&decide(&browser, &page, "allow").await, WEB);
        assert_eq!((given["state"].as_str(), given["iss"].as_str()), ("s1", "https://auth.test"));
        assert_eq!(grant_events(databases).await, ["ConsentGranted", "AuthorizationCodeIssued"]);
        let form = format!(
            "grant_type=authorization_code&client_id=web&code={}&code_verifier={VERIFIER}&redirect_uri=https%3A%2F%2Fapp.test%3A8443%2Fcb",
            given["code"]
        );
        let tokens = origin.post("/oauth/token", &[], &form).await;
        assert_eq!((tokens.status.as_u16(), tokens.json()["scope"].as_str()), (200, Some("notes:read")));

        // Signing out ends what came of the session, at the edges too.
        let csrf = browser.get("/account").await.field("csrf");
        browser.post("/sign-out", &[("csrf", &csrf)]).await;
        assert_eq!(grant_events(databases).await[3..], ["GrantRevoked"]);
        let compiled = origin.origin.policy.current(&origin.origin.database).await.unwrap();
        assert_eq!(compiled.policy.revocations.grants.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_no_is_told_to_the_client_and_not_remembered() {
    test_database::run(async |databases| {
        let origin = origin(databases, &[]).await;
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let page = browser.get(&authorize(&browser, WEB, "notes:read").await).await;
        let told = parameters(&decide(&browser, &page, "deny").await, WEB);
        assert_eq!((told["error"].as_str(), told["state"].as_str()), ("access_denied", "s1"));
        assert!(!told.contains_key("code") && grant_events(databases).await.is_empty());
        assert_eq!(decide(&browser, &page, "allow").await.status, 400, "a request is answered once");
        assert_eq!(browser.get(&authorize(&browser, WEB, "notes:read").await).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn only_the_page_of_this_session_can_say_yes() {
    test_database::run(async |databases| {
        let origin = origin(databases, &[]).await;
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let eve = signed_in(databases, &origin, "eve@example.test").await;
        let page = browser.get(&authorize(&browser, WEB, "notes:read").await).await;
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let eves = eve.get("/account").await.field("csrf");
        for forged in ["", "x", eves.as_str()] {
            let form = [("request", request.as_str()), ("csrf", forged), ("decision", "allow")];
            assert_eq!(browser.post("/consent", &form).await.status, 403, "{forged}");
        }
        let form = [("request", request.as_str()), ("csrf", csrf.as_str()), ("decision", "allow")];
        for site in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("origin", "https://evil.test")],
            &[("origin", "null")],
        ] {
            assert_eq!(browser.post_from("/consent", &form, site).await.status, 403, "{site:?}");
        }
        for (missing, status) in [("decision", 400), ("request", 400)] {
            let rest: Vec<_> = form.iter().copied().filter(|(name, _)| *name != missing).collect();
            assert_eq!(browser.post("/consent", &rest).await.status, status, "{missing}");
        }
        // Eve brings the form with her own token: the request is of another session.
        let taken = [("request", request.as_str()), ("csrf", eves.as_str()), ("decision", "allow")];
        assert_eq!(eve.post("/consent", &taken).await.status, 400);
        assert!(grant_events(databases).await.is_empty());
        assert!(parameters(&browser.post("/consent", &form).await, WEB).contains_key("code"));
    })
    .await;
}

#[tokio::test]
async fn attack_24_of_16_parallel_answers_one_gives_a_code() {
    test_database::run(async |databases| {
        let origin = origin(databases, &[]).await;
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let page = Arc::new(browser.get(&authorize(&browser, WEB, "notes:read").await).await);
        let mut answers = JoinSet::new();
        for _ in 0..16 {
            let (browser, page) = (browser.clone(), Arc::clone(&page));
            answers.spawn(async move { decide(&browser, &page, "allow").await.status.as_u16() });
        }
        let mut statuses = answers.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses.remove(0), 303);
        assert_eq!(statuses, [400; 15]);
        assert_eq!(grant_events(databases).await, ["ConsentGranted", "AuthorizationCodeIssued"]);
    })
    .await;
}

#[tokio::test]
async fn a_yes_is_remembered_for_what_it_covered() {
    test_database::run(async |databases| {
        let origin = origin(databases, &[]).await;
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let page = browser.get(&authorize(&browser, WEB, "notes:read").await).await;
        parameters(&decide(&browser, &page, "allow").await, WEB);
        // The same again: straight on, and no second consent.
        let straight = browser.get(&authorize(&browser, WEB, "notes:read").await).await;
        assert!(parameters(&straight, WEB).contains_key("code"));
        assert_eq!(grant_events(databases).await.iter().filter(|name| *name == "ConsentGranted").count(), 1);
        // More: asked again, and both are remembered.
        let page = browser.get(&authorize(&browser, WEB, "notes:write").await).await;
        assert_eq!(page.status, 200);
        parameters(&decide(&browser, &page, "allow").await, WEB);
        let both = browser.get(&authorize(&browser, WEB, "notes:read notes:write").await).await;
        assert!(parameters(&both, WEB).contains_key("code"));
        // Another person is asked, and so is this one after taking it back.
        let eve = signed_in(databases, &origin, "eve@example.test").await;
        assert_eq!(eve.get(&authorize(&eve, WEB, "notes:read").await).await.status, 200);
        let take_back = "UPDATE auth_gateway.oauth_consents SET revoked_at = now()".to_owned();
        execute(&mut databases.admin().await, take_back).await;
        let page = browser.get(&authorize(&browser, WEB, "notes:read").await).await;
        assert_eq!(page.status, 200);
        parameters(&decide(&browser, &page, "allow").await, WEB);
        assert_eq!(
            browser.get(&authorize(&browser, WEB, "notes:write").await).await.status,
            200,
            "what was taken back stays so"
        );
    })
    .await;
}

#[tokio::test]
async fn a_program_on_the_persons_machine_always_asks() {
    test_database::run(async |databases| {
        let origin = origin(databases, &[]).await;
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let at_port = ("cli", "http://127.0.0.1:53211/cb");
        for _ in 0..2 {
            let page = browser.get(&authorize(&browser, at_port, "notes:read").await).await;
            assert_eq!(page.status, 200);
            assert!(page.text().contains("127.0.0.1:53211"));
            let policy = page.header("content-security-policy").to_owned();
            assert!(policy.contains("form-action 'self' http://127.0.0.1:53211;"), "{policy}");
            parameters(&decide(&browser, &page, "allow").await, at_port);
        }
    })
    .await;
}

#[tokio::test]
async fn another_account_can_take_over_before_the_answer() {
    test_database::run(async |databases| {
        let peer = SmtpPeer::start(Behaviour::Take).await;
        let origin = origin(databases, &[("SMTP_URL", &peer.url())]).await;
        let browser = signed_in(databases, &origin, "ann@example.test").await;
        let page = browser.get(&authorize(&browser, WEB, "notes:read").await).await;
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let out = browser.post("/sign-out", &[("csrf", &csrf), ("request", &request)]).await;
        assert_eq!(out.header("location"), format!("/sign-in?request={request}"));
        assert_eq!(
            browser.get(&format!("/consent?request={request}")).await.header("location"),
            out.header("location")
        );
        browser.post("/sign-in", &[("email", "bob@example.test"), ("request", &request)]).await;
        let done = browser.post("/sign-in/code", &[("code", &peer.next().await.code())]).await;
        let page = browser.get(done.header("location")).await;
        assert!(page.text().contains("bob@example.test"));
        assert!(parameters(&decide(&browser, &page, "allow").await, WEB).contains_key("code"));
        for over in [request.as_str(), "x", ""] {
            assert_eq!(browser.get(&format!("/consent?request={over}")).await.status, 400);
        }
    })
    .await;
}
