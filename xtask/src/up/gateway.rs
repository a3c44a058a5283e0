//! A whole gateway: brings its parts up in order, keeps `up.json` true, and takes everything down again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::gateward::Gateward;
use super::parts::Places;
use super::record::{Issued, Record};
use super::secrets::Secrets;
use super::supervisor::{End, Event, Supervisor};
use super::{Options, control};
use crate::clock::Stopwatch;
use crate::postgres::Server;
use crate::progress::{Step, say};
use crate::project::Project;
use crate::setup::Ready;
use crate::signals;

/// A gateway that runs.
pub(crate) struct Gateway {
    supervisor: Supervisor,
    record: Record,
    up_files: Vec<PathBuf>,
    server: Option<Server>,
    /// Held as long as the data folder is ours.
    _lock: File,
}

impl Gateway {
    /// Starts every part and returns when all of them answer.
    pub(crate) fn start(project: &Project, ready: &Ready, options: &Options) -> Result<Self> {
        let started = Stopwatch::start();
        let data = match &options.data {
            Some(folder) => std::path::absolute(folder).context("--data is not a usable path")?,
            None => project.state().join("data"),
        };
        let ports = options.ports.resolve();
        let lock = lock(&data)?;
        check_ports(options)?;
        let (secrets, fresh) = Secrets::load_or_draw(&data)?;
        let server = if options.database_url.is_some() {
            None
        } else {
            let port = ports.postgres;
            let server =
                Server::prepare(&ready.node_modules, &data.join("postgres"), port, !options.no_fsync)?;
            if fresh {
                // Its password went with the old secrets.
                server.forget_orphan()?;
            }
            create(&server, &data, &secrets)?;
            Some(server)
        };

        let mut supervisor = Supervisor::new();
        let sender = supervisor.sender();
        signals::listen(move |signal| {
            // Nobody listens any more when everything has been stopped.
            let _ = sender.send(Event::Signal(signal));
        });
        let up_files = match options.up_files.as_slice() {
            [] => vec![project.state().join("up.json")],
            files => files.to_vec(),
        };
        let places = Places { project, ready, data: &data, ports: &ports, secrets: &secrets };
        match bring_up(&mut supervisor, &places, server.as_ref(), options) {
            Ok(record) => {
                let gateway = Self { supervisor, record, up_files, server, _lock: lock };
                gateway.record.write(&gateway.up_files)?;
                say(&format!("  ✓ everything is up ({})", crate::clock::human(started.elapsed())));
                Ok(gateway)
            }
            Err(error) => {
                say("  ✗ this did not work; stopping what has been started");
                let tail = match error.downcast_ref() {
                    Some(End::Crash { name, .. }) => format!("\n{}", supervisor.log_tail(name)),
                    _ => String::new(),
                };
                supervisor.stop_all()?;
                signals::unlisten();
                bail!("{error:#}{tail}")
            }
        }
    }

    /// What runs where.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Runs until a signal or a crash, or until [`Event::Finished`].
    pub(crate) fn run(&mut self) -> Result<End> {
        let (record, up_files) = (&mut self.record, &self.up_files);
        self.supervisor.run(&mut |pids| {
            record.set_processes(pids);
            if let Err(error) = record.write(up_files) {
                say(&format!("  ! {error:#}"));
            }
        })
    }

    /// Runs while `work` does what it does beside it; its outcome, or what ended the gateway first.
    pub(crate) fn run_beside<T: Send>(
        &mut self,
        work: impl FnOnce(&Record) -> Result<T> + Send,
    ) -> Result<T> {
        let record = self.record.clone();
        let sender = self.supervisor.sender();
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let outcome = work(&record);
                let _ = sender.send(Event::Finished);
                outcome
            });
            match self.run()? {
                End::Finished => {
                    worker.join().map_err(|_| anyhow::anyhow!("the work beside the gateway ended"))?
                }
                end => {
                    let tail = match end {
                        End::Crash { name, .. } => self.log_tail(name),
                        _ => String::new(),
                    };
                    // The work fails by itself once what it talks to has stopped; the scope waits for that.
                    signals::end_jobs();
                    self.supervisor.stop_all()?;
                    bail!("{end}\n{tail}")
                }
            }
        })
    }

    /// The end of a part's log.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        self.supervisor.log_tail(name)
    }

    /// Stops every part, the last started first, and removes `up.json`.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.take_down()
    }

    /// As [`Gateway::stop`], and removes the data folder.
    pub(crate) fn stop_and_forget(mut self) -> Result<()> {
        self.take_down()?;
        if let Some(server) = &self.server {
            server.remove()?;
        }
        let data = Path::new(&self.record.data);
        std::fs::remove_dir_all(data).with_context(|| format!("cannot remove {}", data.display()))
    }

    fn take_down(&mut self) -> Result<()> {
        let outcome = self.supervisor.stop_all();
        self.record.remove(&self.up_files);
        signals::unlisten();
        outcome
    }
}

/// Fails when a port is taken. After a `kill -9` of `up` its parts are given their time to stop.
pub(crate) fn check_ports(options: &Options) -> Result<()> {
    options.ports.resolve().check(options.database_url.is_none(), options.control, Duration::from_secs(3))
}

/// Two gateways must not share a data folder.
fn lock(data: &Path) -> Result<File> {
    std::fs::create_dir_all(data.join("logs"))
        .with_context(|| format!("cannot create {}", data.display()))?;
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another `cargo xtask up` uses {}; stop it, or name another folder with --data DIR",
            data.display()
        );
    }
    Ok(file)
}

fn create(server: &Server, data: &Path, secrets: &Secrets) -> Result<()> {
    let step = Step::begin("Postgres' data folder");
    if server.create(&secrets.postgres_password, &data.join("logs/initdb.log"))? {
        step.done_with("created");
    } else {
        step.done_with("kept");
    }
    server.clear_leftovers()
}

fn bring_up(
    supervisor: &mut Supervisor,
    places: &Places<'_>,
    server: Option<&Server>,
    options: &Options,
) -> Result<Record> {
    let control_url =
        if options.control { Some(control::serve(places.ports.control, supervisor.sender())?) } else { None };
    let environment = places.environment(options.database_url.as_deref())?;
    let gateward = Gateward::new(places, environment.clone());

    let step = Step::begin("Postgres and the demo services");
    let postgres = server.map(|server| server.plan(places.log("postgres")));
    supervisor.start(postgres.into_iter().chain([places.upstream(), places.mailbox(), places.app()]))?;
    step.done();

    let step = Step::begin("databases, roles and tables (gateward migrate)");
    gateward.migrate()?;
    step.done();
    let step = Step::begin("demo projects (gateward apply)");
    gateward.apply(&places.render_apply_file()?)?;
    step.done();

    let step = Step::begin("origin, forwarder and edge");
    supervisor.start([places.origin(&environment), places.forwarder(&environment), places.edge()?])?;
    step.done();

    let step = Step::begin("a service token, an API key and a sign-in link");
    let service_token = gateward.service_token("captionacc", "prefect")?;
    let api_key = gateward.api_key("notes", "notes:read")?;
    let sign_in_link = gateward.sign_in_link(super::parts::OPERATOR)?;
    step.done();
    let mut record = places.record(environment, Issued { service_token, api_key, sign_in_link }, control_url);
    record.set_processes(&supervisor.pids());
    Ok(record)
}
