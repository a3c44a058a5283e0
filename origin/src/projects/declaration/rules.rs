//! What a declaration must keep to. Each rule says what is wrong and what would be right.

use std::collections::HashSet;

use shared::decide::is_gateway_path;
use shared::path::CanonicalPath;
use shared::policy::{Credential, PublicRoute};
use shared::redirect_uri;
use shared::scope::Scopes;
use toml::Spanned;
use url::Url;

use super::file::{Client, File, Project, Public, Service};
use super::{
    ClientDeclaration, Declaration, DeclarationFault, DeclarationFaults, ProjectDeclaration,
    ServiceDeclaration, WorkspaceDeclaration, line_of,
};

/// Upstreams of a service, and redirect URIs of a client, at most.
const UPSTREAMS: usize = 16;
const REDIRECT_URIS: usize = 32;

pub(super) fn check(text: &str, file: File) -> Result<Declaration, DeclarationFaults> {
    let mut rules = Rules { text, faults: Vec::new() };
    let workspace = WorkspaceDeclaration {
        name: rules.name("workspace.name", file.workspace.name, &file.workspace.slug),
        slug: rules.slug("workspace.slug", file.workspace.slug, &mut HashSet::new()),
    };
    if workspace.slug == "platform" {
        rules.faults.push(DeclarationFault {
            line: 1,
            field: "workspace.slug".to_owned(),
            why: "platform is the gateway's own workspace; choose another slug".to_owned(),
        });
    }
    let mut slugs = HashSet::new();
    let projects = file.project.into_iter().map(|project| rules.project(project, &mut slugs)).collect();
    let mut client_ids = HashSet::new();
    let clients = file.client.into_iter().map(|client| rules.client(client, &mut client_ids)).collect();
    if rules.faults.is_empty() {
        Ok(Declaration { workspace, projects, clients })
    } else {
        rules.faults.sort_by_key(|fault| fault.line);
        Err(DeclarationFaults(rules.faults))
    }
}

struct Rules<'a> {
    text: &'a str,
    faults: Vec<DeclarationFault>,
}

