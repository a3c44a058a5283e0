//! Workspaces, projects with their services, and clients, as they are declared in a file and applied as a whole.

mod apply;
mod declaration;
mod store;
#[cfg(test)]
mod tests;

pub use self::apply::{Applied, ApplyError, apply};
pub use self::declaration::{
    ClientDeclaration, Declaration, DeclarationFault, DeclarationFaults, ProjectDeclaration,
    ServiceDeclaration, WorkspaceDeclaration,
};
