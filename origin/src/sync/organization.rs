//! What must be known before an organization's keys can be written: its workspace, which accounts there are, and which other keys have
//! the ids and hashes. Asked as a component of the gateway, since a workspace sees none of that; nothing of it is told but that it is so.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{key_record::KeyRecord, refused::StoreError, webhook::Webhook};
use crate::{
    database::Database,
    events::{
        NewEvent,
        field::{Identifier, Name},
        payload::WorkspaceCreated,
    },
};

/// A key that has an id or a hash of those in question.
pub(super) struct Holder {
    pub(super) workspace_id: Uuid,
    /// Whether it is the source's to change.
    pub(super) is_synced: bool,
}

/// What is known.
pub(super) struct Survey {
    /// The organization's workspace, if there is one.
    pub(super) workspace_id: Option<Uuid>,
    /// The accounts among those in question that are there, and not erased.
    pub(super) accounts: HashSet<Uuid>,
    pub(super) by_id: HashMap<Uuid, Holder>,
    /// Who has a hash.
    pub(super) by_hash: HashMap<[u8; 32], Uuid>,
}

/// The slug of a workspace that an organization's first record makes; one of this slug that was there before is the organization's too.
fn slug_of(organization_id: Uuid) -> String {
    format!("org-{organization_id}")
}

/// Looks at what is there for these records, all of one organization.
pub(super) async fn survey(
    database: &Database,
    webhook: &Webhook,
    organization_id: Uuid,
    records: &[&KeyRecord],
) -> Result<Survey, StoreError> {
    let mut scope = webhook.on_platform(database).await?;
    let workspace_id: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM workspaces WHERE id = $1 OR slug = $2 ORDER BY id <> $1 LIMIT 1")
            .bind(organization_id)
            .bind(slug_of(organization_id))
            .fetch_optional(scope.connection())
            .await?;
    let users: Vec<Uuid> = records.iter().map(|record| record.user_id).collect();
    let accounts: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM user_accounts WHERE id = ANY($1) AND status <> 'erased'")
            .bind(users)
            .fetch_all(scope.connection())
            .await?;
    let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
    let hashes: Vec<Vec<u8>> = records.iter().map(|record| record.key_hash.0.to_vec()).collect();
    let holders: Vec<(Uuid, Uuid, bool, Vec<u8>)> = sqlx::query_as(
        // Each half by its own index.
        "SELECT id, workspace_id, synced_at IS NOT NULL, key_hash FROM api_keys WHERE id = ANY($1)
         UNION
         SELECT id, workspace_id, synced_at IS NOT NULL, key_hash FROM api_keys WHERE key_hash = ANY($2)",
    )
    .bind(ids)
    .bind(hashes)
    .fetch_all(scope.connection())
    .await?;
    scope.rollback().await?;
    let mut survey = Survey {
        workspace_id,
        accounts: accounts.into_iter().collect(),
        by_id: HashMap::new(),
        by_hash: HashMap::new(),
    };
    for (id, workspace_id, is_synced, hash) in holders {
        if let Ok(hash) = <[u8; 32]>::try_from(hash) {
            survey.by_hash.insert(hash, id);
        }
        survey.by_id.insert(id, Holder { workspace_id, is_synced });
    }
    Ok(survey)
}

/// Makes the workspace of an organization whose first record this is, under the organization's own id.
pub(super) async fn make_workspace(
    database: &Database,
    webhook: &Webhook,
    organization_id: Uuid,
) -> Result<Uuid, StoreError> {
    let mut scope = webhook.on_platform(database).await?;
    let (slug, now) = (slug_of(organization_id), scope.clock().now());
    let made = sqlx::query(
        "INSERT INTO workspaces (id, slug, name, created_at, updated_at) VALUES ($1, $2, $2, $3, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(organization_id)
    .bind(&slug)
    .bind(now)
    .execute(scope.connection())
    .await?
    .rows_affected();
    if made == 0 {
        // Somebody else was first: the next look finds it.
        return Err(StoreError::Raced);
    }
    let event = WorkspaceCreated { slug: Identifier::of(&slug), name: Name::of(&slug) };
    scope.append(NewEvent::of(organization_id, organization_id, &event)).await?;
    scope.commit().await?;
    Ok(organization_id)
}
