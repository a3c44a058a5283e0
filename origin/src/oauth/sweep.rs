//! Old rows go a few at a time, with the requests that make new ones: no job that could stop, no delete that blocks. It may not take a row
//! that anything is still decided by.

use std::time::Duration;

use crate::database::{DatabaseError, Scope};

/// How long a row is kept after it could last matter, for people who look into what happened.
const KEPT: Duration = Duration::from_hours(24);
/// Rows of each table at a time: more than one request adds.
const AT_A_TIME: i64 = 8;

/// Deletes some of what is long over. Rows that somebody else is deleting are left to them.
pub(super) async fn sweep(scope: &mut Scope) -> Result<(), DatabaseError> {
    let before = scope.clock().now() - KEPT;
    sqlx::query(
        "WITH requests AS (
             DELETE FROM authorization_requests WHERE id IN (
                 SELECT id FROM authorization_requests WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         ), codes AS (
             DELETE FROM oauth_authorization_codes WHERE code_hash IN (
                 SELECT code_hash FROM oauth_authorization_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
                 FOR UPDATE SKIP LOCKED)
         ), revocations AS (
             DELETE FROM revocations WHERE (kind, value) IN (
                 SELECT kind, value FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         )
         DELETE FROM oauth_tokens WHERE jti IN (
             SELECT jti FROM oauth_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(before)
    .bind(AT_A_TIME)
    .execute(scope.connection())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Stage;
    use super::*;
    use crate::{
        database::{Actor, Component},
        test_database,
    };

    #[tokio::test]
    async fn what_is_over_for_a_day_goes_and_the_grant_stays() {
        test_database::run(async |databases| {
            let stage = Stage::set(databases).await;
            stage.tokens().await;
            let replayed = stage.code().await;
            stage.redeem(&replayed).await;
            stage.redeem(&replayed).await;
            let counts = async || -> [i64; 5] {
                let mut counts = [0; 5];
                let tables = [
                    "authorization_requests",
                    "oauth_authorization_codes",
                    "oauth_tokens",
                    "revocations",
                    "oauth_grants",
                ];
                for (count, table) in counts.iter_mut().zip(tables) {
                    let mut scope = databases
                        .database
                        .scope(Actor::System(Component::AuthorizationServer))
                        .await
                        .unwrap();
                    sweep(&mut scope).await.unwrap();
                    scope.commit().await.unwrap();
                    let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM auth_gateway.{table}"));
                    *count =
                        sqlx::query_scalar(statement).fetch_one(&mut databases.admin().await).await.unwrap();
                }
                counts
            };
            assert_eq!(counts().await, [2, 2, 2, 1, 2]);
            databases.clock.advance(KEPT);
            assert_eq!(counts().await, [2, 2, 2, 1, 2]);
            databases.clock.advance(Duration::from_mins(31));
            assert_eq!(counts().await, [0, 0, 0, 0, 2]);
        })
        .await;
    }
}
