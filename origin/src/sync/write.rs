//! Writes one organization's records in one transaction of its workspace, with their events. Row-level security holds: no row of
//! another workspace can be seen or touched here.
//!
//! The workspace's projects are locked first, so that two who write its keys do so one after the other, as everything else that
//! changes keys does.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;
use shared::scope::Scopes;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    change::{Change, HeldKey, KeyState, decide},
    key_record::{Intent, KeyHash, KeyRecord},
    refused::{FaultKind, RecordFault, StoreError},
    store::{Outcome, Settled, Stored},
    webhook::Webhook,
};
use crate::{
    database::{Database, Scope},
    events::{
        NewEvent,
        field::{Moment, Name},
        payload::synced_key::{ApiKeyCreated, ApiKeyRevoked, ApiKeyRotated, ApiKeyUpdated},
    },
};

/// How long the policy names a revoked key, as when it is revoked by hand.
const NAMED_FOR: Duration = Duration::from_hours(1);
/// What stands where people look for a reason.
const REASON: &str = "revoked at the source";
pub(super) const NO_PROJECT: &str = "is no enabled project of the organization";
/// The name of the place of keys that are for no project yet.
const UNASSIGNED: &str = "Not assigned";

/// A project of the workspace.
#[derive(sqlx::FromRow)]
struct Project {
    id: Uuid,
    slug: String,
    name: String,
    enabled: bool,
}

/// The workspace's projects, and their places in the security service.
struct Places {
    projects: Vec<Project>,
    /// By project; `None` is the place of keys that are for none.
    places: HashMap<Option<Uuid>, Uuid>,
}

/// What is to be done for one record.
struct Work<'a> {
    record: &'a KeyRecord,
    change: Change,
    /// The project it is for from now on.
    project_id: Option<Uuid>,
    /// The one it was for.
    before: Option<Uuid>,
    had_hash: Option<KeyHash>,
}

/// Writes and commits.
pub(super) async fn write(
    database: &Database,
    webhook: &Webhook,
    workspace_id: Uuid,
    records: &[&KeyRecord],
) -> Result<Vec<Settled>, StoreError> {
    let mut scope = webhook.in_workspace(database, workspace_id).await?;
    let mut places = Places::read(&mut scope).await?;
    let held = read_held(&mut scope, records).await?;
    let mut settled = Vec::with_capacity(records.len());
    let mut works = Vec::with_capacity(records.len());
    for record in records {
        let held = held.get(&record.id);
        let before = held.and_then(|held| places.project_of(held.state.project_id));
        let chosen = match held {
            // Where it stands is no matter any more.
            Some(held) if held.is_revoked || record.intent == Intent::Revoke => Ok(before),
            _ => places.choose(record, before),
        };
        let project_id = match chosen {
            Ok(project_id) => project_id,
            Err(fault) => {
                settled.push(Err(fault));
                continue;
            }
        };
        let place = places.place(&mut scope, workspace_id, project_id).await?;
        let change = decide(held, record, place);
        settled.push(Ok(Stored {
            outcome: match change {
                Change::Insert { .. } => Outcome::Created,
                Change::Update(_) | Change::Revoke => Outcome::Updated,
                Change::Stamp | Change::Nothing => Outcome::Unchanged,
            },
            is_revoked: held.is_some_and(|held| held.is_revoked) || record.intent == Intent::Revoke,
            project: places.slug(if matches!(change, Change::Insert { .. } | Change::Update(_)) {
                project_id
            } else {
                before
            }),
        }));
        works.push(Work {
            record,
            change,
            project_id,
            before,
            had_hash: held.map(|held| held.state.key_hash),
        });
    }
    let is_nothing = works.iter().all(|work| matches!(work.change, Change::Nothing));
    if is_nothing {
        scope.rollback().await?;
        return Ok(settled);
    }
    insert(&mut scope, workspace_id, webhook, &works).await?;
    update(&mut scope, &works).await?;
    revoke(&mut scope, workspace_id, webhook, &works).await?;
    stamp(&mut scope, &works).await?;
    move_epochs(&mut scope, &works).await?;
    scope.append_all(works.iter().filter_map(|work| work.event(workspace_id)).collect()).await?;
    scope.commit().await?;
    Ok(settled)
}

