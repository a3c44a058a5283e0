//! `POST /v1/sync/user`: what the source says of an account. An account is known by its id alone: an address that is another account's
//! is refused, never taken for a sign that the two are one.

use axum::{body::Bytes, extract::State, response::Response};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    fields::{self, Fields},
    raw_key::{self, Scrutiny},
    refused::{self, FaultKind, RecordFault, StoreError, SyncRefused},
    store::Outcome,
    webhook::Webhook,
};
use crate::{
    database::{Scope, sqlstate},
    events::{
        NewEvent,
        field::{CommitmentSalt, Moment, Pseudonym},
        payload::UserUpserted,
    },
    http::Origin,
    sign_in::EmailAddress,
};

/// How long the metadata may be, in bytes of JSON.
const MOST_METADATA_BYTES: usize = 16 * 1024;
/// How often an account is looked for again that somebody else makes at the same time.
const TRIES: u32 = 3;

/// What the source says.
struct UserRecord {
    id: Uuid,
    email: EmailAddress,
    /// `None`: what was said before stays.
    metadata: Option<Map<String, Value>>,
    last_sign_in_at: Option<OffsetDateTime>,
    updated_at: Option<OffsetDateTime>,
}

/// The account as it is.
#[derive(sqlx::FromRow)]
struct Account {
    /// Both are gone with an account that was erased.
    email: Option<String>,
    email_salt: Option<Vec<u8>>,
    status: String,
    metadata: Value,
    last_sign_in_at: Option<OffsetDateTime>,
    source_updated_at: Option<OffsetDateTime>,
}

/// The handler.
pub(super) async fn sync(State(origin): State<Origin>, webhook: Webhook, body: Bytes) -> Response {
    refused::answer(carry_out(&origin, &webhook, &body).await, &origin)
}

async fn carry_out(origin: &Origin, webhook: &Webhook, body: &[u8]) -> Result<Value, SyncRefused> {
    let record = UserRecord::read(body)?;
    let mut tries = 0;
    let outcome = loop {
        tries += 1;
        match upsert(origin, webhook, &record).await {
            Err(SyncRefused::Store(error)) if error.is_passing() && tries < TRIES => {}
            outcome => break outcome?,
        }
    };
    Ok(json!({
        "success": true,
        "message": if outcome == Outcome::Unchanged { "User unchanged" } else { "User synced" },
        "event_type": "UserUpserted",
        "user_id": record.id,
        "outcome": outcome.name(),
    }))
}

impl UserRecord {
    fn read(bytes: &[u8]) -> Result<Self, RecordFault> {
        let members = fields::object(bytes)?;
        if let Some(field) = raw_key::find(&members, &[], Scrutiny::Account) {
            let why = "looks like a credential itself; leave it out";
            return Err(RecordFault::field(FaultKind::RawKey, field, why));
        }
        let mut fields = Fields::of(&members);
        let id = fields.required_uuid("id");
        let email = fields.required_text("email").map(|text| {
            let email = EmailAddress::parse(text).ok();
            if email.is_none() {
                fields.fault(
                    "email",
                    "must be one e-mail address such as name@example.com, of 254 characters at most",
                );
            }
            email
        });
        let metadata = metadata(&mut fields);
        let last_sign_in_at = fields.moment("last_sign_in_at");
        let updated_at = fields.moment("updated_at");
        let whole = (|| Some(Self { id: id?, email: email??, metadata, last_sign_in_at, updated_at }))();
        fields.finish(whole)
    }

    fn event(
        &self,
        salt: CommitmentSalt,
        email: &str,
        last_sign_in_at: Option<OffsetDateTime>,
    ) -> UserUpserted {
        UserUpserted {
            email: Pseudonym::commit(salt, email),
            last_sign_in_at: last_sign_in_at.map(Moment),
            source_updated_at: self.updated_at.map(Moment),
        }
    }
}

