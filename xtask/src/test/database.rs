//! The origin's tests, with a Postgres of their own that forgets everything afterwards.

use anyhow::{Context, Result};

use crate::clock;
use crate::entropy;
use crate::exec;
use crate::postgres::Server;
use crate::progress::Step;
use crate::project::Project;
use crate::setup::{self, build::cargo, debian::NATS_SERVER, node};
use crate::signals;
use crate::up::ports::PortOptions;
use crate::up::supervisor::{Event, Supervisor};

/// An administrator's URL; with it set, that server is used.
const VARIABLE: &str = "GATEWARD_TEST_DATABASE_URL";

/// Starts Postgres, runs the tests, stops it.
pub(crate) fn run(project: &Project) -> Result<()> {
    let mut tests = cargo(project);
    tests.args(["test", "--package", "origin"]);
    tests.env(NATS_SERVER.variable, NATS_SERVER.ensure(project)?);
    if std::env::var_os(VARIABLE).is_some() {
        return exec::stream(&mut tests);
    }
    let node_modules = {
        let _turn = setup::take_turn(project)?;
        node::check()?;
        node::install(project)?
    };
    let folder = project.state().join(format!("test-{}-{}", std::process::id(), clock::unix_millis()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let step = Step::begin("a Postgres for the tests");
    let server = Server::prepare(
        &node_modules,
        &folder.join("postgres"),
        PortOptions::free()?.resolve().postgres,
        false,
    )?;
    let password = entropy::base64url32()?;
    server.create(&password, &folder.join("initdb.log"))?;
    let mut supervisor = Supervisor::new();
    let sender = supervisor.sender();
    signals::listen(move |signal| {
        let _ = sender.send(Event::Signal(signal));
    });
    let outcome = supervisor.start([server.plan(folder.join("postgres.log"))]).and_then(|()| {
        step.done();
        // A signal ends cargo, which is a command under way.
        exec::stream(tests.env(VARIABLE, server.admin_url(&password, "postgres")))
    });
    let stopped = supervisor.stop_all();
    signals::unlisten();
    server.remove()?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    stopped.and(outcome)
}
