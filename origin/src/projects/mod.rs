//! Workspaces, projects with their services, and clients: declared in a file and applied as a whole, or a project alone through the
//! operators' interface. Each change of a project is a revision that can be looked at, compared and made anew.

mod apply;
mod change;
mod clients;
mod declaration;
mod difference;
mod endpoint;
mod revisions;
pub(crate) mod rows;
mod store;
#[cfg(test)]
mod tests;

pub use self::apply::{Applied, ApplyError, apply};
pub use self::change::{
    ChangeError, Changed, ListedProject, ShownProject, Terms, change, compare, history, list, revision,
    roll_back, show,
};
pub(crate) use self::clients::ClientRow;
pub use self::declaration::{
    CertificateDeclaration, ClientDeclaration, Declaration, DeclarationFault, DeclarationFaults,
    IssuerDeclaration, ProjectDeclaration, ServiceDeclaration, WorkspaceDeclaration,
};
pub use self::difference::{Change, difference};
pub use self::endpoint::routes;
pub use self::revisions::{DeclaredRevision, Revision};
