//! What the runs are played on: two Postgres clusters (command side and sinks), a real origin, the proxies that lie, and how to reach
//! them. Set up once; every run uses it again. `cargo xtask faults` prepares it and writes it down as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::checker::{self, Counts, Sink};
use crate::clock::Stopwatch;
use crate::load::Acknowledged;
use crate::plan::{Crash, Failpoint};
use crate::process::{Service, Spec};
use crate::proxy::{self, Liar};
use crate::timeline::Timeline;

/// The database behind PostgREST, and the destination's name.
const SUPABASE: &str = "supabase";
/// How long anything may take to answer after it was started.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `cargo xtask faults` prepared.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Prepared {
    /// `gateward` with failpoints.
    pub(crate) gateward: PathBuf,
    /// Where logs and what a failed run leaves go.
    pub(crate) folder: PathBuf,
    pub(crate) xtask: PathBuf,
    pub(crate) command: PreparedCluster,
    pub(crate) sink: PreparedCluster,
    /// What every `gateward` gets.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) issuer: String,
    pub(crate) origin_port: u16,
    /// The proxy before the Postgres sink.
    pub(crate) proxy_port: u16,
    /// Where the sink behind PostgREST listens.
    pub(crate) http_sink_port: u16,
    pub(crate) edge_id: String,
    /// Its Ed25519 seed in base64url.
    pub(crate) edge_private_key: String,
    /// What is applied before anything else.
    pub(crate) apply_file: PathBuf,
}

/// A Postgres and how to reach it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PreparedCluster {
    pub(crate) spec: Spec,
    pub(crate) port: u16,
    /// The superuser's URL of the database in question.
    pub(crate) admin_url: String,
}

/// A Postgres that is started again whenever it ends.
pub(crate) struct Cluster {
    prepared: PreparedCluster,
    service: Service,
}

impl Cluster {
    fn start(prepared: PreparedCluster, timeline: &Timeline) -> Self {
        let service = Service::start(prepared.spec.clone(), timeline, None);
        Self { prepared, service }
    }

    /// A connection past every policy, as soon as there can be one.
    pub(crate) async fn admin(&self) -> Result<PgConnection> {
        connect(&self.prepared.admin_url).await
    }

    /// As [`Self::admin`], to another of its databases.
    pub(crate) async fn admin_of(&self, database: &str) -> Result<PgConnection> {
        connect_with(self.options()?.database(database)).await
    }

    fn options(&self) -> Result<PgConnectOptions> {
        self.prepared.admin_url.parse().context("an administrator's URL cannot be read")
    }

    /// Ends it the hard way. It is started again at once; what it was doing is recovered or rolled back.
    pub(crate) fn crash(&self, how: Crash) -> bool {
        self.service.signal(match how {
            Crash::Immediate => Signal::QUIT,
            Crash::Kill => Signal::KILL,
        })
    }

    /// The process.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }
}

/// Connects, waiting for a server that is being started.
pub(crate) async fn connect(url: &str) -> Result<PgConnection> {
    connect_with(url.parse().context("a database URL cannot be read")?).await
}

async fn connect_with(options: PgConnectOptions) -> Result<PgConnection> {
    let began = Stopwatch::start();
    loop {
        match options.clone().application_name("gateward-faults").connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error).context("Postgres did not come back");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Runs statements that return nothing.
pub(crate) async fn execute(connection: &mut PgConnection, statements: &str) -> Result<()> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await;
    outcome
        .map(drop)
        .with_context(|| format!("in `{}`", statements.trim().lines().next().unwrap_or_default()))
}

/// Everything that outlives a run.
pub(crate) struct Stage {
    pub(crate) prepared: Prepared,
    pub(crate) command: Cluster,
    pub(crate) sink: Cluster,
    pub(crate) origin: Option<Service>,
    pub(crate) timeline: Timeline,
    /// Lies of the Postgres sink.
    pub(crate) postgres_liar: Liar,
    /// Those of the HTTP sink.
    pub(crate) http_liar: Liar,
    /// May change projects through the operators' interface.
    pub(crate) operator_token: String,
}

