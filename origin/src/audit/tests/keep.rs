//! Checkpoints: made when the log has grown, of what it is, and never of a log that is not what was signed before.

use shared::tlog::Checkpoint;

use super::*;
use crate::audit::{TreeError, status};
use crate::test_database::{self, execute};

#[tokio::test]
async fn a_checkpoint_is_made_when_there_is_something_new_and_two_keepers_make_the_same() {
    test_database::run(async |t| {
        let (one, other) = (keeper(t, vec![]), keeper(t, vec![]));
        assert_eq!(one.checkpoint().await.unwrap(), None, "of an empty log");
        append(t, &[1, 2], 3).await;
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        let (first, second) = tokio::join!(one.checkpoint(), other.checkpoint());
        let made: Vec<Checkpoint> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        assert!(!made.is_empty() && made.iter().all(|checkpoint| *checkpoint == made[0]));
        assert_eq!(one.checkpoint().await.unwrap(), None, "of nothing new");
        let (checkpoint, _) = Checkpoint::verified(&published(t).await.note, &[key()]).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), (ORIGIN, 6));
    })
    .await;
}

#[tokio::test]
async fn the_loop_signs_what_grows_and_ends_when_it_is_told() {
    test_database::run(async |t| {
        let log = AuditLog::new(t.forwarder.clone(), configuration());
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let work = async {
            append(t, &[1], 5).await;
            assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
            for _ in 0..500 {
                let now = status(&t.database).await.unwrap();
                if now.checkpoint.is_some_and(|latest| latest.size == 5) {
                    stop.send(true).unwrap();
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("no checkpoint within 5 s");
        };
        tokio::join!(log.keep(stopped), work);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_signed_that_does_not_begin_with_what_was_signed() {
    for (change, expected) in [
        ("UPDATE auth_gateway.event_log SET leaf_hash = sha256('x') WHERE position = 1", "begin with"),
        (
            "UPDATE auth_gateway.audit_log_state SET frontier = set_byte(frontier, 3, (get_byte(frontier, 3) + 1) % 256)",
            "begin with",
        ),
        ("DELETE FROM auth_gateway.event_log WHERE position = 2", "missing"),
        ("UPDATE auth_gateway.audit_log_state SET size = 7", "damaged"),
        (
            "UPDATE auth_gateway.audit_log_state SET size = 1,
                    frontier = (SELECT leaf_hash FROM auth_gateway.event_log WHERE position = 0)",
            "events were removed",
        ),
    ] {
        test_database::run_leaving_work(async |t| {
            append(t, &[1, 2], 3).await;
            seal(t).await;
            append(t, &[1, 2], 1).await;
            assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
            execute(&mut t.admin().await, change.to_owned()).await;
            let error = keeper(t, vec![]).checkpoint().await.unwrap_err();
            assert!(!matches!(error, TreeError::Database(_)), "{error}");
            assert!(error.to_string().contains(expected), "{change}: {error}");
        })
        .await;
    }
}

#[tokio::test]
async fn of_old_checkpoints_the_last_of_each_hour_stays() {
    test_database::run(async |t| {
        append(t, &[1], 1).await;
        seal(t).await;
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            "INSERT INTO auth_gateway.audit_checkpoints (size, made_at, note)
             SELECT 1000 + n, date_trunc('hour', now()) - interval '3 days' + n * interval '10 minutes', 'x'
             FROM generate_series(0, 11) AS n
             UNION ALL SELECT 2000 + n, now() - n * interval '1 minute', 'y' FROM generate_series(1, 3) AS n"
                .to_owned(),
        )
        .await;
        let mut scope = t.forwarder.scope(Actor::System(Component::Sealer)).await.unwrap();
        crate::audit::checkpoints::prune(&mut scope).await.unwrap();
        scope.commit().await.unwrap();
        let left: Vec<i64> = sqlx::query_scalar(
            "SELECT size FROM auth_gateway.audit_checkpoints WHERE size > 1 ORDER BY size",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert_eq!(left, [1005, 1011, 2001, 2002, 2003]);
        execute(&mut admin, "DELETE FROM auth_gateway.audit_checkpoints WHERE size > 1".to_owned()).await;
    })
    .await;
}
