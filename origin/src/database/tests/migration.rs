//! `gateward migrate` on servers in every state.

use sqlx::ConnectOptions;
use uuid::Uuid;

use crate::clock::Randomness;
use crate::database::migrate::{self, MigrationError};
use crate::test_database;

#[tokio::test]
async fn it_can_run_twice_and_by_two_at_once() {
    test_database::run(async |t| {
        let both = tokio::join!(
            migrate::run(&t.configuration, &Randomness::System),
            migrate::run(&t.configuration, &Randomness::System)
        );
        let (first, second) = (both.0.unwrap(), both.1.unwrap());
        assert_eq!(first.command.version, second.command.version);
    })
    .await;
}

#[tokio::test]
async fn it_creates_databases_and_logins_that_are_missing_even_when_two_start_at_once() {
    test_database::run(async |t| {
        let id = Uuid::from_bytes(Randomness::System.bytes()).simple();
        let names = test_database::names_of(&format!("gateward_fresh_{id}"));
        let prefix = format!("fresh {id}");
        let configuration = test_database::configuration(&names, &prefix);
        let both = tokio::join!(
            migrate::run(&configuration, &Randomness::System),
            migrate::run(&configuration, &Randomness::System)
        );
        both.0.unwrap();
        both.1.unwrap();
        let mut server = t.admin().await;
        for login in [&configuration.serve_login, &configuration.forwarder_login, &configuration.read_login] {
            let login_name = login.username();
            drop(
                login
                    .options()
                    .connect()
                    .await
                    .unwrap_or_else(|error| panic!("{login_name} logs in: {error}")),
            );
            let verifier: String = sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = $1")
                .bind(login_name)
                .fetch_one(&mut server)
                .await
                .unwrap();
            assert!(
                verifier.starts_with("SCRAM-SHA-256$4096:"),
                "the password of {login_name} was not hashed"
            );
        }
        for name in &names {
            test_database::execute(&mut server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        for login in ["serve", "forward", "project"] {
            test_database::execute(&mut server, format!("DROP ROLE \"{prefix}_{login}\"")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_may_not_log_in_as_the_administrator() {
    test_database::run(async |t| {
        let mut configuration = t.configuration.clone();
        configuration.serve_login = configuration.command.clone();
        let error = migrate::run(&configuration, &Randomness::System).await.unwrap_err();
        assert!(matches!(error, MigrationError::LoginIsAdmin { variable: "DATABASE_URL", .. }), "{error}");
    })
    .await;
}
