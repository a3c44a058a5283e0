//! The binary as its operators meet it: real processes, a real Postgres, real signals.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "all of this file is test code, and it waits for other processes by the real clock"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use url::Url;

const FILE: &str = r#"[workspace]
slug = "SLUG"
[[project]]
slug = "SLUG"
[[project.service]]
slug = "api"
upstreams = ["http://127.0.0.1:9100"]
"#;

/// Fresh databases, migrated by the binary, and the environment that names them.
struct Installation {
    environment: Vec<(&'static str, String)>,
    names: [String; 3],
    folder: PathBuf,
}

impl Installation {
    async fn new(name: &str) -> Self {
        let names = ["", "_read", "_registry"].map(|role| format!("gateward_line_{name}{role}"));
        let mut server = connect("postgres").await;
        for name in &names {
            execute(&mut server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
        let [command, read, registry] = &names;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        let this = Self {
            environment: vec![
                ("MIGRATION_DATABASE_URL", url(None, command)),
                ("READ_MIGRATION_DATABASE_URL", url(None, read)),
                ("DATABASE_URL", url(Some("gateward_line_serve"), command)),
                ("FORWARDER_DATABASE_URL", url(Some("gateward_line_forward"), command)),
                ("READ_DATABASE_URL", url(Some("gateward_line_project"), read)),
                ("REGISTRY_MIGRATION_DATABASE_URL", url(None, registry)),
                ("REGISTRY_DATABASE_URL", url(Some("gateward_line_register"), registry)),
                ("ISSUER", "https://auth.example.test".to_owned()),
                ("KEY_ENCRYPTION_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc".to_owned()),
                ("AUDIT_SIGNING_KEY", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg".to_owned()),
                ("FORWARDER_LEASE", "2s".to_owned()),
            ],
            names,
            folder,
        };
        let migrations: Vec<Child> = (0..2).map(|_| this.command(&["migrate"]).spawn().unwrap()).collect();
        for migration in migrations {
            let output = migration.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        this
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateward"));
        command.args(arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed and print JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Applies a file that makes a workspace with a project: two events.
    fn apply(&self, slug: &str) -> Output {
        let file = self.folder.join(format!("{slug}.toml"));
        fs::write(&file, FILE.replace("SLUG", slug)).unwrap();
        self.run(&["apply", file.to_str().unwrap(), "--json"])
    }

    async fn command_side(&self) -> PgConnection {
        connect(&self.names[0]).await
    }

    async fn delivered(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM public.auth_events")
            .fetch_one(&mut connect(&self.names[1]).await)
            .await
            .unwrap()
    }

    async fn remove(self) {
        let mut server = connect("postgres").await;
        for name in &self.names {
            execute(&mut server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

fn server() -> Url {
    let Ok(text) = std::env::var("GATEWARD_TEST_DATABASE_URL") else {
        panic!(
            "GATEWARD_TEST_DATABASE_URL is not set: this test needs a Postgres (15 or later) and a superuser of it. \
             `cargo xtask test` starts one and sets it."
        );
    };
    Url::parse(&text).unwrap()
}

fn url(login: Option<&str>, database: &str) -> String {
    let mut url = server();
    url.set_path(database);
    if let Some(login) = login {
        url.set_username(login).unwrap();
        url.set_password(Some("of-a-test")).unwrap();
    }
    url.into()
}

async fn connect(database: &str) -> PgConnection {
    url(None, database).parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Looks again and again, for at most half a minute.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it did not come to {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn from_an_empty_server_to_a_token_and_its_events_on_the_read_side() {
    let gateward = Installation::new("story").await;
    let applied: Value = serde_json::from_slice(&gateward.apply("story").stdout).unwrap();
    assert_eq!(applied["created"], serde_json::json!(["workspace story", "project story"]));

    let issued = gateward.json(&["token", "issue", "--project", "story", "--service", "worker", "--json"]);
    assert_eq!(issued["token"].as_str().unwrap().split('.').count(), 3);
    let jti = issued["jti"].as_str().unwrap();
    let listed = gateward.json(&["token", "list", "--json"]);
    assert_eq!(listed[0]["jti"], jti);
    assert!(!listed.to_string().contains(issued["token"].as_str().unwrap()));
    let revoked = gateward.json(&["token", "revoke", jti, "--reason", "test", "--json"]);
    assert_eq!(revoked["was_revoked_before"], false);

    let edges = gateward.json(&["edges", "--json"]);
    assert_eq!((&edges["policy_version"], &edges["isolates"]), (&0.into(), &serde_json::json!([])));
    assert_eq!(gateward.json(&["outbox", "stats", "--json"])[0]["queued"], 5);
    let drained = gateward.json(&["forward", "--once", "--json"]);
    let of = |name: &str| {
        drained.as_array().unwrap().iter().find(|one| one["destination"] == name).unwrap().clone()
    };
    let read = of("read-database");
    assert_eq!((&read["delivered"], &read["waiting"]), (&5.into(), &0.into()));
    assert_eq!(of("client-registry")["delivered"], 1);
    let shown: String = sqlx::query_scalar("SELECT slug FROM public.projects")
        .fetch_one(&mut connect(&gateward.names[2]).await)
        .await
        .unwrap();
    assert_eq!(shown, "story");
    assert_eq!(gateward.delivered().await, 5);
    let stored: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM public.auth_events WHERE (payload::text || metadata::text) LIKE '%' || $1 || '%'",
    )
    .bind(issued["token"].as_str().unwrap().rsplit('.').next().unwrap())
    .fetch_one(&mut connect(&gateward.names[1]).await)
    .await
    .unwrap();
    assert_eq!(stored, 0, "an event holds a token's signature");
    assert_eq!(gateward.json(&["outbox", "failed", "--json"]), serde_json::json!([]));
    let replayed = gateward.json(&["outbox", "replay", "--destination", "read-database", "--all", "--json"]);
    assert_eq!(replayed["events"], 0);
    for (arguments, code, words) in [
        (&["outbox", "discard", "--destination", "read-database", "--all"][..], 2, "--yes"),
        (&["outbox", "replay", "--destination", "nowhere", "--all"], 2, "no destination nowhere"),
        (&["outbox", "replay", "--destination", "read-database"], 2, "--event"),
        (&["forward", "--once", "--destination", "nowhere"], 2, "no destination nowhere"),
    ] {
        let output = gateward.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
    gateward.remove().await;
}

#[tokio::test]
async fn a_project_is_compared_shown_and_rolled_back() {
    let gateward = Installation::new("project").await;
    let file = gateward.folder.join("project.toml");
    let name = file.to_str().unwrap();
    let write = |port: u16| {
        let text = FILE.replace("SLUG", "notes").replace("9100", &port.to_string());
        fs::write(&file, format!("{text}timeout = \"5s\"\n[[project.service.route]]\npath = \"/a\"\n"))
            .unwrap();
    };
    write(9100);
    let new = gateward.run(&["project", "diff", name]);
    assert_eq!(new.status.code(), Some(3), "{}", text(&new.stderr));
    assert!(text(&new.stdout).contains("notes: service[api]: nothing → {"), "{}", text(&new.stdout));
    assert!(gateward.run(&["apply", name]).status.success());
    let same = gateward.run(&["project", "diff", name, "--json"]);
    assert_eq!((same.status.code(), text(&same.stdout).contains("\"changes\":[]")), (Some(0), true));

    // What is shown can be applied.
    let shown = gateward.run(&["project", "show", "notes"]);
    fs::write(&file, format!("workspace = {{ slug = \"notes\" }}\n{}", text(&shown.stdout))).unwrap();
    assert_eq!(gateward.run(&["project", "diff", name]).status.code(), Some(0), "{}", text(&shown.stdout));

    write(9200);
    let differs = gateward.run(&["project", "diff", name]);
    assert_eq!(
        (differs.status.code(), text(&differs.stdout).trim_end()),
        (Some(3), "notes: service[api].upstreams: [\"http://127.0.0.1:9100\"] → [\"http://127.0.0.1:9200\"]")
    );
    assert!(gateward.run(&["apply", name]).status.success());
    let told = gateward.run(&["project", "rollback", "notes", "1", "--dry-run"]);
    assert!(text(&told.stdout).contains("would be as it was at revision 1"));
    assert_eq!(gateward.json(&["project", "list", "--json"])[0]["revision"], 2);
    let rolled_back = gateward.json(&["project", "rollback", "notes", "1", "--json"]);
    assert_eq!((&rolled_back["revision"], rolled_back["changes"].as_array().unwrap().len()), (&3.into(), 1));
    let history = gateward.json(&["project", "history", "notes", "--json"]);
    assert_eq!((&history[0]["restored_from"], &history[2]["revision"]), (&1.into(), &1.into()));
    let first = gateward.json(&["project", "show", "notes", "--revision", "1", "--json"]);
    assert_eq!(first, gateward.json(&["project", "show", "notes", "--json"]));

    for (arguments, code, words) in [
        (&["project", "show", "nothing"][..], 1, "no project \"nothing\""),
        (&["project", "rollback", "notes", "9"], 1, "no revision 9"),
        (&["project", "diff", "/nowhere.toml"], 2, "cannot be read"),
        (&["project"], 2, "Usage"),
    ] {
        let output = gateward.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
    gateward.remove().await;
}

#[tokio::test]
async fn a_sign_in_link_is_printed_for_a_person_with_or_without_an_account() {
    let installation = Installation::new("link").await;
    let first = installation.json(&["sign-in-link", "--email", "Operator@Example.test", "--json"]);
    assert_eq!(first["email"], "operator@example.test");
    assert!(first["expires_at"].as_str().unwrap().ends_with('Z'));
    let second = installation.run(&["sign-in-link", "--email", "operator@example.test"]);
    let line = text(&second.stdout);
    let base = "https://auth.example.test/sign-in/link?token=gw_link_";
    assert!(first["link"].as_str().unwrap().starts_with(base) && line.starts_with(base), "{first} {line}");
    assert_eq!(line.lines().count(), 1);
    let mut command = installation.command_side().await;
    let counted: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM auth_gateway.user_accounts), (SELECT count(*) FROM auth_gateway.sign_in_challenges),
                (SELECT count(*) FROM auth_gateway.events WHERE payload::text || metadata::text LIKE '%@%')",
    )
    .fetch_one(&mut command)
    .await
    .unwrap();
    assert_eq!(counted, (1, 2, 0));
    let faulty = installation.run(&["sign-in-link", "--email", "operator"]);
    assert_eq!(faulty.status.code(), Some(2));
    assert!(text(&faulty.stderr).contains("name@example.com"), "{}", text(&faulty.stderr));
    installation.remove().await;
}

#[tokio::test]
async fn what_is_faulty_exits_with_2_and_says_everything_at_once() {
    let gateward = Installation::new("faulty").await;
    let output = gateward.command(&["forward"]).env("FORWARDER_LEASE", "soon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("FORWARDER_LEASE is not a duration"), "{said}");
    let mut without = gateward.command(&["forward"]);
    let output =
        without.env_remove("READ_DATABASE_URL").env_remove("REGISTRY_DATABASE_URL").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for name in ["READ_DATABASE_URL", "REGISTRY_DATABASE_URL"] {
        assert!(said.contains(&format!("{name} is not set")), "{said}");
    }
    assert!(output.stdout.is_empty());

    let file = gateward.folder.join("faulty.toml");
    fs::write(&file, "[workspace]\nslug = \"A B\"\n[[project]]\nslug = \"oauth\"\n").unwrap();
    let output = gateward.run(&["apply", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("line 2, workspace.slug") && said.contains("line 4, project.slug"), "{said}");

    let output = gateward.run(&["token", "issue", "--project", "nothing", "--service", "worker"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no enabled project \"nothing\""));

    let output = gateward.run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("POLICY_SIGNING_KEY") && said.contains("SMTP_URL"), "{said}");
    gateward.remove().await;
}

#[tokio::test]
async fn a_forwarder_that_is_killed_is_taken_over_from_and_one_that_is_told_to_stop_gives_its_leases_back() {
    let gateward = Installation::new("signals").await;
    assert!(gateward.apply("first").status.success());

    // The read side hangs in the middle of a delivery: somebody holds the table.
    let mut blocker = connect(&gateward.names[1]).await;
    execute(&mut blocker, "BEGIN; LOCK TABLE public.auth_events IN ACCESS EXCLUSIVE MODE").await;
    let mut killed = gateward.command(&["forward"]).env("FORWARDER_LEASE", "4s").spawn().unwrap();
    let held = async || {
        let leased = "SELECT count(*) FROM auth_gateway.outbox_lanes WHERE leased_until > clock_timestamp()";
        sqlx::query_scalar::<_, i64>(leased).fetch_one(&mut gateward.command_side().await).await.unwrap()
    };
    until("a lease", async || held().await > 0).await;
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    assert!(held().await > 0, "a killed process gave something back");
    execute(&mut blocker, "ROLLBACK").await;

    let mut next = gateward.command(&["forward"]).spawn().unwrap();
    until("all events on the read side", async || gateward.delivered().await == 2).await;
    signal(&next, "-TERM");
    assert!(next.wait().unwrap().success(), "it did not stop cleanly");
    assert_eq!(held().await, 0, "a forwarder that stopped kept a lease");
    gateward.remove().await;
}

#[tokio::test]
async fn a_rebuild_that_is_killed_leaves_the_read_side_in_use_and_the_next_one_succeeds() {
    let gateward = Installation::new("rebuild").await;
    for slug in ["one", "two", "three"] {
        assert!(gateward.apply(slug).status.success());
    }
    gateward.json(&["forward", "--once", "--json"]);
    let mut read = connect(&gateward.names[1]).await;
    execute(&mut read, "DELETE FROM public.auth_events WHERE aggregate_type = 'project'").await;
    // Somebody reads the table in one long transaction: the swap waits.
    let mut reader = connect(&gateward.names[1]).await;
    execute(&mut reader, "BEGIN; SELECT FROM public.auth_events").await;
    let mut killed = gateward.command(&["project", "rebuild", "--store", "read"]).spawn().unwrap();
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                 AND relation = 'public.auth_events'::regclass)";
    until("a swap that waits", async || {
        let mut look = connect(&gateward.names[1]).await;
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut look).await.unwrap()
    })
    .await;
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    execute(&mut reader, "ROLLBACK").await;
    assert_eq!(gateward.delivered().await, 3, "the table in use was touched");
    let leftover = async || {
        let leftover = "SELECT count(*) FROM pg_class WHERE relname = 'auth_events_rebuild'";
        sqlx::query_scalar::<_, i64>(leftover)
            .fetch_one(&mut connect(&gateward.names[1]).await)
            .await
            .unwrap()
    };
    assert_eq!(leftover().await, 1);

    let rebuilt = gateward.json(&["project", "rebuild", "--json"]);
    assert_eq!((&rebuilt[0]["store"], &rebuilt[0]["events"]), (&"read".into(), &6.into()));
    assert_eq!((&rebuilt[1]["store"], &rebuilt[1]["rows"]), (&"registry".into(), &3.into()));
    assert_eq!((gateward.delivered().await, leftover().await), (6, 0));
    let mut without = gateward.command(&["project", "rebuild", "--store", "registry"]);
    let output = without.env_remove("REGISTRY_MIGRATION_DATABASE_URL").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("REGISTRY_MIGRATION_DATABASE_URL is not set"));
    gateward.remove().await;
}
