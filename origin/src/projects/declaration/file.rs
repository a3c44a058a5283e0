//! The shape of the file, with the place of everything that can be wrong. A member that is not known is a fault, since it is most
//! likely a misspelt one that is.

use serde::Deserialize;
use shared::policy::Credential;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) workspace: Workspace,
    #[serde(default)]
    pub(super) project: Vec<Project>,
    #[serde(default)]
    pub(super) client: Vec<Client>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workspace {
    pub(super) slug: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) slug: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) service: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) slug: Spanned<String>,
    pub(super) upstreams: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) scopes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) public: Vec<Public>,
    pub(super) credentials: Option<Spanned<Vec<Credential>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Public {
    pub(super) method: Spanned<String>,
    pub(super) path: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    #[serde(rename = "client_id")]
    pub(super) id: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) project: Spanned<String>,
    pub(super) redirect_uris: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) scopes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) confidential: bool,
}