fn metadata(fields: &mut Fields<'_>) -> Option<Map<String, Value>> {
    let value = fields.value("metadata")?;
    let members = value.as_object().filter(|_| {
        let length = serde_json::to_vec(value).map_or(usize::MAX, |text| text.len());
        // No text of Postgres holds it.
        length <= MOST_METADATA_BYTES && !holds_nul(value)
    });
    if members.is_none() {
        fields.fault("metadata", "must be an object of at most 16384 bytes of JSON, without NUL characters");
    }
    members.cloned()
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

async fn upsert(origin: &Origin, webhook: &Webhook, record: &UserRecord) -> Result<Outcome, SyncRefused> {
    let mut scope = webhook.on_platform(&origin.database).await?;
    let held: Option<Account> = sqlx::query_as(
        "SELECT email, email_salt, status, metadata, last_sign_in_at, source_updated_at
         FROM user_accounts WHERE id = $1 FOR UPDATE",
    )
    .bind(record.id)
    .fetch_optional(scope.connection())
    .await?;
    let (outcome, event) = match held {
        None => (Outcome::Created, Some(insert(&mut scope, origin, record).await?)),
        Some(held) => match update(&mut scope, held, record).await? {
            Some(event) => (Outcome::Updated, Some(event)),
            None => (Outcome::Unchanged, None),
        },
    };
    if let Some(event) = event {
        scope.append(NewEvent::of_platform(record.id, &event)).await?;
    }
    scope.commit().await?;
    Ok(outcome)
}

async fn insert(
    scope: &mut Scope,
    origin: &Origin,
    record: &UserRecord,
) -> Result<UserUpserted, SyncRefused> {
    let salt = CommitmentSalt(origin.randomness.bytes());
    let now = scope.clock().now();
    let made = sqlx::query(
        "INSERT INTO user_accounts
             (id, email, email_salt, created_at, updated_at, last_sign_in_at, metadata, synced_at, source_updated_at)
         VALUES ($1, $2, $3, $4, $4, $5, $6, $4, $7) ON CONFLICT DO NOTHING",
    )
    .bind(record.id)
    .bind(record.email.as_str())
    .bind(&salt.0[..])
    .bind(now)
    .bind(record.last_sign_in_at)
    .bind(Value::Object(record.metadata.clone().unwrap_or_default()))
    .bind(record.updated_at)
    .execute(scope.connection())
    .await?
    .rows_affected();
    if made == 1 {
        return Ok(record.event(salt, record.email.as_str(), record.last_sign_in_at));
    }
    let is_taken: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM user_accounts WHERE email = $1 AND id <> $2)")
            .bind(record.email.as_str())
            .bind(record.id)
            .fetch_one(scope.connection())
            .await?;
    // Or somebody else made the account meanwhile: the next look finds it.
    Err(if is_taken { email_taken() } else { StoreError::Raced.into() })
}

/// Brings an account to what the record says, where that is newer; its event, if anything changed that one tells of.
async fn update(
    scope: &mut Scope,
    held: Account,
    record: &UserRecord,
) -> Result<Option<UserUpserted>, SyncRefused> {
    let (Some(held_email), Some(salt), "active" | "suspended") =
        (held.email, held.email_salt, held.status.as_str())
    else {
        let why = "is an account's that was erased, and stays so";
        return Err(RecordFault::field(FaultKind::Conflict, "id", why).into());
    };
    let is_stale =
        matches!((record.updated_at, held.source_updated_at), (Some(this), Some(that)) if this < that);
    let email = if is_stale { held_email.as_str() } else { record.email.as_str() };
    let metadata = match &record.metadata {
        Some(members) if !is_stale => Value::Object(members.clone()),
        _ => held.metadata.clone(),
    };
    // The latest is the latest, however old the rest is.
    let last_sign_in_at = record.last_sign_in_at.max(held.last_sign_in_at);
    let stamp = record.updated_at.max(held.source_updated_at);
    let is_same = email == held_email && metadata == held.metadata && last_sign_in_at == held.last_sign_in_at;
    if is_same && stamp == held.source_updated_at {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE user_accounts
         SET email = $2, metadata = $3, last_sign_in_at = $4, source_updated_at = $5, synced_at = $6,
             updated_at = CASE WHEN $7 THEN updated_at ELSE $6 END
         WHERE id = $1",
    )
    .bind(record.id)
    .bind(email)
    .bind(metadata)
    .bind(last_sign_in_at)
    .bind(stamp)
    .bind(scope.clock().now())
    .bind(is_same)
    .execute(scope.connection())
    .await
    .map_err(|error| match sqlstate(&error).as_deref() {
        // unique_violation: of the address, since the id stays.
        Some("23505") => email_taken(),
        _ => error.into(),
    })?;
    let salt = CommitmentSalt(salt.try_into().unwrap_or_default());
    Ok((!is_same).then(|| record.event(salt, email, last_sign_in_at)))
}

/// Tells nothing of whose it is.
fn email_taken() -> SyncRefused {
    RecordFault::field(FaultKind::Conflict, "email", "is another account's").into()
}
