//! What is declared: the file that `gateward apply` reads and the JSON of the operators' interface have one shape and one set of
//! rules. Every fault is found in one go, with its place. It may not look at the database.

mod amount;
mod canonical;
mod file;
mod place;
mod rules;

use std::fmt;

use serde_json::Value;
use shared::client::{AuthMethod, GrantType};
use shared::policy::{CertificateIdentity, Cors, Limit, Service};
use shared::scope::Scopes;

use crate::oauth::ClientKey;

/// One workspace and what it shall have.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The workspace.
    pub workspace: WorkspaceDeclaration,
    /// Its projects; those it has beyond these are left alone.
    pub projects: Vec<ProjectDeclaration>,
    /// Its clients; those it has beyond these are left alone.
    pub clients: Vec<ClientDeclaration>,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceDeclaration {
    /// Its short name, by which it is found again.
    pub slug: String,
    /// Its name.
    pub name: String,
}

/// A project with all it has: what is not named goes.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectDeclaration {
    /// The first segment of its path.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Which pages of other origins may call it.
    pub cors: Option<Cors>,
    /// Limits on all its services together.
    pub limits: Vec<Limit>,
    /// Its services, by slug.
    pub services: Vec<ServiceDeclaration>,
    /// Issuers whose tokens its services may accept, by issuer.
    pub issuers: Vec<IssuerDeclaration>,
    /// Client certificates its services may accept, by id.
    pub certificates: Vec<CertificateDeclaration>,
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceDeclaration {
    /// The second segment of its path.
    pub slug: String,
    /// Its settings, as the policy carries them.
    pub settings: Service,
}

/// An issuer of JWTs that the project trusts.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerDeclaration {
    /// `iss`, byte by byte.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// What `aud` must name one of.
    pub audiences: Vec<String>,
    /// Scopes that its tokens may bring.
    pub scopes: Scopes,
    /// The claim that holds them.
    pub scope_claim: String,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateDeclaration {
    /// SHA-256 of its DER (RFC 8705, 3.1).
    pub thumbprint: [u8; 32],
    /// Whom it stands for.
    pub identity: CertificateIdentity,
}

/// A client (RFC 6749, 2).
#[derive(Debug, Clone, PartialEq)]
pub struct ClientDeclaration {
    /// `client_id`.
    pub client_id: String,
    /// What people see on the consent page.
    pub name: String,
    /// The slug of its project.
    pub project: String,
    /// Where codes may go.
    pub redirect_uris: Vec<String>,
    /// What it may ask for.
    pub scopes: Scopes,
    /// Web origins whose pages may call the token and revocation endpoints for it.
    pub origins: Vec<String>,
    /// Whether it authenticates (RFC 6749, 2.1).
    pub confidential: bool,
    /// The one way in which it does; a confidential one without may show its secret in either way.
    pub auth_method: Option<AuthMethod>,
    /// How it may get tokens, in their order.
    pub grant_types: Vec<GrantType>,
    /// The public keys of its assertions.
    pub keys: Vec<ClientKey>,
}

impl ClientDeclaration {
    /// Whether there is a secret that it authenticates by.
    pub(super) fn has_secret(&self) -> bool {
        self.confidential && self.auth_method != Some(AuthMethod::PrivateKeyJwt)
    }
}

/// One fault of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeclarationFault {
    /// The line, counted from 1, where it is a text that has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Its place, as a JSON Pointer (RFC 6901).
    pub pointer: String,
    /// The field, such as `project.service.upstreams`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// Every fault of a declaration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
pub struct DeclarationFaults(pub Vec<DeclarationFault>);

impl fmt::Display for DeclarationFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "the declaration has {count} fault{}; nothing was changed:",
            if count == 1 { "" } else { "s" }
        )?;
        for DeclarationFault { line, pointer, field, why } in &self.0 {
            match line {
                Some(line) => write!(f, "\n  line {line}, {field}: {why}")?,
                None => write!(f, "\n  {pointer}: {why}")?,
            }
        }
        Ok(())
    }
}

impl DeclarationFaults {
    /// A text or value that has not the shape of a declaration.
    fn of_shape(line: Option<usize>, why: String) -> Self {
        Self(vec![DeclarationFault { line, pointer: String::new(), field: "syntax".to_owned(), why }])
    }
}

impl Declaration {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, DeclarationFaults> {
        let file: file::File = toml::from_str(text).map_err(|error| {
            let line = place::line_of(text, error.span().map_or(0, |span| span.start));
            DeclarationFaults::of_shape(Some(line), error.message().to_owned())
        })?;
        rules::check(|rules| rules.file(file)).map_err(|faults| place::with_lines(text, faults))
    }
}

impl ProjectDeclaration {
    /// Reads a project alone, as JSON of the same shape. `slug` is the one it is asked for by, and may be left out.
    pub fn from_json(slug: &str, mut value: Value) -> Result<Self, DeclarationFaults> {
        if let Value::Object(members) = &mut value {
            members.entry("slug").or_insert_with(|| slug.into());
        }
        let project: file::Project = serde_json::from_value(value)
            .map_err(|error| DeclarationFaults::of_shape(None, error.to_string()))?;
        rules::check(|rules| rules.project_alone(slug, project))
    }

    /// As JSON of the file's shape, in one form: what has its default is left out, lists with names are in their order.
    pub fn to_json(&self) -> Value {
        // Strings, numbers and lists of them: it cannot fail.
        serde_json::to_value(file::Project::from(self)).unwrap_or_default()
    }
}
