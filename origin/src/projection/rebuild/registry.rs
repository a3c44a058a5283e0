//! The client registry: what the events of projects and clients come to.

use uuid::Uuid;

use super::super::recorded::{self, Place, Recorded};
use super::{PAGE, Progress, RebuildError, Run, table};
use crate::database::{DatabaseError, Scope};
use crate::registry::{self, AGGREGATES, Happened, Row, TABLES, fold};

impl Run<'_> {
    pub(super) async fn copy_registry(&mut self) -> Result<(), RebuildError> {
        let mut after = Place::default();
        // The events of the last aggregate of a page, of which there may be more.
        let mut begun: Vec<Recorded> = Vec::new();
        loop {
            let page = recorded::page(self.command, Some(&AGGREGATES), &after, PAGE)
                .await
                .map_err(RebuildError::Command)?;
            let Some(last) = page.last() else { break };
            after = last.place();
            let unfinished = last.aggregate_id;
            self.rebuilt.events += u64::try_from(page.len()).unwrap_or(0);
            begun.extend(page);
            let (rest, whole): (Vec<_>, Vec<_>) =
                begun.into_iter().partition(|event| event.aggregate_id == unfinished);
            begun = rest;
            self.write(&whole).await?;
            (self.progress)(Progress::Copied { events: self.rebuilt.events, about: 0 });
        }
        self.write(&begun).await
    }

    async fn write(&self, events: &[Recorded]) -> Result<(), RebuildError> {
        let rows: Vec<Row> = fold(events.iter().map(Happened::from))?.into_values().collect();
        let mut scope = self.scope().await?;
        registry::write(&mut scope, &rows, table::SUFFIX).await?;
        scope.commit().await?;
        Ok(())
    }

    /// With deliveries waiting: the rows in use that are newer than those of the copy, made of their events again.
    pub(super) async fn take_over_registry(&self, scope: &mut Scope) -> Result<u64, RebuildError> {
        let mut taken_over = 0;
        for table in TABLES {
            let name = table.name();
            let statement = format!(
                "SELECT present.id FROM public.{name} AS present
                 LEFT JOIN public.{name}{} AS fresh ON fresh.id = present.id
                 WHERE fresh.id IS NULL OR fresh.version < present.version",
                table::SUFFIX
            );
            let ids: Vec<Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
                .fetch_all(scope.connection())
                .await
                .map_err(DatabaseError::from)?;
            let events = recorded::of_aggregates(self.command, table.aggregate(), &ids)
                .await
                .map_err(RebuildError::Command)?;
            let rows: Vec<Row> = fold(events.iter().map(Happened::from))?.into_values().collect();
            taken_over += registry::write(scope, &rows, table::SUFFIX).await?;
        }
        Ok(taken_over)
    }
}