impl Places {
    /// Locks the workspace's projects and finds their places.
    async fn read(scope: &mut Scope) -> Result<Self, StoreError> {
        let projects: Vec<Project> =
            sqlx::query_as("SELECT id, slug, name, enabled FROM projects ORDER BY id FOR UPDATE")
                .fetch_all(scope.connection())
                .await?;
        let places: Vec<(Option<Uuid>, Uuid)> = sqlx::query_as(
            // Of several the oldest, as when a key is made by hand: it is the last to be collected.
            "SELECT gateway_project_id, id FROM security_service.projects ORDER BY created_at DESC, id DESC",
        )
        .fetch_all(scope.connection())
        .await?;
        Ok(Self { projects, places: places.into_iter().collect() })
    }

    fn project_of(&self, place: Uuid) -> Option<Uuid> {
        self.places.iter().find(|(_, id)| **id == place).and_then(|(project_id, _)| *project_id)
    }

    fn slug(&self, project_id: Option<Uuid>) -> Option<String> {
        let project_id = project_id?;
        self.projects.iter().find(|project| project.id == project_id).map(|project| project.slug.clone())
    }

    /// The project a key is for: the one that is named, or the one it is for already, or the only one there is.
    fn choose(&self, record: &KeyRecord, before: Option<Uuid>) -> Result<Option<Uuid>, RecordFault> {
        let mut enabled = self.projects.iter().filter(|project| project.enabled);
        if let Some(slug) = &record.project {
            let named = enabled.find(|project| project.slug == *slug).map(|project| project.id);
            return named
                .map(Some)
                .ok_or_else(|| RecordFault::field(FaultKind::Field, "project", NO_PROJECT));
        }
        if before.is_some() {
            return Ok(before);
        }
        match (enabled.next(), enabled.next()) {
            (Some(only), None) => Ok(Some(only.id)),
            _ => Ok(None),
        }
    }

    /// The place of a project's keys, which is made with the first of them.
    async fn place(
        &mut self,
        scope: &mut Scope,
        workspace_id: Uuid,
        project_id: Option<Uuid>,
    ) -> Result<Uuid, StoreError> {
        if let Some(place) = self.places.get(&project_id) {
            return Ok(*place);
        }
        let named = self.projects.iter().find(|project| Some(project.id) == project_id);
        let name = named.map_or(UNASSIGNED, |project| project.name.as_str());
        let (id, now) = (scope.new_id(), scope.clock().now());
        sqlx::query(
            "INSERT INTO security_service.projects (id, workspace_id, gateway_project_id, name, created_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(workspace_id)
        .bind(project_id)
        .bind(name)
        .bind(now)
        .execute(scope.connection())
        .await
        .map_err(|error| match StoreError::from(error) {
            // Somebody else made the place of keys without a project, which no project's lock keeps.
            StoreError::Taken => StoreError::Raced,
            other => other,
        })?;
        self.places.insert(project_id, id);
        Ok(id)
    }
}

#[derive(sqlx::FromRow)]
struct HeldRow {
    id: Uuid,
    project_id: Uuid,
    user_id: Option<Uuid>,
    name: String,
    key_hash: Vec<u8>,
    scopes: Vec<String>,
    status: String,
    expires_at: Option<OffsetDateTime>,
    source_updated_at: Option<OffsetDateTime>,
}

/// The keys as they are, locked.
async fn read_held(scope: &mut Scope, records: &[&KeyRecord]) -> Result<HashMap<Uuid, HeldKey>, StoreError> {
    let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
    let rows: Vec<HeldRow> = sqlx::query_as(
        "SELECT id, project_id, user_id, name, key_hash, scopes, status, expires_at, source_updated_at
         FROM api_keys WHERE id = ANY($1) AND synced_at IS NOT NULL ORDER BY id FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, held(row))).collect())
}

fn held(row: HeldRow) -> HeldKey {
    HeldKey {
        state: KeyState {
            project_id: row.project_id,
            user_id: row.user_id.unwrap_or_default(),
            name: row.name,
            key_hash: KeyHash(row.key_hash.try_into().unwrap_or_default()),
            scopes: row.scopes.into_iter().collect(),
            expires_at: row.expires_at,
        },
        is_revoked: row.status == "revoked",
        source_updated_at: row.source_updated_at,
    }
}

/// Columns of many rows, for `unnest`.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    projects: Vec<Uuid>,
    users: Vec<Uuid>,
    names: Vec<String>,
    hashes: Vec<Vec<u8>>,
    /// Separated by spaces: arrays of arrays must all be of one length.
    scopes: Vec<String>,
    expiries: Vec<Option<OffsetDateTime>>,
    stamps: Vec<Option<OffsetDateTime>>,
    created: Vec<OffsetDateTime>,
    revoked: Vec<Option<OffsetDateTime>>,
}

