//! An origin on a test's own databases, and an edge that calls it. Tests only.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use shared::{
    assertion::{EdgeAssertion, ForwardedRequest, HEADER},
    base64url,
    jwt::SigningKey,
    time::UnixMillis,
};
use tower::ServiceExt as _;
use uuid::Uuid;

use super::{Origin, router};
use crate::{
    clock::Randomness,
    configuration::{ServeConfiguration, Source},
    database::Database,
    test_database::TestDatabase,
};

/// The issuer of every test.
pub(crate) const ISSUER: &str = "https://auth.test";
/// What webhooks send in every test.
pub(crate) const WEBHOOK_SECRET: &str = "the-secret-of-the-webhooks-in-tests";
const EDGE: &str = "edge-1";

/// An origin and its edge.
pub(crate) struct TestOrigin {
    pub(crate) origin: Origin,
    pub(crate) edge: SigningKey,
    pub(crate) router: Router,
}

/// What the origin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl TestOrigin {
    /// A fresh process on these databases. A second one is what a restart looks like.
    pub(crate) fn new(databases: &TestDatabase) -> Self {
        Self::with(databases, databases.database.clone(), &[])
    }

    /// The same with variables of its own and its own pool.
    pub(crate) fn with(databases: &TestDatabase, database: Database, variables: &[(&str, &str)]) -> Self {
        let edge = SigningKey::from_seed(EDGE, &[5; 32]);
        let shared::jwt::Jwk::Okp { x, .. } = edge.public_jwk() else { panic!("an Ed25519 key") };
        let edges = format!("{EDGE}={x}");
        let key = |byte| base64url::encode(&[byte; 32]);
        let (policy, code, encryption) = (key(1), key(2), key(3));
        let mut pairs = vec![
            ("ISSUER", ISSUER),
            // Not used: the pool is handed in.
            ("DATABASE_URL", "postgres://nobody@127.0.0.1/none"),
            ("POLICY_SIGNING_KEY", &policy),
            ("EDGE_PUBLIC_KEYS", &edges),
            ("CODE_MAC_KEY", &code),
            ("KEY_ENCRYPTION_KEY", &encryption),
            ("WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("SMTP_URL", "smtp://127.0.0.1:1"),
            ("MAIL_FROM", "Gateward <sign-in@example.test>"),
        ];
        pairs.extend_from_slice(variables);
        let configuration =
            ServeConfiguration::read(&Source::of(pairs)).unwrap_or_else(|faults| panic!("{faults}"));
        let origin = Origin::new(configuration, database, databases.clock.clone(), Randomness::System);
        Self { router: router(origin.clone()), origin, edge }
    }

    /// The edge's assertion for a request.
    pub(crate) fn assertion(&self, method: &str, target: &str, body: &[u8]) -> String {
        let request_id = Uuid::from_bytes(Randomness::System.bytes()).to_string();
        let request = ForwardedRequest { method, target, body };
        let now = UnixMillis(self.origin.clock.unix_millis());
        EdgeAssertion::new(EDGE, ISSUER, &request_id, "192.0.2.7", 1, &request, now)
            .sign(&self.edge)
            .expect("it serialises")
    }

    /// Sends a request as the edge would.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let assertion = self.assertion(method, target, body.as_bytes());
        let mut with_assertion = vec![(HEADER, assertion.as_str())];
        with_assertion.extend_from_slice(headers);
        self.send_bare(method, target, &with_assertion, body).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send_bare(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method.parse::<Method>().expect("a method")).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("the router is infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A GET through the edge.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    /// A form through the edge.
    pub(crate) async fn post(&self, target: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let mut with_type = vec![("content-type", "application/x-www-form-urlencoded")];
        with_type.extend_from_slice(headers);
        self.send("POST", target, &with_type, form).await
    }
}

impl Answer {
    /// A header's value, "" when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a visible header"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The status and `type` (the part after the last slash) of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let slug = self.json()["type"].as_str().expect("a type").rsplit('/').next().map(str::to_owned);
        (self.status.as_u16(), slug.expect("a slug"))
    }
}