impl Stage {
    /// Starts the clusters, migrates, applies the demo's projects, and puts the observers into the sinks.
    pub(crate) async fn set(mut prepared: Prepared) -> Result<Self> {
        let url = format!("http://127.0.0.1:{}", prepared.http_sink_port);
        for (name, value) in [
            ("MAIN_SUPABASE_URL", url.as_str()),
            ("MAIN_SUPABASE_SERVICE_ROLE_KEY", proxy::postgrest::SERVICE_KEY),
            ("PRIVATE_DESTINATION_HOSTS", "127.0.0.1"),
        ] {
            prepared.environment.insert(name.to_owned(), value.to_owned());
        }
        let timeline = Timeline::new();
        let command = Cluster::start(prepared.command.clone(), &timeline);
        let sink = Cluster::start(prepared.sink.clone(), &timeline);
        command.admin_of("postgres").await?.close().await?;
        sink.admin_of("postgres").await?.close().await?;
        let postgres_liar = Liar::new("Postgres", &timeline);
        proxy::postgres::serve(prepared.proxy_port, prepared.sink.port, postgres_liar.clone()).await?;
        let http_liar = Liar::new("PostgREST", &timeline);
        let mut stage = Self {
            prepared,
            command,
            sink,
            origin: None,
            timeline,
            postgres_liar,
            http_liar,
            operator_token: String::new(),
        };
        stage.gateward(&["migrate"]).await?;
        let apply_file = stage.prepared.apply_file.clone();
        stage.gateward(&["apply", &apply_file.to_string_lossy()]).await?;
        execute(&mut stage.sink.admin().await?, include_str!("observer.sql")).await?;
        stage.add_postgrest().await?;
        let arguments = [
            "token",
            "issue",
            "--project",
            "notes",
            "--service",
            "faults",
            "--scope",
            "gateward:projects",
            "--json",
        ];
        let issued: serde_json::Value = serde_json::from_slice(&stage.gateward(&arguments).await?.stdout)?;
        let token = issued.get("token").and_then(serde_json::Value::as_str);
        token.context("no token was issued")?.clone_into(&mut stage.operator_token);
        stage.start_origin(None).await?;
        Ok(stage)
    }

    /// A database behind PostgREST on the sinks' server, and the destination that leads there, with all that has happened already.
    async fn add_postgrest(&self) -> Result<()> {
        execute(&mut self.sink.admin().await?, &format!("CREATE DATABASE {SUPABASE}")).await?;
        let mut behind = self.sink.admin_of(SUPABASE).await?;
        execute(&mut behind, include_str!("supabase.sql")).await?;
        execute(&mut behind, include_str!("observer.sql")).await?;
        let options = self.sink.options()?.database(SUPABASE);
        proxy::postgrest::serve(self.prepared.http_sink_port, options, self.http_liar.clone()).await?;
        self.gateward(&["destination", "add", SUPABASE, "--kind", "postgrest", "--backfill"]).await.map(drop)
    }

    /// The sealed log is whole, by the checkpoint that was published last and the key alone.
    pub(crate) async fn verify_log(&self) -> Result<String> {
        let checkpoint = self
            .prepared
            .environment
            .get("AUDIT_CHECKPOINT_FILE")
            .context("there is no AUDIT_CHECKPOINT_FILE")?;
        let key = String::from_utf8(self.gateward(&["audit", "key"]).await?.stdout)?;
        let log = self.prepared.folder.join("audit.ndjson");
        let log = log.to_str().context("the folder's path is not text")?;
        self.gateward(&["audit", "export", "--out", log]).await?;
        let arguments = ["audit", "verify", log, "--checkpoint", checkpoint, "--key", key.trim(), "--json"];
        let told: serde_json::Value = serde_json::from_slice(&self.gateward(&arguments).await?.stdout)?;
        let number = |member: &str| told.get(member).and_then(serde_json::Value::as_u64).unwrap_or_default();
        Ok(format!(
            "the sealed log of {} events verifies, {} of them as published",
            number("size"),
            number("published_size")
        ))
    }

    /// How often a sink lied.
    pub(crate) fn lies(&self) -> u64 {
        self.postgres_liar.told() + self.http_liar.told()
    }

