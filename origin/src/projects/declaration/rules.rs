//! What a declaration must keep to. Each rule says what is wrong and what would be right, and all of them are asked before anything
//! is refused.

mod bounds;
mod client;
mod service;
mod trust;

use std::collections::HashSet;

use shared::decide::is_gateway_path;
use shared::policy::Credential;
use shared::scope::Scopes;

use super::place::{self, Step};
use super::{
    Declaration, DeclarationFault, DeclarationFaults, ProjectDeclaration, WorkspaceDeclaration, file,
};

/// What a service accepts that does not say.
pub(super) const DEFAULT_CREDENTIALS: [Credential; 2] = [Credential::AccessToken, Credential::ServiceToken];
/// How long browsers remember a preflight's answer where nothing is said.
pub(super) const DEFAULT_MAX_AGE_SECONDS: u32 = 600;
/// Where an issuer's tokens hold their scopes (RFC 8693, 4.2).
pub(super) const DEFAULT_SCOPE_CLAIM: &str = "scope";

/// Services, issuers and certificates of a project, at most.
const SERVICES: usize = 200;
const ISSUERS: usize = 16;
const CERTIFICATES: usize = 1_000;

/// Runs `read` and gives what it made of a declaration, or every fault it found.
pub(super) fn check<T>(read: impl FnOnce(&mut Rules) -> T) -> Result<T, DeclarationFaults> {
    let mut rules = Rules { path: Vec::new(), faults: Vec::new() };
    let read = read(&mut rules);
    if rules.faults.is_empty() { Ok(read) } else { Err(DeclarationFaults(rules.faults)) }
}

/// Where the walk is, and what was found on the way.
pub(super) struct Rules {
    path: Vec<Step>,
    faults: Vec<DeclarationFault>,
}

impl Rules {
    /// What is here is wrong.
    fn fault(&mut self, why: impl Into<String>) {
        self.faults.push(DeclarationFault {
            line: None,
            pointer: place::pointer(&self.path),
            field: place::field(&self.path),
            why: why.into(),
        });
    }

    /// Looks at a member of what is here.
    fn at<T>(&mut self, member: &'static str, look: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Member(member));
        let seen = look(self);
        self.path.pop();
        seen
    }

    /// Looks at every element of a list that is a member of what is here.
    fn each<I, T>(
        &mut self,
        member: &'static str,
        items: Vec<I>,
        mut look: impl FnMut(&mut Self, I) -> T,
    ) -> Vec<T> {
        self.at(member, |rules| {
            let look_at = |(index, item)| {
                rules.path.push(Step::Element(index));
                let seen = look(rules, item);
                rules.path.pop();
                seen
            };
            items.into_iter().enumerate().map(look_at).collect()
        })
    }

    /// Says that a list is too long.
    fn at_most(&mut self, member: &'static str, count: usize, most: usize) {
        if count > most {
            self.at(member, |rules| rules.fault(format!("there are {count}; at most {most} are possible")));
        }
    }

    pub(super) fn file(&mut self, file: file::File) -> Declaration {
        let workspace = self.at("workspace", |rules| rules.workspace(file.workspace));
        let mut slugs = HashSet::new();
        let projects =
            self.each("project", file.project, |rules, project| rules.project(project, &mut slugs));
        let mut client_ids = HashSet::new();
        let clients = self.each("client", file.client, |rules, client| rules.client(client, &mut client_ids));
        Declaration { workspace, projects, clients }
    }

    /// A project that is not part of a file.
    pub(super) fn project_alone(&mut self, slug: &str, project: file::Project) -> ProjectDeclaration {
        if project.slug != slug {
            self.at("slug", |rules| {
                rules.fault(format!(
                    "the declaration is of another project than {slug:?}; a slug cannot change"
                ));
            });
        }
        self.project(project, &mut HashSet::new())
    }

    fn workspace(&mut self, workspace: file::Workspace) -> WorkspaceDeclaration {
        if workspace.slug == "platform" {
            self.at("slug", |rules| {
                rules.fault("platform is the gateway's own workspace; choose another slug");
            });
        }
        WorkspaceDeclaration {
            name: self.name(workspace.name, &workspace.slug),
            slug: self.slug(workspace.slug, &mut HashSet::new()),
        }
    }

    fn project(&mut self, project: file::Project, seen: &mut HashSet<String>) -> ProjectDeclaration {
        if is_gateway_path(&project.slug) {
            let why = format!("/{} is a path of the gateway itself; choose another slug", project.slug);
            self.at("slug", |rules| rules.fault(why));
        }
        let name = self.name(project.name, &project.slug);
        let slug = self.slug(project.slug, seen);
        let cors = project.cors.map(|cors| self.at("cors", |rules| rules.cors(cors)));
        let limits = self.limits(project.limit);
        self.at_most("service", project.service.len(), SERVICES);
        let mut slugs = HashSet::new();
        let mut services =
            self.each("service", project.service, |rules, service| rules.service(service, &mut slugs));
        services.sort_by(|one, other| one.slug.cmp(&other.slug));
        self.at_most("issuer", project.issuer.len(), ISSUERS);
        let mut names = HashSet::new();
        let mut issuers =
            self.each("issuer", project.issuer, |rules, issuer| rules.issuer(issuer, &mut names));
        issuers.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        self.at_most("certificate", project.certificate.len(), CERTIFICATES);
        let (mut ids, mut thumbprints) = (HashSet::new(), HashSet::new());
        let mut certificates = self.each("certificate", project.certificate, |rules, certificate| {
            rules.certificate(certificate, &mut ids, &mut thumbprints)
        });
        certificates.sort_by(|one, other| one.identity.id.cmp(&other.identity.id));
        ProjectDeclaration { slug, name, cors, limits, services, issuers, certificates }
    }

    fn slug(&mut self, slug: String, seen: &mut HashSet<String>) -> String {
        self.at("slug", |rules| {
            let fits = (1..=63).contains(&slug.len())
                && !slug.starts_with('-')
                && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !fits {
                rules.fault(format!(
                    "{slug:?} is no slug: use 1 to 63 lower-case letters, digits and dashes, and no dash first"
                ));
            }
            if !seen.insert(slug.clone()) {
                rules.fault(format!("{slug:?} is there twice"));
            }
        });
        slug
    }

    fn name(&mut self, name: Option<String>, otherwise: &str) -> String {
        let Some(name) = name else { return otherwise.to_owned() };
        if !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            self.at("name", |rules| {
                rules.fault("a name has 1 to 200 characters, none of them a control character");
            });
        }
        name
    }

    fn scopes(&mut self, scopes: Vec<String>) -> Scopes {
        let checked = self.each("scopes", scopes, |rules, scope| {
            let one = Scopes::parse(&scope).is_some_and(|parsed| parsed.iter().eq([scope.as_str()]));
            if !one {
                rules.fault(format!(
                    "{scope:?} is no scope token (RFC 6749, 3.3): one word without spaces, quotes or \\"
                ));
            }
            scope
        });
        checked.into_iter().collect()
    }
}
