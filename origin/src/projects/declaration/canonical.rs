//! A declaration in the shape of the file, in one form: two that mean the same are the same.

use shared::base64url;
use shared::policy::{Credential, Limit, PublicRoute, Rewrite, Route, Upstream};
use shared::scope::Scopes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::amount::Amount;
use super::rules::{DEFAULT_CREDENTIALS, DEFAULT_MAX_AGE_SECONDS, DEFAULT_SCOPE_CLAIM};
use super::{CertificateDeclaration, IssuerDeclaration, ProjectDeclaration, ServiceDeclaration, file};

impl From<&ProjectDeclaration> for file::Project {
    fn from(project: &ProjectDeclaration) -> Self {
        Self {
            slug: project.slug.clone(),
            name: (project.name != project.slug).then(|| project.name.clone()),
            cors: project.cors.as_ref().map(|cors| file::Cors {
                origins: cors.origins.clone(),
                methods: cors.methods.clone(),
                headers: cors.headers.clone(),
                expose: cors.expose.clone(),
                credentials: cors.credentials,
                max_age: (cors.max_age_seconds != DEFAULT_MAX_AGE_SECONDS)
                    .then(|| Amount::of_seconds(cors.max_age_seconds.into())),
            }),
            limit: project.limits.iter().map(limit).collect(),
            service: project.services.iter().map(service).collect(),
            issuer: project.issuers.iter().map(issuer).collect(),
            certificate: project.certificates.iter().map(certificate).collect(),
        }
    }
}

fn service(ServiceDeclaration { slug, settings }: &ServiceDeclaration) -> file::Service {
    file::Service {
        slug: slug.clone(),
        upstreams: settings.upstreams.iter().map(upstream).collect(),
        methods: settings.methods.clone(),
        scopes: texts(&settings.scopes),
        credentials: other_than(&DEFAULT_CREDENTIALS, &settings.credentials),
        public: settings.public.iter().map(public).collect(),
        max_body: settings.max_body_bytes.map(Amount::Number),
        timeout: settings.timeout_millis.map(|millis| Amount::of_millis(millis.into())),
        hard_limit: settings.hard_seconds.map(Amount::of_seconds),
        assertion: settings.assertion,
        rewrite: settings.rewrites.iter().map(rewrite).collect(),
        route: settings.routes.iter().map(route).collect(),
        limit: settings.limits.iter().map(limit).collect(),
    }
}

fn other_than(default: &[Credential], credentials: &[Credential]) -> Option<Vec<Credential>> {
    (credentials != default).then(|| credentials.to_vec())
}

fn upstream(Upstream { url, weight, region }: &Upstream) -> file::Upstream {
    file::Upstream { url: url.clone(), weight: (*weight).into(), region: region.clone() }
}

fn public(PublicRoute { method, path }: &PublicRoute) -> file::Public {
    file::Public { method: method.clone(), path: path.clone() }
}

fn rewrite(Rewrite { from, to }: &Rewrite) -> file::Rewrite {
    file::Rewrite { from: from.clone(), to: to.clone() }
}

fn route(route: &Route) -> file::Route {
    file::Route {
        path: route.path.clone(),
        methods: route.methods.clone(),
        scopes: texts(&route.scopes),
        credentials: route.credentials.clone(),
        max_body: route.max_body_bytes.map(Amount::Number),
        timeout: route.timeout_millis.map(|millis| Amount::of_millis(millis.into())),
        hard_limit: route.hard_seconds.map(Amount::of_seconds),
        limit: route.limits.iter().map(limit).collect(),
    }
}

fn limit(Limit { by, quota, tier }: &Limit) -> file::Limit {
    file::Limit {
        by: *by,
        requests: quota.requests.into(),
        window: Amount::of_seconds(quota.window_seconds.into()),
        tier: *tier,
    }
}

fn issuer(issuer: &IssuerDeclaration) -> file::Issuer {
    file::Issuer {
        name: issuer.issuer.clone(),
        jwks_uri: issuer.jwks_uri.clone(),
        audiences: issuer.audiences.clone(),
        scopes: texts(&issuer.scopes),
        scope_claim: (issuer.scope_claim != DEFAULT_SCOPE_CLAIM).then(|| issuer.scope_claim.clone()),
    }
}

fn certificate(
    CertificateDeclaration { thumbprint, identity }: &CertificateDeclaration,
) -> file::Certificate {
    let not_after = identity.not_after.and_then(|second| {
        let moment = OffsetDateTime::from_unix_timestamp(i64::try_from(second).ok()?).ok()?;
        moment.format(&Rfc3339).ok()
    });
    file::Certificate {
        id: identity.id.clone(),
        thumbprint: base64url::encode(thumbprint),
        service: identity.service.clone(),
        scopes: texts(&identity.scopes),
        not_after,
    }
}

fn texts(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(str::to_owned).collect()
}
