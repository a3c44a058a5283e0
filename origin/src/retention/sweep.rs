//! Deletes rows that are long over. Every rule is one line of [`RULES`]: a table, how long it keeps what is over, and the statement
//! that deletes one batch. Batches are transactions of their own, and rows that somebody else deletes are left to them, so that any
//! number of origins may sweep, and be killed, at any time. It may not take a row that anything is still decided by.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use crate::configuration::Retention;
use crate::database::{Actor, Component, Database, DatabaseError};
use crate::http::Origin;

/// Rows of a batch: its locks are gone again within some tens of milliseconds.
const BATCH: i64 = 500;
/// How often an origin sweeps.
const EVERY: Duration = Duration::from_mins(5);

/// How long rows of a table are kept after they are over.
#[derive(Clone, Copy)]
enum Kept {
    /// Not at all: they say no more than their absence would.
    Not,
    /// As long as [`Retention::expired`]: what was short-lived, for people who look into what happened.
    Expired,
    /// As long as [`Retention::ended`]: what people and operators look up by itself.
    Ended,
}

struct Rule {
    table: &'static str,
    kept: Kept,
    /// `$1` the moment before which a row must have been over, `$2` the size of a batch.
    statement: &'static str,
}

/// In this order, since a session goes after the grants that came of it, and a grant after its tokens.
const RULES: [Rule; 11] = [
    Rule {
        table: "rate_limits",
        kept: Kept::Not,
        statement: "DELETE FROM rate_limits WHERE key IN (
            SELECT key FROM rate_limits WHERE tat < $1 ORDER BY tat LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "client_assertions",
        kept: Kept::Not,
        statement: "DELETE FROM client_assertions WHERE (client_id, jti_hash) IN (
            SELECT client_id, jti_hash FROM client_assertions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
            FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "sign_in_challenges",
        kept: Kept::Expired,
        statement: "DELETE FROM sign_in_challenges WHERE id IN (
            SELECT id FROM sign_in_challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "authorization_requests",
        kept: Kept::Expired,
        statement: "DELETE FROM authorization_requests WHERE id IN (
            SELECT id FROM authorization_requests WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "oauth_authorization_codes",
        kept: Kept::Expired,
        statement: "DELETE FROM oauth_authorization_codes WHERE code_hash IN (
            SELECT code_hash FROM oauth_authorization_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
            FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "revocations",
        kept: Kept::Expired,
        statement: "DELETE FROM revocations WHERE (kind, value) IN (
            SELECT kind, value FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "oauth_tokens",
        kept: Kept::Expired,
        statement: "DELETE FROM oauth_tokens WHERE jti IN (
            SELECT jti FROM oauth_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "oauth_grants",
        kept: Kept::Ended,
        statement: "DELETE FROM oauth_grants WHERE id IN (
            SELECT id FROM oauth_grants AS g WHERE coalesce(revoked_at, expires_at) < $1
               AND NOT EXISTS (SELECT FROM oauth_tokens AS t WHERE t.grant_id = g.id)
            ORDER BY coalesce(revoked_at, expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "oauth_consents",
        kept: Kept::Ended,
        statement: "DELETE FROM oauth_consents WHERE (user_id, client_id) IN (
            SELECT user_id, client_id FROM oauth_consents WHERE revoked_at < $1 ORDER BY revoked_at LIMIT $2
            FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "sessions",
        kept: Kept::Ended,
        statement: "DELETE FROM sessions WHERE id IN (
            SELECT id FROM sessions AS s WHERE coalesce(ended_at, absolute_expires_at) < $1
               AND NOT EXISTS (SELECT FROM oauth_grants AS g WHERE g.session_id = s.id)
               AND NOT EXISTS (SELECT FROM authorization_requests AS r WHERE r.session_id = s.id)
               AND NOT EXISTS (SELECT FROM oauth_authorization_codes AS c WHERE c.session_id = s.id)
            ORDER BY coalesce(ended_at, absolute_expires_at) LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
    Rule {
        table: "gateway_tokens",
        kept: Kept::Ended,
        statement: "DELETE FROM gateway_tokens WHERE jti IN (
            SELECT jti FROM gateway_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    },
];

/// What a sweep took.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Rows deleted, by table.
    pub deleted: BTreeMap<&'static str, u64>,
    /// Why a table could not be swept; the others were.
    pub failed: BTreeMap<&'static str, String>,
}

impl Swept {
    /// Rows of all tables.
    pub fn total(&self) -> u64 {
        self.deleted.values().sum()
    }
}

/// Sweeps every table until nothing in it is over. Dropping it leaves whole batches done.
pub async fn sweep(database: &Database, retention: Retention) -> Swept {
    let mut swept = Swept::default();
    for rule in &RULES {
        let mut rows = 0;
        loop {
            match batch(database, rule, retention).await {
                Ok(0) => break,
                Ok(deleted) => rows += deleted,
                Err(error) => {
                    swept.failed.insert(rule.table, error.to_string());
                    break;
                }
            }
        }
        swept.deleted.insert(rule.table, rows);
    }
    swept
}

async fn batch(database: &Database, rule: &Rule, retention: Retention) -> Result<u64, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::Retention)).await?;
    let kept = match rule.kept {
        Kept::Not => Duration::ZERO,
        Kept::Expired => retention.expired,
        Kept::Ended => retention.ended,
    };
    let before = scope.clock().now() - kept;
    let deleted = sqlx::query(rule.statement)
        .bind(before)
        .bind(BATCH)
        .execute(scope.connection())
        .await?
        .rows_affected();
    scope.commit().await?;
    Ok(deleted)
}

/// Sweeps now and then until `stop` is ready.
pub async fn keep_swept(origin: Origin, stop: impl Future<Output = ()>) {
    let sweeping = async {
        let mut turns = tokio::time::interval(EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let swept = sweep(&origin.database, origin.configuration.retention).await;
            if swept.total() > 0 {
                tracing::info!(rows = swept.total(), "rows that were over have been deleted");
            }
            for (table, error) in &swept.failed {
                tracing::warn!(table, %error, "a table could not be swept");
            }
        }
    };
    tokio::select! {
        () = sweeping => {}
        () = stop => {}
    }
}
