//! A small gateway made of fixed keys, for the corpus and for tests. It may not be reachable from a door.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use sha2::{Digest as _, Sha256};

use super::Gate;
use crate::{
    base64url,
    client::{AuthMethod, GrantType},
    code::CodeKey,
    gcra::Quota,
    jwt::{Algorithm, Jwk, KeyPhase, PolicyKey, SigningKey, TokenType, VerificationKey},
    policy::{
        ActivePolicy, CertificateIdentity, Client, Cors, Credential, ExternalIssuer, FreshnessBounds,
        IssuerKey, Limits, Policy, PolicyFault, PolicyStatement, Project, PublicRoute, RevocationFilter,
        Revocations, Rewrite, Route, Service, Upstream,
    },
    scope::Scopes,
    time::UnixMillis,
};

/// The sample's issuer.
pub const ISSUER: &str = "https://auth.test";
/// The sample's clock.
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// The shared secret of the sample's HS256 service tokens.
pub const SERVICE_SECRET: &[u8] = b"a shared secret of at least 32 bytes";

/// The key that signs the sample's tokens.
pub fn signing_key() -> SigningKey {
    SigningKey::from_seed("k1", &[1; 32])
}

/// Another key: in the policy as `k0`, retired at [`NOW`].
pub fn retired_key() -> SigningKey {
    SigningKey::from_seed("k0", &[2; 32])
}

/// The key of the sample's origin: it signs what the origin states.
pub fn origin_key() -> SigningKey {
    SigningKey::from_seed("policy", &[3; 32])
}

/// The key of the sample's edge.
pub fn edge_key() -> SigningKey {
    SigningKey::from_seed("edge-1", &[4; 32])
}

/// The key of the issuer that the sample's project `notes` trusts.
pub fn idp_key() -> SigningKey {
    SigningKey::from_seed("idp-1", &[6; 32])
}

/// That issuer.
pub const IDP: &str = "https://idp.test";

/// The DER of the client certificate that the sample knows, as far as anybody here looks at it.
pub const CERTIFICATE: &[u8] = b"a certificate";

/// The key of the sample's codes.
pub fn code_key() -> CodeKey {
    CodeKey::new([9; 32])
}

/// The sample's policy: two projects of two workspaces, a public and a confidential client, one revocation of each kind.
pub fn policy() -> Policy {
    let key = |key: &SigningKey, phase, not_after| PolicyKey {
        kid: key.kid().into(),
        alg: Algorithm::EdDsa,
        phase,
        signs: alloc::vec![TokenType::Access, TokenType::Service],
        not_after,
        jwk: key.public_jwk(),
    };
    let es256 = PolicyKey {
        kid: "p256".into(),
        alg: Algorithm::Es256,
        phase: KeyPhase::Active,
        signs: alloc::vec![TokenType::Access],
        not_after: None,
        // RFC 7515 appendix A.3.
        jwk: Jwk::Ec {
            crv: "P-256".into(),
            x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU".into(),
            y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0".into(),
        },
    };
    let client = |workspace: &str, project: &str, uris: &[&str], scopes: &[&str], confidential| Client {
        workspace_id: workspace.into(),
        project: project.into(),
        redirect_uris: uris.iter().map(|uri| String::from(*uri)).collect(),
        scopes: scopes.iter().copied().collect(),
        confidential,
        origins: if project == "notes" { alloc::vec!["https://app.test".into()] } else { Vec::new() },
        ..Client::default()
    };
    let service =
        |upstream: &str, scopes: &[&str], credentials: &[Credential], public: &[(&str, &str)]| Service {
            upstreams: alloc::vec![Upstream::new(upstream)],
            scopes: scopes.iter().copied().collect::<Scopes>(),
            credentials: credentials.to_vec(),
            public: public
                .iter()
                .map(|(method, path)| PublicRoute { method: (*method).into(), path: (*path).into() })
                .collect(),
            ..Service::default()
        };
    let mut notes = Project {
        workspace_id: "w1".into(),
        services: BTreeMap::from([(
            "api".into(),
            service(
                "http://notes.internal",
                &["notes:read"],
                &[Credential::AccessToken, Credential::ServiceToken],
                &[("GET", "/health"), ("GET", "/assets/*")],
            ),
        )]),
        cors: Some(Cors {
            origins: alloc::vec!["https://app.test".into()],
            methods: alloc::vec!["DELETE".into(), "PUT".into()],
            headers: alloc::vec!["authorization".into(), "content-type".into(), "dpop".into()],
            expose: alloc::vec!["etag".into()],
            credentials: true,
            max_age_seconds: 600,
        }),
        issuers: BTreeMap::from([(IDP.into(), idp())]),
        certificates: BTreeMap::from([
            (thumbprint(CERTIFICATE), certificate("cert-1", None)),
            (thumbprint(b"an old certificate"), certificate("cert-0", Some(NOW.seconds()))),
            (thumbprint(b"a revoked certificate"), certificate("revoked", None)),
        ]),
        credential_epoch: 7,
        ..Project::default()
    };
    notes.services.insert("files".into(), files());
    let captionacc = Project {
        workspace_id: "w2".into(),
        services: BTreeMap::from([(
            "prefect".into(),
            service("http://prefect.internal:4200", &[], &[Credential::ServiceToken], &[]),
        )]),
        ..Project::default()
    };
    let generous = Quota { requests: 1_000_000, window_seconds: 60 };
    Policy {
        issuer: ISSUER.into(),
        keys: alloc::vec![
            key(&signing_key(), KeyPhase::Active, None),
            key(&retired_key(), KeyPhase::Retiring, Some(NOW.seconds())),
            es256,
        ],
        clients: BTreeMap::from([
            (
                "app".into(),
                client("w1", "notes", &["https://app.test/cb"], &["notes:read", "notes:write"], false),
            ),
            ("cli".into(), client("w1", "notes", &["http://127.0.0.1/callback"], &["notes:read"], false)),
            (
                "backend".into(),
                client("w2", "captionacc", &["https://b.test/a", "https://b.test/b"], &["jobs"], true),
            ),
            (
                "worker".into(),
                Client {
                    auth_method: Some(AuthMethod::PrivateKeyJwt),
                    grant_types: alloc::vec![GrantType::ClientCredentials],
                    ..client("w1", "notes", &["https://worker.test/cb"], &["notes:read"], true)
                },
            ),
        ]),
        projects: BTreeMap::from([("notes".into(), notes), ("captionacc".into(), captionacc)]),
        limits: Limits { address: generous, credential: generous, client: generous },
        revocations: Revocations {
            tokens: BTreeMap::from([
                ("notes/revoked".into(), NOW.seconds().saturating_add(600)),
                ("revoked-jti".into(), NOW.seconds().saturating_add(600)),
            ]),
            grants: BTreeMap::from([("revoked-grant".into(), NOW.seconds().saturating_add(600))]),
            subjects: BTreeMap::from([("cut-off-subject".into(), NOW.seconds())]),
            clients: BTreeMap::from([("cli".into(), NOW.seconds().saturating_sub(60))]),
            filter: None,
        },
        freshness: FreshnessBounds::default(),
        edge_keys: Vec::new(),
    }
}

