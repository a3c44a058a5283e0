//! The OAuth endpoints through the origin's own router, against a real Postgres.

mod authorize;
mod client_credentials;
mod introspect;
mod openid;
mod parallel;
mod redeem;
mod refresh;
mod revoke;

use std::sync::Arc;

use serde_json::Value;
use shared::{base64url, jwt::Claims, pkce::CodeVerifier, time::UnixMillis};
use url::Url;
use uuid::Uuid;

use super::{ClientSecret, SignedIn, allow};
use crate::{
    database::{Actor, Component},
    http::test_origin::{Answer, TestOrigin},
    test_database::{TestDatabase, execute},
};

pub(crate) const WORKSPACE: Uuid = Uuid::from_u128(0xA);
pub(crate) const PERSON: Uuid = Uuid::from_u128(0x1);
pub(crate) const SESSION: Uuid = Uuid::from_u128(0x51);
pub(crate) const OTHER_SESSION: Uuid = Uuid::from_u128(0x52);
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const REDIRECT: &str = "https://app.test/cb";

/// A workspace with two clients of one project and one of another, a person with two sessions, and an origin.
pub(crate) struct Stage<'a> {
    pub(crate) databases: &'a TestDatabase,
    pub(crate) test: Arc<TestOrigin>,
    /// The secret of the client `backend`.
    pub(crate) secret: ClientSecret,
}

impl<'a> Stage<'a> {
    pub(crate) async fn set(databases: &'a TestDatabase) -> Self {
        let test = Arc::new(TestOrigin::new(databases));
        let secret = ClientSecret::generate(&test.origin.randomness);
        let hash = format!("sha256('{}')", secret.expose());
        let now = "timestamptz '2026-11-21 10:00Z'";
        let client = |id: u128, client_id: &str, project: u128, uris: &str, secret: &str| {
            let kind = if secret == "NULL" { "public" } else { "confidential" };
            format!(
                "INSERT INTO oauth_clients (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, secret_hash, created_at, updated_at)
                 VALUES ('{}', '{client_id}', '{WORKSPACE}', '{}', '{client_id}', '{{{uris}}}', '{{notes:read,notes:write}}', '{kind}', {secret}, {now}, {now});",
                Uuid::from_u128(id), Uuid::from_u128(project)
            )
        };
        let project = |id: u128, slug: &str| {
            let id = Uuid::from_u128(id);
            format!(
                "INSERT INTO projects (id, workspace_id, slug, name, created_at, updated_at)
                 VALUES ('{id}', '{WORKSPACE}', '{slug}', '{slug}', {now}, {now});
                 INSERT INTO services (id, workspace_id, project_id, slug, upstreams, credentials, created_at, updated_at)
                 VALUES ('{id}', '{WORKSPACE}', '{id}', 'api', '{{http://127.0.0.1:9100}}', '{{access_token}}', {now}, {now});"
            )
        };
        let session = |id: Uuid, byte: u8| {
            format!(
                "INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at, absolute_expires_at, amr, auth_time)
                 VALUES ('{id}', '{PERSON}', sha256(decode(repeat('{byte:02x}', 32), 'hex')), {now}, {now},
                         {now} + interval '1 day', {now} + interval '1 day', '{{otp}}', {now});"
            )
        };
        let mut statements = format!(
            "SET search_path = auth_gateway;
             INSERT INTO workspaces (id, slug, name, created_at, updated_at) VALUES ('{WORKSPACE}', 'demo', 'Demo', {now}, {now});
             INSERT INTO user_accounts (id, email, email_salt, created_at, updated_at)
             VALUES ('{PERSON}', 'ann@example.test', decode(repeat('00', 16), 'hex'), {now}, {now});"
        );
        statements += &project(0xB0, "notes");
        statements += &project(0xB1, "captions");
        statements += &client(0xC0, "app", 0xB0, REDIRECT, "NULL");
        statements += &client(0xC1, "other", 0xB0, "https://other.test/cb", "NULL");
        statements += &client(0xC2, "backend", 0xB1, "https://b.test/a,https://b.test/b", &hash);
        statements += &client(0xC3, "cli", 0xB0, "http://127.0.0.1/callback", "NULL");
        statements += &session(SESSION, 0x51);
        statements += &session(OTHER_SESSION, 0x52);
        execute(&mut databases.admin().await, statements).await;
        Self { databases, test, secret }
    }

    /// Runs a statement past every policy.
    pub(crate) async fn sql(&self, statement: &str) {
        let statement = format!("SET search_path = auth_gateway; {statement}");
        execute(&mut self.databases.admin().await, statement).await;
    }

