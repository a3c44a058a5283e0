//! Two workspaces, each with a project, and tokens of every kind for them. Tests only.

use shared::jwt::{Audience, Claims, SigningKey, TokenType};
use shared::scope::Scopes;
use uuid::Uuid;

use crate::http::test_origin::{Answer, ISSUER, TestOrigin};
use crate::projects::{self, Declaration};
use crate::signing_keys::{self, Sealer};
use crate::test_database::{TestDatabase, execute};

/// The person who owns the workspace `demo`.
pub(crate) const OWNER: Uuid = Uuid::from_u128(0x11);
/// A plain member of it.
pub(crate) const MEMBER: Uuid = Uuid::from_u128(0x12);

/// An origin with two workspaces: `demo` with the project `notes` and the client `console`, `other` with `theirs`.
pub(crate) struct Desk {
    pub(crate) test: TestOrigin,
    pub(crate) key: SigningKey,
    pub(crate) demo: Uuid,
    pub(crate) other: Uuid,
}

impl Desk {
    pub(crate) async fn set(t: &TestDatabase) -> Self {
        let test = TestOrigin::new(t);
        let sealer = Sealer::new(&test.origin.configuration.key_encryption_key);
        let key = signing_keys::active(&t.database, &sealer).await.unwrap();
        let apply = async |workspace: &str, project: &str| {
            let file = format!(
                "[workspace]\nslug = \"{workspace}\"\n[[project]]\nslug = \"{project}\"\n[[project.service]]\nslug = \"api\"\n\
                 upstreams = [\"http://127.0.0.1:9100\"]\n[[client]]\nclient_id = \"{workspace}-console\"\nproject = \"{project}\"\n\
                 redirect_uris = [\"https://console.test/cb\"]\nscopes = [\"gateward:projects\"]\n"
            );
            projects::apply(&t.database, &Declaration::parse(&file).unwrap()).await.unwrap().workspace_id
        };
        let (demo, other) = (apply("demo", "notes").await, apply("other", "theirs").await);
        let person = |id: Uuid, role: &str| {
            format!(
                "INSERT INTO user_accounts (id, email, email_salt, created_at, updated_at)
                 VALUES ('{id}', '{role}@example.test', decode(repeat('00', 16), 'hex'), now(), now());
                 INSERT INTO workspace_memberships (workspace_id, user_id, role, created_at)
                 VALUES ('{demo}', '{id}', '{role}', now());"
            )
        };
        let people = [person(OWNER, "owner"), person(MEMBER, "member")].concat();
        execute(&mut t.admin().await, format!("SET search_path = auth_gateway; {people}")).await;
        Self { test, key, demo, other }
    }

    /// Claims of a service token of a workspace.
    pub(crate) fn service_claims(&self, workspace_id: Uuid, scope: &str) -> Claims {
        let now = self.test.origin.clock.unix_seconds();
        Claims {
            cnf: None,
            iss: Some(ISSUER.to_owned()),
            sub: None,
            aud: None,
            exp: now + 300,
            nbf: None,
            iat: now,
            jti: Uuid::from_u128(0x77).to_string(),
            client_id: None,
            scope: Scopes::parse(scope).unwrap(),
            sid: None,
            workspace_id: Some(workspace_id.to_string()),
            project: Some("notes".to_owned()),
            service: Some("deployer".to_owned()),
            acr: None,
            auth_time: None,
            amr: Vec::new(),
        }
    }

    /// Claims of a person's access token for the gateway itself, in `demo`.
    pub(crate) fn access_claims(&self, person: Uuid, scope: &str) -> Claims {
        Claims {
            sub: Some(person.to_string()),
            aud: Some(Audience::One(ISSUER.to_owned())),
            client_id: Some("demo-console".to_owned()),
            sid: Some(Uuid::from_u128(0x99).to_string()),
            project: None,
            service: None,
            ..self.service_claims(self.demo, scope)
        }
    }

    pub(crate) fn sign(&self, token_type: TokenType, claims: &Claims) -> String {
        format!("Bearer {}", self.key.sign(token_type.typ(), claims).unwrap())
    }

    /// A service token that may do everything with the projects of a workspace.
    pub(crate) fn deployer(&self, workspace_id: Uuid) -> String {
        self.sign(TokenType::Service, &self.service_claims(workspace_id, "gateward:projects"))
    }

    pub(crate) async fn send(&self, method: &str, target: &str, authorization: &str, body: &str) -> Answer {
        self.test.send(method, target, &[("authorization", authorization)], body).await
    }
}
