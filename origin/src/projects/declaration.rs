//! The file that `gateward apply` reads: its shape, and the rules a declaration keeps by itself. Every fault is found in one go, with
//! its line. It may not look at the database.

mod file;
mod rules;

use std::fmt;

use shared::policy::{Credential, PublicRoute};
use shared::scope::Scopes;

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

/// A project with all of its services: one that is not named goes.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectDeclaration {
    /// The first segment of its path.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Its services, by slug.
    pub services: Vec<ServiceDeclaration>,
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceDeclaration {
    /// The second segment of its path.
    pub slug: String,
    /// Where requests go, in turn.
    pub upstreams: Vec<String>,
    /// What every request needs.
    pub scopes: Scopes,
    /// Requests that need no credential.
    pub public: Vec<PublicRoute>,
    /// What it accepts.
    pub credentials: Vec<Credential>,
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
    /// Whether it has a secret (RFC 6749, 2.1).
    pub confidential: bool,
}

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeclarationFault {
    /// Where it is, counted from 1.
    pub line: usize,
    /// The field, such as `project.service.upstreams`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// Every fault of a file; never empty.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
pub struct DeclarationFaults(pub Vec<DeclarationFault>);

impl fmt::Display for DeclarationFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the file has {count} fault{}; nothing was changed:", if count == 1 { "" } else { "s" })?;
        for DeclarationFault { line, field, why } in &self.0 {
            write!(f, "\n  line {line}, {field}: {why}")?;
        }
        Ok(())
    }
}

impl Declaration {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, DeclarationFaults> {
        let file: file::File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let fault = DeclarationFault {
                line: line_of(text, at),
                field: "syntax".to_owned(),
                why: error.message().to_owned(),
            };
            DeclarationFaults(vec![fault])
        })?;
        rules::check(text, file)
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
