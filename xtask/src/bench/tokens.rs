//! The policy of the bench and tokens for it, signed as the origin signs them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use shared::code::{AuthorizationCode, CodeKey};
use shared::gcra::Quota;
use shared::jwt::{Algorithm, KeyPhase, PolicyKey, SigningKey, TokenType};
use shared::pkce::CodeVerifier;
use shared::policy::{
    Client, Credential, FilterName, FreshnessBounds, Limits, Policy, Project, RevocationFilter, Revocations,
    Route, Service, Upstream, entry_hash,
};

use crate::clock;

/// The issuer of the bench's tokens.
pub(crate) const ISSUER: &str = "http://127.0.0.1";
/// Where the bench's client is sent back to.
const REDIRECT_URI: &str = "https://bench.test/cb";
const GRANT: &str = "00000000-0000-7000-8000-000000000003";
/// The bench's longest run signs fewer tokens than this: as many are known to be valid when a filter of revocations is built.
const TOKENS_AT_MOST: u64 = 400_000;
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
            "sid": GRANT, "workspace_id": WORKSPACE,
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
            redirect_uris: vec![REDIRECT_URI.into()],
            scopes: ["notes:read"].into_iter().collect(),
            ..Client::default()
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

    /// As [`Self::policy`], with 10,000 clients, 1,000 routes in 100 projects and 100,000 revocations.
    pub(crate) fn big_policy(&self, upstream: &str) -> Result<(Policy, RevocationFilter)> {
        let mut policy = self.policy(upstream);
        let client = policy.clients.get("bench").cloned().context("the bench's policy has a client")?;
        policy.clients.extend((0..10_000).map(|number| (format!("client-{number:05}"), client.clone())));
        let routes = |count: u32| -> Vec<Route> {
            (0..count)
                .map(|number| Route {
                    path: format!("/section-{number}/*"),
                    scopes: ["notes:write"].into_iter().collect(),
                    ..Route::default()
                })
                .collect()
        };
        let notes = policy.projects.get_mut("notes").context("the bench's policy has a project")?;
        let service = notes.services.get_mut("api").context("the bench's project has a service")?;
        service.routes = routes(10);
        let service = service.clone();
        let notes = notes.clone();
        for number in 0..99 {
            let services =
                BTreeMap::from([("api".into(), Service { routes: routes(10), ..service.clone() })]);
            policy.projects.insert(format!("project-{number:02}"), Project { services, ..notes.clone() });
        }
        let revoked = (0..99_000).map(|number| entry_hash("jti", &format!("revoked-{number}"))).collect();
        let valid = (0..TOKENS_AT_MOST).map(|number| entry_hash("jti", &format!("bench-{number}")));
        let filter = RevocationFilter::build(revoked, valid.chain([entry_hash("grant", GRANT)]), usize::MAX)
            .context("the filter of revocations cannot be built")?;
        let forgotten_at = u64::try_from(clock::unix_millis() / 1000)?.saturating_add(3600);
        let since = (0..1_000).map(|number| (format!("revoked-later-{number}"), forgotten_at));
        policy.revocations = Revocations {
            tokens: since.collect(),
            filter: Some(FilterName::from(&filter)),
            ..Revocations::default()
        };
        Ok((policy, filter))
    }

    /// The form of a token request whose code is good and whose verifier is not the one it was issued for.
    pub(crate) fn wrong_verifier_form(code_key: &CodeKey) -> Result<String> {
        let verifier = |letter: &str| letter.repeat(43);
        let (good, wrong) = (verifier("a"), verifier("b"));
        let challenge = CodeVerifier::parse(&good).context("43 letters are a verifier")?.challenge();
        let expires_at = u64::try_from(clock::unix_millis() / 1000)?.saturating_add(3600);
        let code = AuthorizationCode::issue(code_key, [7; 16], expires_at, "bench", REDIRECT_URI, &challenge)
            .to_text();
        Ok(format!(
            "grant_type=authorization_code&client_id=bench&redirect_uri=https%3A%2F%2Fbench.test%2Fcb&code={code}&code_verifier={wrong}"
        ))
    }
}
