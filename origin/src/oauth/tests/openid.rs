//! OpenID Connect: ID tokens, what a client may want the person asked, and what userinfo tells to whom.

use serde_json::{Value, json};

use super::*;
use crate::test_database;

const KNOWN: &str = "&scope=openid+email+profile&nonce=n1";

/// `app` may ask who the person is; `web` may too, and is confidential, so that consent is remembered for it.
async fn stage(databases: &TestDatabase) -> Stage<'_> {
    let stage = Stage::set(databases).await;
    stage
        .sql(
            "UPDATE oauth_clients SET scopes = '{openid,email,profile,notes:read}' WHERE client_id IN ('app', 'cli');
             UPDATE user_accounts SET display_name = 'Ann'",
        )
        .await;
    stage
}

/// The claims of an ID token, whose signature and type are a client's to check.
async fn id_token(stage: &Stage<'_>, token: &str) -> Value {
    let compiled = stage.test.origin.policy.current(&stage.test.origin.database).await.unwrap();
    let unverified = shared::jwt::Unverified::parse(token).unwrap();
    let now = UnixMillis(stage.databases.clock.unix_millis());
    let (_, key) = compiled.key(unverified.key_id().unwrap(), now).expect("a key of the policy");
    shared::jwt::verify_own(token, "jwt", key).unwrap()
}

async fn sign_in(stage: &Stage<'_>, more: &str) -> Value {
    let answer = stage.redeem(&stage.code_for("app", REDIRECT, more).await).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

async fn user_info(stage: &Stage<'_>, method: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    stage.test.send(method, "/oauth/userinfo", &[("authorization", &authorization)], "").await
}

#[tokio::test]
async fn an_id_token_says_who_when_how_and_for_whom() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let json = sign_in(&stage, KNOWN).await;
        let access = stage.verify(&text(&json, "access_token")).await;
        let claims = id_token(&stage, &text(&json, "id_token")).await;
        assert_eq!(
            claims,
            json!({
                "iss": "https://auth.test", "sub": PERSON.to_string(), "aud": "app", "nonce": "n1",
                "iat": access.iat, "exp": access.exp, "auth_time": access.auth_time, "acr": "urn:gateward:acr:1",
                "amr": ["otp"], "sid": access.sid,
            })
        );
        // Renewed, it says the same of the person, and nothing of the request.
        let renewed = stage.refresh_as("app", &text(&json, "refresh_token"), &[]).await.json();
        let again = id_token(&stage, &text(&renewed, "id_token")).await;
        assert_eq!((&again["auth_time"], &again["sub"], &again["sid"]), (&claims["auth_time"], &claims["sub"], &claims["sid"]));
        assert_eq!(again.get("nonce"), None);
        let narrowed =
            stage.refresh_as("app", &text(&renewed, "refresh_token"), &[("scope", "notes:read")]).await.json();
        assert_eq!(narrowed.get("id_token"), None);
        // Who did not ask who it is is not told.
        assert_eq!(sign_in(&stage, "&scope=notes:read&nonce=n1").await.get("id_token"), None);
    })
    .await;
}

#[tokio::test]
async fn attack_10_an_id_token_opens_nothing() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let token = text(&sign_in(&stage, KNOWN).await, "id_token");
        let answer = user_info(&stage, "GET", &token).await;
        assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(&answer.body));
        let revoked =
            stage.test.post("/oauth/revoke", &[], &encode(&[("token", &token), ("client_id", "app")])).await;
        assert_eq!(revoked.status, 200);
        assert_eq!(stage.revoked().await, (vec![], vec![]));
    })
    .await;
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_let_it_and_no_longer_than_they_hold() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        for (scopes, told) in [
            ("openid", json!({"sub": PERSON.to_string()})),
            (
                "openid+email",
                json!({"sub": PERSON.to_string(), "email": "ann@example.test", "email_verified": true}),
            ),
            ("openid+profile", json!({"sub": PERSON.to_string(), "name": "Ann"})),
        ] {
            let token = text(&sign_in(&stage, &format!("&scope={scopes}")).await, "access_token");
            for method in ["GET", "POST"] {
                let answer = user_info(&stage, method, &token).await;
                assert_eq!((answer.status.as_u16(), answer.json()), (200, told.clone()), "{method} {scopes}");
                assert_eq!(answer.header("cache-control"), "no-store");
            }
        }
        let narrow = text(&sign_in(&stage, "&scope=notes:read").await, "access_token");
        let answer = user_info(&stage, "GET", &narrow).await;
        assert_eq!(answer.status, 403);
        assert!(answer.header("www-authenticate").contains("insufficient_scope"));
        for authorization in ["", "Bearer x", "Basic YTpi", "Bearer a, Bearer b"] {
            let answer =
                stage.test.send("GET", "/oauth/userinfo", &[("authorization", authorization)], "").await;
            assert!([400, 401].contains(&answer.status.as_u16()), "{authorization}: {}", answer.status);
        }
    })
    .await;
}

