//! Places that checkpoints are published to: what is there stays or is followed by what begins with it, and what fails holds up nothing.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};

use super::*;
use crate::audit::verify::published_checkpoints;
use crate::audit::{KeeperError, checkpoint_table, status};
use crate::clock::Randomness;
use crate::database::Database;
use crate::test_database::{self, execute};

/// A folder of one test, removed with its handle.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let id = Uuid::from_bytes(Randomness::System.bytes()).simple();
        let path = std::env::temp_dir().join(format!("gateward-audit-{id}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("checkpoint")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn to_file(t: &TestDatabase, folder: &Folder) -> Keeper {
    keeper(t, vec![Publisher::file(folder.file(), &t.forwarder)])
}

async fn grow(t: &TestDatabase) {
    append(t, &[1, 2], 2).await;
    assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn the_file_has_the_latest_and_the_day_has_all_of_them() {
    test_database::run(async |t| {
        let folder = Folder::new();
        for _ in 0..3 {
            grow(t).await;
            to_file(t, &folder).once().await.unwrap();
            assert_eq!(read(&folder.file()), published(t).await.note);
        }
        // Nothing new: the file of the day does not grow either.
        to_file(t, &folder).once().await.unwrap();
        let day = read(&folder.0.join("checkpoint.2026-11-21"));
        let notes = published_checkpoints("day", &day, None).unwrap();
        assert_eq!(notes.len(), 3);
        assert_eq!(notes[2].note, read(&folder.file()));
        let log = exported(t, 0).await;
        assert_eq!(check(&log, &notes).faults, [], "each of them is one that the log grew from");
        // What a crash leaves of half a note is removed by the next.
        std::fs::write(folder.0.join("checkpoint.2026-11-21"), format!("{day}auth.te")).unwrap();
        grow(t).await;
        to_file(t, &folder).once().await.unwrap();
        let day = read(&folder.0.join("checkpoint.2026-11-21"));
        assert_eq!(published_checkpoints("day", &day, None).unwrap().len(), 4);
        let now = status(&t.database).await.unwrap();
        assert_eq!(now.publications[0].publisher, "file");
        assert_eq!((now.publications[0].size, now.publications[0].failures), (Some(16), 0));
        assert!(now.publications[0].behind_seconds.abs() < 0.001);
    })
    .await;
}

#[tokio::test]
async fn a_place_keeps_what_it_has_when_the_log_was_set_back_or_forked() {
    test_database::run_leaving_work(async |t| {
        let folder = Folder::new();
        grow(t).await;
        to_file(t, &folder).once().await.unwrap();
        let before = read(&folder.file());
        // Somebody sets the database back, checkpoints and all, and other events take the place of those.
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            "DELETE FROM auth_gateway.event_log; DELETE FROM auth_gateway.audit_checkpoints;
             DELETE FROM auth_gateway.events; UPDATE auth_gateway.audit_log_state SET size = 0, frontier = ''"
                .to_owned(),
        )
        .await;
        append(t, &[1], 2).await;
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        let said = to_file(t, &folder).once().await.unwrap_err().to_string();
        assert!(said.contains("events were removed, or the database was set back"), "{said}");
        assert_eq!(read(&folder.file()), before);

        append(t, &[1, 2], 4).await;
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        let said = to_file(t, &folder).once().await.unwrap_err().to_string();
        assert!(said.contains("does not begin with"), "{said}");
        assert_eq!(read(&folder.file()), before);
        let now = status(&t.database).await.unwrap();
        assert_eq!(now.publications[0].failures, 2);
        assert!(now.publications[0].error.as_ref().unwrap().contains("does not begin with"));
        assert!(now.publications[0].behind_seconds > 0.0);

        std::fs::write(folder.file(), "a shopping list\n").unwrap();
        let said = to_file(t, &folder).once().await.unwrap_err().to_string();
        assert!(said.contains("no checkpoint"), "{said}");
        assert_eq!(read(&folder.file()), "a shopping list\n");
    })
    .await;
}

#[tokio::test]
async fn a_place_that_fails_holds_up_neither_the_sealer_nor_the_others_and_is_tried_again() {
    test_database::run(async |t| {
        let (folder, gone) = (Folder::new(), Folder::new());
        std::fs::remove_dir(&gone.0).unwrap();
        let keeper = keeper(
            t,
            vec![Publisher::file(gone.file(), &t.forwarder), Publisher::file(folder.file(), &t.forwarder)],
        );
        grow(t).await;
        assert!(matches!(keeper.once().await, Err(KeeperError::Unpublished(_))));
        assert_eq!(read(&folder.file()), published(t).await.note);
        std::fs::create_dir(&gone.0).unwrap();
        grow(t).await;
        keeper.once().await.unwrap();
        assert_eq!(read(&gone.file()), published(t).await.note);
    })
    .await;
}

#[tokio::test]
async fn several_processes_publish_to_one_file_and_it_never_goes_back() {
    test_database::run(async |t| {
        let folder = Folder::new();
        let keepers = [to_file(t, &folder), to_file(t, &folder), to_file(t, &folder)];
        for _ in 0..5 {
            grow(t).await;
            let [one, two, three] = [&keepers[0], &keepers[1], &keepers[2]].map(Keeper::once);
            let (one, two, three) = tokio::join!(one, two, three);
            for result in [one, two, three] {
                result.unwrap();
            }
            assert_eq!(read(&folder.file()), published(t).await.note);
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_database_keeps_what_its_login_may_only_insert() {
    test_database::run(async |t| {
        let mut admin = t.admin().await;
        let name = format!("gateward_checkpoints_{}", Uuid::from_bytes(Randomness::System.bytes()).simple());
        execute(&mut admin, format!("CREATE DATABASE {name}")).await;
        let options = t.command_admin.clone().database(&name);
        let mut elsewhere = options.connect().await.unwrap();
        // Twice: the role belongs to the whole cluster.
        for _ in 0..2 {
            execute(&mut elsewhere, checkpoint_table().to_owned()).await;
        }
        execute(
            &mut elsewhere,
            format!(
                "CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 'of-a-test'; GRANT gateward_checkpoint_publisher TO {name}"
            ),
        )
        .await;
        let login = options.clone().username(&name).password("of-a-test");
        let database = Database::new(login, 1, t.clock.clone(), Randomness::System);
        let keeper = keeper(t, vec![Publisher::database(database.clone())]);
        for _ in 0..2 {
            grow(t).await;
            keeper.once().await.unwrap();
            // Another process publishes the same.
            keeper.once().await.unwrap();
        }
        let notes: Vec<String> =
            sqlx::query_scalar("SELECT note FROM public.gateward_checkpoints ORDER BY size")
                .fetch_all(&mut elsewhere)
                .await
                .unwrap();
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[1], published(t).await.note);
        for forbidden in [
            "SELECT * FROM gateward_checkpoints",
            "UPDATE gateward_checkpoints SET note = ''",
            "DELETE FROM gateward_checkpoints",
            "TRUNCATE gateward_checkpoints",
        ] {
            let actor = Actor::System(Component::CheckpointPublisher);
            let mut scope = database.scope(actor).await.unwrap();
            let refused = sqlx::query(forbidden).execute(scope.connection()).await.unwrap_err();
            assert!(refused.to_string().contains("permission denied"), "{forbidden}: {refused}");
        }
        keeper.close().await;
        database.close().await;
        elsewhere.close().await.unwrap();
        execute(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        execute(&mut admin, format!("DROP ROLE {name}")).await;
    })
    .await;
}
