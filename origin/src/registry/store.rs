//! The registry's tables: what is written where, and only by a newer version.

use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::row::Row;
use crate::database::{DatabaseError, Scope};

/// One of the registry's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `public.oauth_clients`.
    Clients,
    /// `public.projects`.
    Projects,
}

/// All of them.
pub(crate) const TABLES: [Table; 2] = [Table::Clients, Table::Projects];

impl Table {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clients => "oauth_clients",
            Self::Projects => "projects",
        }
    }

    /// The aggregate it shows.
    pub(crate) fn aggregate(self) -> &'static str {
        match self {
            Self::Clients => "client",
            Self::Projects => "project",
        }
    }

    /// Its columns besides `id`.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Clients => &[
                "workspace_id",
                "project_id",
                "client_id",
                "name",
                "kind",
                "redirect_uris",
                "origins",
                "scopes",
                "enabled",
                "version",
                "created_at",
                "updated_at",
            ],
            Self::Projects => &[
                "workspace_id",
                "slug",
                "name",
                "services",
                "revision",
                "version",
                "created_at",
                "updated_at",
            ],
        }
    }

    /// A column's value in the batch, or what is known already where the batch does not say.
    fn value(name: &str, column: &str) -> String {
        let known = format!("(SELECT known.{column} FROM {name} AS known WHERE known.id = batch.id)");
        match column {
            "slug" => format!("coalesce(batch.slug, {known})"),
            // Not known at all when the row was lost; then comparing finds it.
            "created_at" => format!("coalesce(batch.created_at, {known}, batch.updated_at)"),
            _ => format!("batch.{column}"),
        }
    }
}

/// Writes rows where the table has none or an older one, into the table or, with a `suffix`, into its namesake.
pub(crate) async fn write(scope: &mut Scope, rows: &[Row], suffix: &str) -> Result<u64, DatabaseError> {
    let mut written = 0;
    for table in TABLES {
        let batch: Vec<&Row> = rows.iter().filter(|row| row.table == table).collect();
        if batch.is_empty() {
            continue;
        }
        let name = format!("public.{}{suffix}", table.name());
        let columns = table.columns();
        let values: Vec<String> = columns.iter().map(|column| Table::value(&name, column)).collect();
        let set: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        let statement = format!(
            "INSERT INTO {name} AS present (id, {columns})
             SELECT batch.id, {values} FROM jsonb_populate_recordset(NULL::{name}, $1) AS batch ORDER BY batch.id
             ON CONFLICT (id) DO UPDATE SET {set} WHERE present.version < excluded.version",
            columns = columns.join(", "),
            values = values.join(", "),
            set = set.join(", "),
        );
        written += sqlx::query(AssertSqlSafe(statement))
            .bind(json(batch)?)
            .execute(scope.connection())
            .await?
            .rows_affected();
    }
    Ok(written)
}

/// A row that is not what it should be.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(crate) struct Differing {
    pub(crate) id: Uuid,
    /// The version it has; nothing when there is no row.
    pub(crate) version: Option<i64>,
}

/// Those of the rows given that the table does not have as they are.
pub(crate) async fn differing(
    scope: &mut Scope,
    table: Table,
    rows: &[Row],
) -> Result<Vec<Differing>, DatabaseError> {
    let name = table.name();
    let statement = format!(
        "SELECT batch.id, present.version
         FROM jsonb_populate_recordset(NULL::public.{name}, $1) AS batch
         LEFT JOIN public.{name} AS present ON present.id = batch.id
         WHERE to_jsonb(present) IS DISTINCT FROM to_jsonb(batch) ORDER BY batch.id"
    );
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(json(rows)?).fetch_all(scope.connection()).await?)
}

fn json<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Result<Value, DatabaseError> {
    let rows: Result<Vec<Value>, _> = rows.into_iter().map(serde_json::to_value).collect();
    rows.map(Value::Array).map_err(|error| DatabaseError::Refused(sqlx::Error::Encode(error.into())))
}

/// A page of the ids that a table has, in their order, after `after`.
pub(crate) async fn ids(
    scope: &mut Scope,
    table: Table,
    after: Uuid,
    most: i64,
) -> Result<Vec<Uuid>, DatabaseError> {
    let statement = format!("SELECT id FROM public.{} WHERE id > $1 ORDER BY id LIMIT $2", table.name());
    Ok(sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(after)
        .bind(most)
        .fetch_all(scope.connection())
        .await?)
}

/// Locks rows until the scope ends, and says which were there.
pub(crate) async fn lock(scope: &mut Scope, table: Table, ids: &[Uuid]) -> Result<Vec<Uuid>, DatabaseError> {
    let statement =
        format!("SELECT id FROM public.{} WHERE id = ANY ($1) ORDER BY id FOR UPDATE", table.name());
    Ok(sqlx::query_scalar(AssertSqlSafe(statement)).bind(ids).fetch_all(scope.connection()).await?)
}

/// Removes rows.
pub(crate) async fn remove(scope: &mut Scope, table: Table, ids: &[Uuid]) -> Result<u64, DatabaseError> {
    let statement = format!("DELETE FROM public.{} WHERE id = ANY ($1)", table.name());
    let removed = sqlx::query(AssertSqlSafe(statement)).bind(ids).execute(scope.connection()).await?;
    Ok(removed.rows_affected())
}