/// A service with every setting there is.
fn files() -> Service {
    let route = |methods: &[&str], path: &str, scopes: &[&str]| Route {
        methods: methods.iter().map(|method| String::from(*method)).collect(),
        path: path.into(),
        scopes: scopes.iter().copied().collect(),
        ..Route::default()
    };
    let rewrite = |from: &str, to: &str| Rewrite { from: from.into(), to: to.into() };
    Service {
        upstreams: alloc::vec![Upstream::new("http://files.internal/base")],
        rewrites: alloc::vec![rewrite("/v1/*", "/api/v1/*"), rewrite("/latest", "/api/v1/newest")],
        methods: ["DELETE", "GET", "HEAD", "POST", "PUT"].map(String::from).to_vec(),
        scopes: ["notes:read"].into_iter().collect(),
        credentials: Credential::ALL.to_vec(),
        public: alloc::vec![PublicRoute { method: "GET".into(), path: "/shared/*".into() }],
        routes: alloc::vec![
            route(&["DELETE", "PUT"], "/*", &["notes:write"]),
            Route {
                credentials: Some(alloc::vec![Credential::AccessToken]),
                ..route(&[], "/shared/private/*", &[])
            },
            Route { max_body_bytes: Some(10), timeout_millis: Some(50), ..route(&["POST"], "/small", &[]) },
            Route { hard_seconds: Some(1), ..route(&[], "/fresh", &[]) },
        ],
        max_body_bytes: Some(1000),
        timeout_millis: Some(5000),
        hard_seconds: Some(60),
        limits: Vec::new(),
        assertion: true,
    }
}

fn idp() -> ExternalIssuer {
    ExternalIssuer {
        audiences: alloc::vec!["https://notes.test".into()],
        keys: alloc::vec![
            IssuerKey { kid: "idp-1".into(), alg: Algorithm::EdDsa, jwk: idp_key().public_jwk() },
            IssuerKey {
                kid: "idp-p256".into(),
                alg: Algorithm::Es256,
                // RFC 7515 appendix A.3.
                jwk: Jwk::Ec {
                    crv: "P-256".into(),
                    x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU".into(),
                    y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0".into(),
                },
            },
        ],
        scope_claim: "scp".into(),
        scopes: ["notes:read"].into_iter().collect(),
    }
}

fn certificate(id: &str, not_after: Option<u64>) -> CertificateIdentity {
    CertificateIdentity {
        id: id.into(),
        service: "billing".into(),
        scopes: ["notes:read"].into_iter().collect(),
        not_after,
    }
}

fn thumbprint(der: &[u8]) -> String {
    base64url::encode(&Sha256::digest(der))
}

/// The sample's doors: what [`Gate`] borrows.
#[derive(Debug)]
pub struct Sample {
    active: ActivePolicy,
    code_key: CodeKey,
    service_secret: Option<VerificationKey>,
    origin_key: VerificationKey,
    edge_key: SigningKey,
}

impl Sample {
    /// The sample with this policy.
    pub fn new(policy: Policy) -> Result<Self, PolicyFault> {
        Self::with_filter(policy, None)
    }

    /// The same with the filter that the policy names.
    pub fn with_filter(policy: Policy, filter: Option<Arc<RevocationFilter>>) -> Result<Self, PolicyFault> {
        let statement = PolicyStatement::new(ISSUER, 1, NOW, b"");
        let active = ActivePolicy::from_parts(policy, statement, filter)?;
        Ok(Self {
            active,
            code_key: code_key(),
            service_secret: VerificationKey::hs256(SERVICE_SECRET),
            origin_key: origin_key().verification_key(),
            edge_key: edge_key(),
        })
    }

    /// The gate.
    pub fn gate(&self) -> Gate<'_> {
        Gate {
            active: &self.active,
            code_key: &self.code_key,
            service_secret: self.service_secret.as_ref(),
            metrics_token: None,
            origin_key: &self.origin_key,
            edge_key: Some(&self.edge_key),
            region: None,
            policy_made_at: NOW,
            has_exact_limits: true,
        }
    }
}