    /// The event types of all grants, in the order of their aggregate.
    pub(crate) async fn events(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT event_type FROM auth_gateway.events WHERE aggregate_type = 'grant' ORDER BY aggregate_id, version",
        )
        .fetch_all(&mut self.databases.admin().await)
        .await
        .unwrap()
    }

    /// The entries of the policy by kind.
    pub(crate) async fn revoked(&self) -> (Vec<String>, Vec<String>) {
        let compiled = self.test.origin.policy.current(&self.test.origin.database).await.unwrap();
        let revocations = &compiled.policy.revocations;
        (revocations.tokens.keys().cloned().collect(), revocations.grants.keys().cloned().collect())
    }

    /// Begins an authorization request as the browser of a session would. Yields its id.
    pub(crate) async fn begin(&self, client_id: &str, redirect_uri: &str, more: &str) -> Uuid {
        let target = authorize_target(client_id, redirect_uri, more);
        let answer = self.test.get(&target).await;
        assert_eq!(answer.status, 303, "{}", String::from_utf8_lossy(&answer.body));
        let location = answer.header("location");
        location.strip_prefix("/sign-in?request=").expect("a person who is not signed in").parse().unwrap()
    }

    /// The person of a session allows a request. Yields the parameters of the redirect.
    pub(crate) async fn allow(&self, id: Uuid, session_id: Uuid) -> Option<Vec<(String, String)>> {
        let actor = Actor::System(Component::AuthorizationServer);
        let mut scope = self.test.origin.database.scope(actor).await.unwrap();
        let grant_id = scope.new_id();
        let person = SignedIn {
            session_id,
            user_id: PERSON,
            auth_time: scope.clock().now(),
            amr: vec!["otp".to_owned()],
        };
        let location = allow(&mut scope, &self.test.origin, id, person, grant_id).await.unwrap()?;
        scope.commit().await.unwrap();
        Some(parameters_of(&location))
    }

    /// A code for the client `app`.
    pub(crate) async fn code(&self) -> String {
        self.code_for("app", REDIRECT, "").await
    }

    /// A code for any client.
    pub(crate) async fn code_for(&self, client_id: &str, redirect_uri: &str, more: &str) -> String {
        let id = self.begin(client_id, redirect_uri, more).await;
        let parameters = self.allow(id, SESSION).await.expect("an open request");
        value_of(&parameters, "code")
    }

    /// A request to the token endpoint.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.test.post("/oauth/token", &[], &encode(form)).await
    }

    /// Redeems a code as the client `app`.
    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        self.token(&redemption(code)).await
    }

    /// The first tokens of a new grant of the client `app`.
    pub(crate) async fn tokens(&self) -> Value {
        let answer = self.redeem(&self.code().await).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Refreshes as `client_id`.
    pub(crate) async fn refresh_as(&self, client_id: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut form =
            vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client_id)];
        form.extend_from_slice(more);
        self.token(&form).await
    }

    /// Refreshes as the client `app`, which must work. Yields the next refresh token.
    pub(crate) async fn refreshed(&self, token: &str) -> String {
        let answer = self.refresh_as("app", token, &[]).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        text(&answer.json(), "refresh_token")
    }

    /// Verifies an access token as an edge would.
    pub(crate) async fn verify(&self, token: &str) -> Claims {
        let compiled = self.test.origin.policy.current(&self.test.origin.database).await.unwrap();
        let unverified = shared::jwt::Unverified::parse(token).unwrap();
        let now = UnixMillis(self.databases.clock.unix_millis());
        let (_, key) = compiled.key(unverified.key_id().unwrap(), now).expect("a key of the policy");
        shared::jwt::verify_own(token, "at+jwt", key).unwrap()
    }
}

/// The parameters of a redemption by the client `app`.
pub(crate) fn redemption(code: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "app"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

/// A good authorization request, with parameters added.
pub(crate) fn authorize_target(client_id: &str, redirect_uri: &str, more: &str) -> String {
    let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge().to_text();
    let query = encode(&[
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("state", "s&t=1"),
    ]);
    format!("/oauth/authorize?{query}{more}")
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The query of a `Location`.
pub(crate) fn parameters_of(location: &str) -> Vec<(String, String)> {
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

/// The value of the only parameter of this name.
pub(crate) fn value_of(parameters: &[(String, String)], name: &str) -> String {
    let values: Vec<_> = parameters.iter().filter(|(known, _)| known == name).collect();
    assert_eq!(values.len(), 1, "{name} in {parameters:?}");
    values[0].1.clone()
}

/// A member of a JSON object, as text.
pub(crate) fn text(json: &Value, member: &str) -> String {
    json[member].as_str().unwrap_or_else(|| panic!("{member} in {json}")).to_owned()
}

/// The cookie of a session whose token is 32 times this byte.
pub(crate) fn cookie(byte: u8) -> String {
    format!("__Host-gateward_session={}", base64url::encode(&[byte; 32]))
}

/// Asserts an OAuth error, with its headers.
pub(crate) fn assert_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), text(&answer.json(), "error").as_str()), (status, code));
    assert_eq!(answer.header("cache-control"), "no-store");
}
