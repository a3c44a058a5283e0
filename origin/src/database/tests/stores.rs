//! Three stores by role: each login is good for its own database and its own role there, and nothing joins across.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use crate::clock::{Clock, Randomness};
use crate::configuration::DatabaseUrl;
use crate::database::{Actor, Component, Database, DatabaseError, migrate, sqlstate};
use crate::test_database::{self, execute};

#[tokio::test]
async fn a_login_connects_to_the_database_of_its_store_and_to_no_other() {
    test_database::run(async |t| {
        let id = Uuid::from_bytes(Randomness::System.bytes()).simple();
        let names = test_database::names_of(&format!("gateward_fresh_{id}"));
        let prefix = format!("fresh {id}");
        let configuration = test_database::configuration(&names, &prefix);
        migrate::run(&configuration, &Randomness::System).await.unwrap();
        let logins = [
            (&configuration.serve_login, 0),
            (&configuration.forwarder_login, 0),
            (&configuration.read_login, 1),
            (&configuration.registry_login, 2),
        ];
        for (login, own) in logins {
            for (number, name) in names.iter().enumerate() {
                let connected = login.options().database(name).connect().await;
                let who = login.username();
                if number == own {
                    connected.unwrap_or_else(|error| panic!("{who} on {name}: {error}"));
                } else {
                    let error = connected.err().unwrap_or_else(|| panic!("{who} may connect to {name}"));
                    assert_eq!(sqlstate(&error).as_deref(), Some("42501"), "{who} on {name}: {error}");
                }
            }
        }
        let mut server = t.admin().await;
        for name in &names {
            execute(&mut server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        for (login, _) in logins {
            execute(&mut server, format!("DROP ROLE \"{}\"", login.username())).await;
        }
    })
    .await;
}

/// The clones of the templates let everybody connect: a login that gets in has no role there.
#[tokio::test]
async fn a_login_that_gets_into_another_store_can_do_nothing_there() {
    test_database::run(async |t| {
        let components = [
            Component::Operator,
            Component::Forwarder,
            Component::Auditor,
            Component::Projector,
            Component::Registrar,
            Component::Rebuilder,
        ];
        let stores: [(&DatabaseUrl, &str, &[Component]); 4] = [
            (&t.configuration.serve_login, "workspaces", &[Component::Operator, Component::Auditor]),
            (&t.configuration.forwarder_login, "outbox", &[Component::Forwarder]),
            (&t.configuration.read_login, "auth_events", &[Component::Projector]),
            (&t.configuration.registry_login, "oauth_clients", &[Component::Registrar]),
        ];
        for (login, _, own) in stores {
            for (elsewhere, table, owners) in stores {
                let options = login.options().database(elsewhere.database());
                let database = Database::new(options, 1, Clock::System, Randomness::System);
                for component in components {
                    let may = own.contains(&component) && owners.contains(&component);
                    let outcome = match database.scope(Actor::System(component)).await {
                        Err(DatabaseError::RoleDenied { .. }) => Err("the role".to_owned()),
                        Err(error) => panic!("{error}"),
                        Ok(mut scope) => {
                            let statement = format!("SELECT FROM {table} LIMIT 1");
                            sqlx::query(sqlx::AssertSqlSafe(statement))
                                .fetch_optional(scope.connection())
                                .await
                                .map(drop)
                                .map_err(|error| error.to_string())
                        }
                    };
                    let who = format!("{} as {component:?} on {}", login.username(), elsewhere.database());
                    match outcome {
                        Ok(()) => {
                            assert!(may || login.database() == elsewhere.database(), "{who} reads {table}");
                        }
                        Err(reason) => assert!(!may, "{who}: {reason}"),
                    }
                }
                database.close().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_database_knows_of_another() {
    test_database::run(async |t| {
        for options in [&t.command_admin, &t.read_admin, &t.registry_admin] {
            let mut admin = options.connect().await.unwrap();
            let links: Vec<String> = sqlx::query_scalar(
                "SELECT 'extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql'
                 UNION ALL SELECT 'wrapper ' || fdwname FROM pg_foreign_data_wrapper
                 UNION ALL SELECT 'server ' || srvname FROM pg_foreign_server
                 UNION ALL SELECT 'foreign table ' || ftrelid::regclass::text FROM pg_foreign_table
                 UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
                           WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                 UNION ALL SELECT 'user mapping ' || umid::text FROM pg_user_mappings",
            )
            .fetch_all(&mut admin)
            .await
            .unwrap();
            assert_eq!(links, Vec::<String>::new());
            admin.close().await.unwrap();
        }
    })
    .await;
}

/// The tables of each store, by the migrations that make them.
fn tables_of(store: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(store);
    let mut tables = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for statement in text.split("CREATE TABLE ").skip(1) {
            let name =
                statement.split([' ', '(']).find(|word| !["IF", "NOT", "EXISTS"].contains(word)).unwrap();
            tables.push(name.rsplit('.').next().unwrap().to_owned());
        }
    }
    tables
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "sql") {
            found.push(path);
        }
    }
}

/// The string literals of a source, as far as a statement of SQL needs: no raw strings with quotes in them.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut literal: Option<String> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (&mut literal, character) {
            (Some(open), '\\') => open.extend(characters.next()),
            (Some(_), '"') => found.extend(literal.take()),
            (Some(open), other) => open.push(other),
            (None, '"') => literal = Some(String::new()),
            // A comment, and the character literal of a quote.
            (None, '/') if characters.peek() == Some(&'/') => {
                for skipped in characters.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
            }
            (None, '\'') if characters.peek() == Some(&'"') => {
                characters.next();
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn no_statement_in_the_sources_names_two_stores() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    sources(&root.join("origin/src"), &mut files);
    sources(&root.join("migrations"), &mut files);
    let (command, read) = (tables_of("command"), tables_of("read"));
    // Two names are those of tables of the command database, too: what is meant is told by the schema.
    let registry: Vec<String> =
        tables_of("registry").into_iter().map(|table| format!("public.{table}")).collect();
    assert!(command.contains(&"events".to_owned()) && read == ["auth_events"] && registry.len() == 2);
    let mut statements = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let is_sql = file.extension().is_some_and(|extension| extension == "sql");
        if file.ends_with("database/tests/stores.rs") {
            continue;
        }
        for word in ["dblink", "postgres_fdw", "CREATE SERVER", "IMPORT FOREIGN", "CREATE SUBSCRIPTION"] {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
        let code = if is_sql {
            text.clone()
        } else {
            text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
        };
        let parts = if is_sql { code.split(';').map(str::to_owned).collect() } else { literals(&code) };
        for part in parts {
            let words: Vec<&str> =
                part.split(|char: char| !(char.is_alphanumeric() || "_.".contains(char))).collect();
            if !["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"].iter().any(|verb| words.contains(verb)) {
                continue;
            }
            statements += 1;
            // A table is named where it is read or written; elsewhere the word may be a column or an alias.
            let named = |table: &String, schema: &str| {
                words.windows(2).any(|pair| {
                    ["FROM", "JOIN", "INTO", "UPDATE", "USING", "TABLE"].contains(&pair[0])
                        && (pair[1] == table || pair[1].strip_prefix(schema) == Some(table))
                })
            };
            let stores = [
                command
                    .iter()
                    .any(|table| named(table, "auth_gateway.") || named(table, "security_service.")),
                read.iter().any(|table| named(table, "public.")),
                registry.iter().any(|table| named(table, "")),
            ];
            let count = stores.iter().filter(|is_named| **is_named).count();
            assert!(count <= 1, "{}: a statement names two stores:\n{part}", file.display());
        }
    }
    assert!(statements > 150, "only {statements} statements were found");
}
