//! The policy of the bench and tokens for it, signed as the origin signs them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use shared::gcra::Quota;
use shared::jwt::{Algorithm, KeyPhase, PolicyKey, SigningKey, TokenType};
use shared::policy::{
    Client, Credential, FreshnessBounds, Limits, Policy, Project, Revocations, Service, Upstream,
};

use crate::clock;

/// The issuer of the bench's tokens.
pub(crate) const ISSUER: &str = "http://127.0.0.1";
const WORKSPACE: &str = "00000000-0000-7000-8000-000000000002";

/// Signs the bench's tokens.
pub(crate) struct Mint {
    key: SigningKey,
    issued: u64,
}

impl Mint {
    /// A mint with a fresh key.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_seed("bench", seed), issued: 0 }
    }

    /// A token that no worker has seen.
    pub(crate) fn token(&mut self) -> Result<String> {
        self.issued = self.issued.saturating_add(1);
        let now = u64::try_from(clock::unix_millis() / 1000).context("a clock beyond reason")?;
        let claims = json!({
            "iss": ISSUER, "sub": "00000000-0000-7000-8000-000000000001", "aud": format!("{ISSUER}/notes"), "client_id": "bench",
            "iat": now, "exp": now.saturating_add(3600), "jti": format!("bench-{}", self.issued), "scope": "notes:read",
            "sid": "00000000-0000-7000-8000-000000000003", "workspace_id": WORKSPACE,
        });
        self.key.sign(TokenType::Access.typ(), &claims).context("the bench's token cannot be signed")
    }

    /// The JWK set for the peer.
    pub(crate) fn jwk_set(&self) -> Result<Value> {
        let mut jwk =
            serde_json::to_value(self.key.public_jwk()).context("the bench's key cannot be written")?;
        let members = jwk.as_object_mut().context("a JWK is an object")?;
        members.extend([
            ("kid".into(), "bench".into()),
            ("alg".into(), "EdDSA".into()),
            ("use".into(), "sig".into()),
        ]);
        Ok(json!({ "keys": [jwk] }))
    }

    /// One client, one project with one service at `upstream`, and limits that the load does not reach.
    pub(crate) fn policy(&self, upstream: &str) -> Policy {
        let unreached = Quota { requests: 1_000_000_000, window_seconds: 1 };
        let service = Service {
            upstreams: vec![Upstream::new(upstream)],
            scopes: ["notes:read"].into_iter().collect(),
            credentials: vec![Credential::AccessToken],
            ..Service::default()
        };
        let client = Client {
            workspace_id: WORKSPACE.into(),
            project: "notes".into(),
            redirect_uris: vec!["https://bench.test/cb".into()],
            scopes: ["notes:read"].into_iter().collect(),
            confidential: false,
            origins: Vec::new(),
        };
        Policy {
            issuer: ISSUER.into(),
            keys: vec![PolicyKey {
                kid: "bench".into(),
                alg: Algorithm::EdDsa,
                phase: KeyPhase::Active,
                signs: vec![TokenType::Access],
                not_after: None,
                jwk: self.key.public_jwk(),
            }],
            clients: BTreeMap::from([("bench".into(), client)]),
            projects: BTreeMap::from([(
                "notes".into(),
                Project {
                    workspace_id: WORKSPACE.into(),
                    services: BTreeMap::from([("api".into(), service)]),
                    ..Project::default()
                },
            )]),
            limits: Limits { address: unreached, credential: unreached, client: unreached },
            revocations: Revocations::default(),
            freshness: FreshnessBounds::default(),
            edge_keys: Vec::new(),
        }
    }
}