    /// What every sink and the record must be now.
    pub(crate) async fn check(&self, acknowledged: &Acknowledged) -> Result<(Counts, Vec<String>)> {
        let mut command = self.command.admin().await?;
        let mut sink = self.sink.admin().await?;
        let mut behind = self.sink.admin_of(SUPABASE).await?;
        let mut sinks = [
            Sink { name: "Postgres", connection: &mut sink },
            Sink { name: "PostgREST", connection: &mut behind },
        ];
        let outcome = checker::check(&mut command, &mut sinks, acknowledged).await?;
        for connection in [command, sink, behind] {
            connection.close().await?;
        }
        Ok(outcome)
    }

    /// A `gateward` command with this stage's environment, to its end.
    pub(crate) async fn gateward(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.run_gateward(arguments).await?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("`gateward {}` failed ({}):\n{words}", arguments.join(" "), output.status);
        }
        Ok(output)
    }

    /// As [`Self::gateward`], whatever its exit code.
    pub(crate) async fn run_gateward(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.prepared.gateward);
        command.args(arguments).envs(&self.prepared.environment).current_dir(&self.prepared.folder);
        command.kill_on_drop(true).output().await.context("gateward cannot be started")
    }

    /// How a `gateward` service is started.
    pub(crate) fn spec(&self, name: &str, subcommand: &str) -> Spec {
        let mut environment = self.prepared.environment.clone();
        environment.retain(|name, _| !name.ends_with("MIGRATION_DATABASE_URL"));
        Spec {
            name: name.to_owned(),
            program: self.prepared.gateward.clone(),
            arguments: vec![subcommand.to_owned()],
            environment,
            folder: self.prepared.folder.clone(),
            log: self.log(name),
            identity: None,
            xtask: self.prepared.xtask.clone(),
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        Path::new(&self.prepared.folder).join(format!("{name}.log"))
    }

    /// Starts the origin, anew when it runs already, and waits until it listens.
    pub(crate) async fn start_origin(&mut self, failpoint: Option<Failpoint>) -> Result<()> {
        if let Some(running) = self.origin.take() {
            running.stop(Signal::KILL).await?;
        }
        let service = Service::start(self.spec("origin", "serve"), &self.timeline, failpoint.map(variable));
        service.started(1).await?;
        self.origin = Some(service);
        let began = Stopwatch::start();
        while TcpStream::connect(("127.0.0.1", self.prepared.origin_port)).await.is_err() {
            if began.elapsed() > PATIENCE {
                bail!("the origin does not listen; see {}", self.log("origin").display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Lets the time of everything in the outbox come at once: leases, waits after a refusal, breakers. The database's clock cannot be
    /// moved, so what it is compared with is.
    pub(crate) async fn pass_time(&self, leases_too: bool) -> Result<()> {
        let mut admin = self.command.admin().await?;
        let waits = "UPDATE auth_gateway.outbox_destinations SET breaker_until = clock_timestamp(), breaker_not_before = NULL
             WHERE breaker_until > clock_timestamp() OR breaker_not_before > clock_timestamp();
             UPDATE auth_gateway.outbox SET next_attempt_at = clock_timestamp() WHERE next_attempt_at > clock_timestamp();";
        execute(&mut admin, waits).await?;
        if leases_too {
            let leases = "UPDATE auth_gateway.outbox_lanes SET leased_until = clock_timestamp() WHERE leased_until > clock_timestamp()";
            execute(&mut admin, leases).await?;
        }
        admin.close().await.map_err(Into::into)
    }

    /// Ends everything.
    pub(crate) async fn clear(self) -> Result<()> {
        if let Some(origin) = self.origin {
            origin.stop(Signal::TERM).await?;
        }
        for cluster in [self.command, self.sink] {
            cluster.service.stop(Signal::INT).await?;
        }
        Ok(())
    }
}

/// The variable that arms a failpoint.
pub(crate) fn variable(failpoint: Failpoint) -> (String, String) {
    ("GATEWARD_FAILPOINTS".to_owned(), format!("{}={}", failpoint.place, failpoint.times))
}