impl Columns {
    fn push(&mut self, record: &KeyRecord, state: &KeyState) {
        self.ids.push(record.id);
        self.projects.push(state.project_id);
        self.users.push(state.user_id);
        self.names.push(state.name.clone());
        self.hashes.push(state.key_hash.0.to_vec());
        self.scopes.push(state.scopes.to_string());
        self.expiries.push(state.expires_at);
        self.stamps.push(record.updated_at);
    }
}

async fn insert(
    scope: &mut Scope,
    workspace_id: Uuid,
    webhook: &Webhook,
    works: &[Work<'_>],
) -> Result<(), StoreError> {
    let now = scope.clock().now();
    let mut columns = Columns::default();
    for work in works {
        if let Change::Insert { state, is_revoked } = &work.change {
            columns.push(work.record, state);
            columns.created.push(work.record.created_at.filter(|at| *at < now).unwrap_or(now));
            columns.revoked.push(is_revoked.then_some(now));
        }
    }
    let wanted = u64::try_from(columns.ids.len()).unwrap_or(u64::MAX);
    if wanted == 0 {
        return Ok(());
    }
    let made = sqlx::query(
        "INSERT INTO api_keys (id, workspace_id, project_id, user_id, name, prefix, key_hash, scopes, created_at, expires_at,
                               kind, created_by, status, revoked_at, revoked_by, revoke_reason, synced_at, source_updated_at)
         SELECT k.id, $1, k.project_id, k.user_id, k.name, '', k.key_hash, coalesce(string_to_array(nullif(k.scopes, ''), ' '), '{}'),
                k.created_at, k.expires_at, 'opaque_token', $2,
                CASE WHEN k.revoked_at IS NULL THEN 'active' ELSE 'revoked' END, k.revoked_at,
                CASE WHEN k.revoked_at IS NOT NULL THEN $2 END, CASE WHEN k.revoked_at IS NOT NULL THEN $3 END, $4, k.stamp
         FROM unnest($5::uuid[], $6::uuid[], $7::uuid[], $8::text[], $9::bytea[], $10::text[], $11::timestamptz[],
                     $12::timestamptz[], $13::timestamptz[], $14::timestamptz[])
              AS k (id, project_id, user_id, name, key_hash, scopes, created_at, expires_at, revoked_at, stamp)
         ON CONFLICT DO NOTHING",
    )
    .bind(workspace_id)
    .bind(webhook.name())
    .bind(REASON)
    .bind(now)
    .bind(columns.ids)
    .bind(columns.projects)
    .bind(columns.users)
    .bind(columns.names)
    .bind(columns.hashes)
    .bind(columns.scopes)
    .bind(columns.created)
    .bind(columns.expiries)
    .bind(columns.revoked)
    .bind(columns.stamps)
    .execute(scope.connection())
    .await?
    .rows_affected();
    // Somebody else wrote one of them since it was looked at: look again.
    if made == wanted { Ok(()) } else { Err(StoreError::Raced) }
}

async fn update(scope: &mut Scope, works: &[Work<'_>]) -> Result<(), StoreError> {
    let mut columns = Columns::default();
    for work in works {
        if let Change::Update(state) = &work.change {
            columns.push(work.record, state);
        }
    }
    if columns.ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE api_keys SET project_id = k.project_id, user_id = k.user_id, name = k.name, key_hash = k.key_hash,
                scopes = coalesce(string_to_array(nullif(k.scopes, ''), ' '), '{}'), expires_at = k.expires_at, synced_at = $1,
                source_updated_at = coalesce(k.stamp, api_keys.source_updated_at)
         FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::text[], $8::timestamptz[], $9::timestamptz[])
              AS k (id, project_id, user_id, name, key_hash, scopes, expires_at, stamp)
         WHERE api_keys.id = k.id",
    )
    .bind(scope.clock().now())
    .bind(columns.ids)
    .bind(columns.projects)
    .bind(columns.users)
    .bind(columns.names)
    .bind(columns.hashes)
    .bind(columns.scopes)
    .bind(columns.expiries)
    .bind(columns.stamps)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Flips the status, and has the policy name the keys, so that no edge goes by what it looked up before.
