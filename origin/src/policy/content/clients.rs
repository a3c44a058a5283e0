//! OAuth clients, as the policy carries them.

use std::collections::BTreeMap;

use shared::policy::Client;

use super::left_out;
use crate::{database::Scope, policy::PolicyError, projects::ClientRow};

/// Those that are enabled, by `client_id`.
pub(super) async fn clients(scope: &mut Scope) -> Result<BTreeMap<String, Client>, PolicyError> {
    let rows: Vec<ClientRow> = sqlx::query_as(
        "SELECT c.client_id, c.workspace_id, p.slug AS project, c.redirect_uris, c.scopes, c.origins,
                c.kind = 'confidential' AS confidential, c.token_endpoint_auth_method, c.grant_types
         FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.enabled AND p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    let mut clients = BTreeMap::new();
    for row in rows {
        let client_id = row.client_id.clone();
        match row.client() {
            Some(client) => {
                clients.insert(client_id, client);
            }
            None => left_out("oauth_clients", &client_id),
        }
    }
    Ok(clients)
}