impl Rules<'_> {
    fn fault<T>(&mut self, field: &str, place: &Spanned<T>, why: impl Into<String>) {
        let line = line_of(self.text, place.span().start);
        self.faults.push(DeclarationFault { line, field: field.to_owned(), why: why.into() });
    }

    fn slug(&mut self, field: &str, slug: Spanned<String>, seen: &mut HashSet<String>) -> String {
        let text = slug.get_ref();
        let fits = (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !fits {
            self.fault(
                field,
                &slug,
                format!("{text:?} is no slug: use 1 to 63 lower-case letters, digits and dashes, and no dash first"),
            );
        }
        if !seen.insert(text.clone()) {
            self.fault(field, &slug, format!("{text:?} is there twice"));
        }
        slug.into_inner()
    }

    fn name(&mut self, field: &str, name: Option<Spanned<String>>, otherwise: &Spanned<String>) -> String {
        let Some(name) = name else { return otherwise.get_ref().clone() };
        let length = name.get_ref().chars().count();
        if !(1..=200).contains(&length) || name.get_ref().chars().any(char::is_control) {
            self.fault(field, &name, "a name has 1 to 200 characters, none of them a control character");
        }
        name.into_inner()
    }

    fn scopes(&mut self, field: &str, scopes: Vec<Spanned<String>>) -> Scopes {
        for scope in &scopes {
            let one = Scopes::parse(scope.get_ref())
                .is_some_and(|parsed| parsed.iter().eq([scope.get_ref().as_str()]));
            if !one {
                let why = format!(
                    "{:?} is no scope token (RFC 6749, 3.3): one word without spaces, quotes or \\",
                    scope.get_ref()
                );
                self.fault(field, scope, why);
            }
        }
        scopes.into_iter().map(Spanned::into_inner).collect()
    }

    fn project(&mut self, project: Project, seen: &mut HashSet<String>) -> ProjectDeclaration {
        if is_gateway_path(project.slug.get_ref()) {
            let why =
                format!("/{} is a path of the gateway itself; choose another slug", project.slug.get_ref());
            self.fault("project.slug", &project.slug, why);
        }
        let name = self.name("project.name", project.name, &project.slug);
        let slug = self.slug("project.slug", project.slug, seen);
        let mut slugs = HashSet::new();
        let mut services: Vec<_> =
            project.service.into_iter().map(|service| self.service(service, &mut slugs)).collect();
        services.sort_by(|one, other| one.slug.cmp(&other.slug));
        ProjectDeclaration { slug, name, services }
    }

    fn service(&mut self, service: Service, seen: &mut HashSet<String>) -> ServiceDeclaration {
        let slug = self.slug("project.service.slug", service.slug, seen);
        if !(1..=UPSTREAMS).contains(&service.upstreams.get_ref().len()) {
            let why = format!("a service has 1 to {UPSTREAMS} upstreams");
            self.fault("project.service.upstreams", &service.upstreams, why);
        }
        let upstreams = service.upstreams.into_inner();
        for upstream in &upstreams {
            if let Err(why) = upstream_rule(upstream.get_ref()) {
                self.fault("project.service.upstreams", upstream, why);
            }
        }
        let credentials = match service.credentials {
            None => vec![Credential::AccessToken, Credential::ServiceToken],
            Some(credentials) => {
                let mut distinct: Vec<Credential> = Vec::new();
                for credential in credentials.get_ref() {
                    if !distinct.contains(credential) {
                        distinct.push(*credential);
                    }
                }
                distinct
            }
        };
        ServiceDeclaration {
            slug,
            upstreams: upstreams.into_iter().map(Spanned::into_inner).collect(),
            scopes: self.scopes("project.service.scopes", service.scopes),
            public: service.public.into_iter().map(|route| self.public(route)).collect(),
            credentials,
        }
    }

    fn public(&mut self, Public { method, path }: Public) -> PublicRoute {
        if method.get_ref().is_empty() || !method.get_ref().bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.fault(
                "project.service.public.method",
                &method,
                "a method is upper-case letters, such as GET",
            );
        }
        let fixed = path.get_ref().strip_suffix("/*").unwrap_or(path.get_ref());
        let canonical =
            fixed.is_empty() || CanonicalPath::parse(fixed).is_ok_and(|path| path.matched_after(0) == fixed);
        if path.get_ref().is_empty() || fixed.contains('*') || !canonical {
            self.fault(
                "project.service.public.path",
                &path,
                "a path is absolute, decoded and canonical, such as /health, or ends with /* for everything below",
            );
        }
        PublicRoute { method: method.into_inner(), path: path.into_inner() }
    }

    fn client(&mut self, client: Client, seen: &mut HashSet<String>) -> ClientDeclaration {
        let client_id = client.id;
        let fits = (1..=128).contains(&client_id.get_ref().len())
            && client_id.get_ref().starts_with(|first: char| first.is_ascii_alphanumeric())
            && client_id
                .get_ref()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
        if !fits {
            self.fault("client.client_id", &client_id, "a client_id has 1 to 128 letters, digits and ._~-");
        }
        if !seen.insert(client_id.get_ref().clone()) {
            self.fault("client.client_id", &client_id, format!("{:?} is there twice", client_id.get_ref()));
        }
        if !(1..=REDIRECT_URIS).contains(&client.redirect_uris.get_ref().len()) {
            let why = format!("a client has 1 to {REDIRECT_URIS} redirect URIs");
            self.fault("client.redirect_uris", &client.redirect_uris, why);
        }
        let redirect_uris = client.redirect_uris.into_inner();
        for uri in &redirect_uris {
            if !redirect_uri::may_be_registered(uri.get_ref()) {
                let why = format!(
                    "{:?} may not be registered: use https, http on 127.0.0.1 or [::1], or a private scheme with a dot, \
                     without fragment or user (RFC 8252, RFC 9700)",
                    uri.get_ref()
                );
                self.fault("client.redirect_uris", uri, why);
            }
        }
        ClientDeclaration {
            name: self.name("client.name", client.name, &client_id),
            client_id: client_id.into_inner(),
            project: client.project.into_inner(),
            redirect_uris: redirect_uris.into_iter().map(Spanned::into_inner).collect(),
            scopes: self.scopes("client.scopes", client.scopes),
            confidential: client.confidential,
        }
    }
}

fn upstream_rule(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{text:?} {why}; use a base URL such as http://127.0.0.1:9100"));
    let Ok(url) = Url::parse(text) else { return wrong("is no URL") };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return wrong("is not http or https with a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an upstream has no user or password in it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("has a query or fragment");
    }
    if text.ends_with('/') {
        return wrong("ends with a slash");
    }
    Ok(())
}