async fn revoke(
    scope: &mut Scope,
    workspace_id: Uuid,
    webhook: &Webhook,
    works: &[Work<'_>],
) -> Result<(), StoreError> {
    let revoked: Vec<Uuid> = works
        .iter()
        .filter(|work| matches!(work.change, Change::Revoke))
        .map(|work| work.record.id)
        .collect();
    if revoked.is_empty() {
        return Ok(());
    }
    let now = scope.clock().now();
    let actor: Value = scope.actor().to_json();
    sqlx::query(
        "UPDATE api_keys SET status = 'revoked', revoked_at = $2, revoked_by = $3, revoke_reason = $4, synced_at = $2
         WHERE id = ANY($1) AND status <> 'revoked'",
    )
    .bind(&revoked)
    .bind(now)
    .bind(webhook.name())
    .bind(REASON)
    .execute(scope.connection())
    .await?;
    sqlx::query(
        "INSERT INTO revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
         SELECT 'jti', k.id::text, $2, $3, $4, $5, $6, $3 FROM unnest($1::uuid[]) AS k (id)
         ON CONFLICT (kind, value) DO NOTHING",
    )
    .bind(&revoked)
    .bind(workspace_id)
    .bind(now)
    .bind(now + NAMED_FOR)
    .bind(REASON)
    .bind(actor)
    .execute(scope.connection())
    .await?;
    Ok(())
}

async fn stamp(scope: &mut Scope, works: &[Work<'_>]) -> Result<(), StoreError> {
    let (mut ids, mut stamps) = (Vec::new(), Vec::new());
    for work in works.iter().filter(|work| matches!(work.change, Change::Stamp)) {
        ids.push(work.record.id);
        stamps.push(work.record.updated_at);
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE api_keys SET source_updated_at = k.stamp FROM unnest($1::uuid[], $2::timestamptz[]) AS k (id, stamp)
         WHERE api_keys.id = k.id",
    )
    .bind(ids)
    .bind(stamps)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Has edges forget what they looked up of the projects whose keys have changed.
async fn move_epochs(scope: &mut Scope, works: &[Work<'_>]) -> Result<(), StoreError> {
    let changed: BTreeSet<Uuid> = works
        .iter()
        .filter(|work| matches!(work.change, Change::Insert { .. } | Change::Update(_) | Change::Revoke))
        .flat_map(|work| [work.project_id, work.before])
        .flatten()
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query("UPDATE projects SET credential_epoch = credential_epoch + 1 WHERE id = ANY($1)")
        .bind(changed.into_iter().collect::<Vec<_>>())
        .execute(scope.connection())
        .await?;
    Ok(())
}

impl Work<'_> {
    /// What happened, in the source's word for it; where it gave none, in the word for what it came to.
    fn event(&self, workspace_id: Uuid) -> Option<NewEvent> {
        let Self { record, project_id, .. } = self;
        let (state, is_revoked) = match &self.change {
            Change::Insert { state, is_revoked } => (Some(state), *is_revoked),
            Change::Update(state) => (Some(state), false),
            Change::Revoke => (None, true),
            Change::Stamp | Change::Nothing => return None,
        };
        let (user_id, name) = (record.user_id, Name::of(&record.name));
        let source_updated_at = record.stamp();
        let Some(state) = state.filter(|_| !is_revoked) else {
            let project_id = if is_revoked && state.is_none() { self.before } else { *project_id };
            let event = ApiKeyRevoked { user_id, project_id, name, source_updated_at };
            return Some(NewEvent::of(workspace_id, record.id, &event));
        };
        let permissions: Scopes = state.scopes.clone();
        let (project_id, expires_at) = (*project_id, state.expires_at.map(Moment));
        let intent = match (record.intent, self.had_hash) {
            (Intent::State, None) => Intent::Create,
            (Intent::State, Some(had)) if had != state.key_hash => Intent::Rotate,
            (Intent::State, Some(_)) => Intent::Update,
            (intent, _) => intent,
        };
        Some(match intent {
            Intent::Create => NewEvent::of(
                workspace_id,
                record.id,
                &ApiKeyCreated { user_id, project_id, name, permissions, expires_at, source_updated_at },
            ),
            Intent::Rotate => NewEvent::of(
                workspace_id,
                record.id,
                &ApiKeyRotated { user_id, project_id, name, permissions, expires_at, source_updated_at },
            ),
            Intent::Update | Intent::State | Intent::Revoke => NewEvent::of(
                workspace_id,
                record.id,
                &ApiKeyUpdated { user_id, project_id, name, permissions, expires_at, source_updated_at },
            ),
        })
    }
}