#[tokio::test]
async fn attack_16_userinfo_tells_nothing_of_who_or_to_whom_is_gone() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let json = sign_in(&stage, KNOWN).await;
        let token = text(&json, "access_token");
        for (gone, back) in [
            ("UPDATE user_accounts SET status = 'suspended'", "UPDATE user_accounts SET status = 'active'"),
            (
                "UPDATE oauth_clients SET enabled = false WHERE client_id = 'app'",
                "UPDATE oauth_clients SET enabled = true WHERE client_id = 'app'",
            ),
            ("UPDATE projects SET enabled = false", "UPDATE projects SET enabled = true"),
        ] {
            stage.sql(gone).await;
            assert_eq!(user_info(&stage, "GET", &token).await.status, 401, "{gone}");
            stage.sql(back).await;
            assert_eq!(user_info(&stage, "GET", &token).await.status, 200, "{back}");
        }
        let form = [("token", json["refresh_token"].as_str().unwrap()), ("client_id", "app")];
        assert_eq!(stage.test.post("/oauth/revoke", &[], &encode(&form)).await.status, 200);
        assert_eq!(user_info(&stage, "GET", &token).await.status, 401);
        let later = text(&sign_in(&stage, KNOWN).await, "access_token");
        t.clock.advance(std::time::Duration::from_mins(5));
        assert_eq!(user_info(&stage, "GET", &later).await.status, 401);
    })
    .await;
}

/// Where an authorization request by the browser of [`SESSION`] leads.
async fn leads_to(stage: &Stage<'_>, client: (&str, &str), more: &str) -> String {
    let target = authorize_target(client.0, client.1, more);
    let answer = stage.test.send("GET", &target, &[("cookie", &cookie(0x51))], "").await;
    assert_eq!(answer.status, 303, "{}", String::from_utf8_lossy(&answer.body));
    answer.header("location").to_owned()
}

#[tokio::test]
async fn what_the_client_wants_asked_is_asked_and_nothing_when_it_wants_nothing() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let app = ("app", REDIRECT);
        t.clock.advance(std::time::Duration::from_mins(1));
        let error = |location: &str| value_of(&parameters_of(location), "error");
        // Somebody who is not signed in.
        let target = authorize_target("app", REDIRECT, "&prompt=none");
        let answer = stage.test.get(&target).await;
        let parameters = parameters_of(answer.header("location"));
        assert_eq!(value_of(&parameters, "error"), "login_required");
        assert_eq!(value_of(&parameters, "iss"), "https://auth.test");
        assert_eq!(value_of(&parameters, "state"), "s&t=1");

        // Signed in at 10:00, and never asked to consent.
        let consent = leads_to(&stage, app, "&prompt=none").await;
        let see = async |location: &str| {
            let answer = stage.test.send("GET", location, &[("cookie", &cookie(0x51))], "").await;
            (
                answer.status.as_u16(),
                answer.headers.get("location").map(|value| value.to_str().unwrap().to_owned()),
            )
        };
        let (_, location) = see(&consent).await;
        assert_eq!(error(&location.unwrap()), "consent_required");
        // Once decided, it is decided.
        assert_eq!(see(&consent).await.1, None);

        // Consent of before counts, until the client wants to hear it again.
        let now = "timestamptz '2026-11-21 10:00Z'";
        stage
            .sql(&format!(
                "INSERT INTO oauth_consents (workspace_id, user_id, client_id, scopes, granted_at)
                 VALUES ('{WORKSPACE}', '{PERSON}', 'app', '{{openid,email,profile,notes:read}}', {now})"
            ))
            .await;
        let (_, location) = see(&leads_to(&stage, app, "&prompt=none").await).await;
        let location = location.unwrap();
        assert!(location.starts_with(REDIRECT), "{location}");
        assert!(!value_of(&parameters_of(&location), "code").is_empty());
        assert_eq!(see(&leads_to(&stage, app, "&prompt=consent").await).await, (200, None));

        // A new sign-in, if there was none since.
        for more in ["&prompt=login", "&max_age=0"] {
            let location = leads_to(&stage, app, more).await;
            assert!(location.starts_with("/sign-in?request="), "{more}: {location}");
            // The consent page is no way around it, nor is the form.
            let id = location.strip_prefix("/sign-in?request=").unwrap();
            assert_eq!(see(&format!("/consent?request={id}")).await, (303, Some(location.clone())), "{more}");
            assert_eq!(allow_with_the_session_of_before(&stage, id.parse().unwrap()).await, None, "{more}");
        }
        assert_eq!(error(&leads_to(&stage, app, "&prompt=none&max_age=0").await), "login_required");
        let location = leads_to(&stage, app, "&max_age=100000000").await;
        assert!(location.starts_with("/consent?request="), "{location}");
    })
    .await;
}

/// What comes of a code for a person who proved who they are when the session began.
async fn allow_with_the_session_of_before(stage: &Stage<'_>, id: Uuid) -> Option<String> {
    let mut scope =
        stage.test.origin.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
    let grant_id = scope.new_id();
    let person = SignedIn {
        session_id: SESSION,
        user_id: PERSON,
        auth_time: time::macros::datetime!(2026-11-21 10:00 UTC),
        amr: vec!["otp".to_owned()],
    };
    allow(&mut scope, &stage.test.origin, id, person, grant_id).await.unwrap()
}

#[tokio::test]
async fn a_hint_is_where_the_sign_in_page_begins() {
    test_database::run(async |t| {
        let stage = stage(t).await;
        let id = stage.begin("app", REDIRECT, "&login_hint=ann%40example.test").await;
        let page = stage.test.get(&format!("/sign-in?request={id}")).await;
        assert!(String::from_utf8_lossy(&page.body).contains("value=\"ann@example.test\""));
    })
    .await;
}
