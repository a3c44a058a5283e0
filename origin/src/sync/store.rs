//! Stores well-formed records: those of one organization in one transaction, in its workspace. A record that cannot be stored says why,
//! and holds up no other.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{
    key_record::{Intent, KeyRecord},
    organization::{self, Survey},
    refused::{FaultKind, RecordFault, StoreError},
    webhook::Webhook,
    write,
};
use crate::database::Database;

/// How often records are tried again that others wrote at the same time.
const TRIES: u32 = 5;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The key is new.
    Created,
    /// It has changed.
    Updated,
    /// It was so before, or the record is older than what is held.
    Unchanged,
}

impl Outcome {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A key as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) outcome: Outcome,
    pub(super) is_revoked: bool,
    /// The project it is for; `None` while that is none of the gateway's.
    pub(super) project: Option<String>,
}

/// What became of one record.
pub(super) type Settled = Result<Stored, RecordFault>;

/// Stores `records` and says of each, in their order, what became of it. No id or hash may be in them twice.
pub(super) async fn store(
    database: &Database,
    webhook: &Webhook,
    records: &[KeyRecord],
) -> Result<Vec<Settled>, StoreError> {
    let mut by_organization: Vec<(Uuid, Vec<usize>)> = Vec::new();
    let mut places: HashMap<Uuid, usize> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let place = *places.entry(record.organization_id).or_insert_with(|| {
            by_organization.push((record.organization_id, Vec::new()));
            by_organization.len().saturating_sub(1)
        });
        if let Some((_, indexes)) = by_organization.get_mut(place) {
            indexes.push(index);
        }
    }
    let mut settled: Vec<(usize, Settled)> = Vec::with_capacity(records.len());
    for (organization_id, indexes) in by_organization {
        // Smaller and smaller parts, where records are in each other's way.
        let mut parts = vec![indexes];
        while let Some(mut part) = parts.pop() {
            let chosen: Vec<&KeyRecord> = part.iter().filter_map(|index| records.get(*index)).collect();
            match store_part(database, webhook, organization_id, &chosen).await {
                Ok(outcomes) => settled.extend(part.into_iter().zip(outcomes)),
                Err(StoreError::Taken) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.push(rest);
                    parts.push(part);
                }
                Err(StoreError::Taken) => {
                    let taken = RecordFault::field(FaultKind::Conflict, "key_hash", HASH_TAKEN);
                    settled.extend(part.into_iter().map(|index| (index, Err(taken.clone()))));
                }
                Err(error) => return Err(error),
            }
        }
    }
    settled.sort_by_key(|(index, _)| *index);
    Ok(settled.into_iter().map(|(_, settled)| settled).collect())
}

const HASH_TAKEN: &str = "is another key's hash";

async fn store_part(
    database: &Database,
    webhook: &Webhook,
    organization_id: Uuid,
    records: &[&KeyRecord],
) -> Result<Vec<Settled>, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_part(database, webhook, organization_id, records).await {
            Err(error) if error.is_passing() && tries < TRIES => {
                tracing::debug!(%error, "records are tried again");
            }
            outcome => return outcome,
        }
    }
}

async fn try_part(
    database: &Database,
    webhook: &Webhook,
    organization_id: Uuid,
    records: &[&KeyRecord],
) -> Result<Vec<Settled>, StoreError> {
    let survey = organization::survey(database, webhook, organization_id, records).await?;
    let ids: HashSet<Uuid> = records.iter().map(|record| record.id).collect();
    let mut settled: Vec<Option<Settled>> = Vec::with_capacity(records.len());
    let mut good: Vec<&KeyRecord> = Vec::with_capacity(records.len());
    for record in records {
        let fault = judge(&survey, record, &ids, records.len())?;
        if fault.is_none() {
            good.push(record);
        }
        settled.push(fault.map(Err));
    }
    if good.is_empty() {
        return Ok(settled.into_iter().flatten().collect());
    }
    let workspace_id = match survey.workspace_id {
        Some(workspace_id) => workspace_id,
        None => organization::make_workspace(database, webhook, organization_id).await?,
    };
    let mut written = write::write(database, webhook, workspace_id, &good).await?.into_iter();
    Ok(settled.into_iter().filter_map(|settled| settled.or_else(|| written.next())).collect())
}

/// What is wrong with a record, by what is there already.
fn judge(
    survey: &Survey,
    record: &KeyRecord,
    ids: &HashSet<Uuid>,
    count: usize,
) -> Result<Option<RecordFault>, StoreError> {
    let conflict = |field, why| Ok(Some(RecordFault::field(FaultKind::Conflict, field, why)));
    let holder = survey.by_id.get(&record.id);
    if let Some(holder) = holder {
        if Some(holder.workspace_id) != survey.workspace_id {
            return conflict("id", "is a key's of another organization");
        }
        if !holder.is_synced {
            return conflict("id", "is a key's that was made here, and is changed here");
        }
    }
    // A key that is there is revoked by its id, whatever account and hash come along.
    if record.intent == Intent::Revoke && holder.is_some() {
        return Ok(None);
    }
    if !survey.accounts.contains(&record.user_id) {
        let why = "is no account that is known here; sync the account first";
        return Ok(Some(RecordFault::field(FaultKind::Field, "user_id", why)));
    }
    // A workspace is made for what is stored, not for what is refused.
    if survey.workspace_id.is_none() && record.project.is_some() {
        return Ok(Some(RecordFault::field(FaultKind::Field, "project", write::NO_PROJECT)));
    }
    match survey.by_hash.get(&record.key_hash.0) {
        Some(owner) if *owner != record.id => {
            // Its owner may be about to give it up: then one after the other.
            if ids.contains(owner) && count > 1 {
                return Err(StoreError::Taken);
            }
            conflict("key_hash", HASH_TAKEN)
        }
        _ => Ok(None),
    }
}
