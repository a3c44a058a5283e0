//! What every page for a person has in common: the layout, its headers, the assets, the pages of faults and the documentation of
//! problems. It may not read the database, and no page may need a script or anything of a third party.

pub mod assets;
mod documents;
mod fault;
mod form;
mod guard;
mod response;
#[cfg(test)]
pub(crate) mod test_browser;

use axum::{Router, routing::get};

pub use self::fault::{Action, Message, PageFault, name_faults};
pub use self::form::OwnForm;
pub use self::guard::{ForeignForm, require_own_form};
pub use self::response::{FormTargets, page, see_other};

/// Assets and documents: what needs no state.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/assets/{name}", get(assets::serve))
        .route("/docs/errors/{slug}", get(documents::problem))
}
