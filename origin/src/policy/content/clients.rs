//! OAuth clients, as the policy carries them.

use std::collections::BTreeMap;

use shared::policy::Client;
use sqlx::FromRow;
use uuid::Uuid;

use super::left_out;
use crate::{database::Scope, policy::PolicyError, projects::rows::read_scopes};

#[derive(FromRow)]
struct ClientRow {
    client_id: String,
    workspace_id: Uuid,
    project: String,
    redirect_uris: Vec<String>,
    scopes: Vec<String>,
    origins: Vec<String>,
    confidential: bool,
}

/// Those that are enabled, by `client_id`.
pub(super) async fn clients(scope: &mut Scope) -> Result<BTreeMap<String, Client>, PolicyError> {
    let rows: Vec<ClientRow> = sqlx::query_as(
        "SELECT c.client_id, c.workspace_id, p.slug AS project, c.redirect_uris, c.scopes, c.origins,
                c.kind = 'confidential' AS confidential
         FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.enabled AND p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    let mut clients = BTreeMap::new();
    for row in rows {
        let Some(scopes) = read_scopes(&row.scopes) else {
            left_out("oauth_clients", &row.client_id);
            continue;
        };
        let client = Client {
            workspace_id: row.workspace_id.to_string(),
            project: row.project,
            redirect_uris: row.redirect_uris,
            scopes,
            confidential: row.confidential,
            origins: row.origins,
        };
        clients.insert(row.client_id, client);
    }
    Ok(clients)
}
