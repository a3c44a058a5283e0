//! One workerd with every worker that is compared, each behind a port of its own: the same process, upstream and machine
//! for all of them. It ends with the bench.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::load::Server;
use crate::clock;
use crate::exec;

/// How long workerd may take to open its ports.
const START: Duration = Duration::from_secs(20);

/// A worker: its modules, entry first, and its text bindings.
#[derive(Clone)]
pub(crate) struct Worker {
    /// Its name in the configuration.
    pub(crate) name: &'static str,
    /// Module name and file.
    pub(crate) modules: Vec<(String, PathBuf)>,
    /// Binding name and text.
    pub(crate) bindings: Vec<(&'static str, String)>,
}

/// A running workerd.
pub(crate) struct Stage {
    child: Child,
    addresses: Vec<(&'static str, SocketAddr)>,
}

/// A workerd that could be started at once: its configuration is written.
pub(crate) struct Prepared {
    command: Command,
    addresses: Vec<(&'static str, SocketAddr)>,
    log: PathBuf,
}

impl Stage {
    /// Starts `workers` on the workerd at `binary`, in `folder`; the log is there too.
    pub(crate) fn start(
        binary: &Path,
        folder: &Path,
        compatibility_date: &str,
        workers: &[Worker],
    ) -> Result<Self> {
        Self::prepare(binary, folder, compatibility_date, workers)?.start()
    }

    /// Writes all that a start needs, so that a start can be timed.
    pub(crate) fn prepare(
        binary: &Path,
        folder: &Path,
        compatibility_date: &str,
        workers: &[Worker],
    ) -> Result<Prepared> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let addresses =
            workers.iter().map(|worker| Ok((worker.name, free_address()?))).collect::<Result<Vec<_>>>()?;
        let path = folder.join("bench.capnp");
        let text = configuration(folder, compatibility_date, workers, &addresses)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let log = folder.join("workerd.log");
        let (stdout, stderr) = exec::log_files(&log)?;
        let mut command = Command::new(binary);
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Ok(Prepared { command, addresses, log })
    }

    fn wait_until_open(&mut self, log: &Path) -> Result<()> {
        let all_open = clock::poll(START, Duration::from_micros(200), || {
            let ended = self.child.try_wait().ok().flatten().is_some();
            let open = self.addresses.iter().all(|(_, address)| TcpStream::connect(address).is_ok());
            (ended || open).then_some(open && !ended)
        });
        if all_open != Some(true) {
            bail!("workerd did not start; the end of {}:\n{}", log.display(), exec::tail(log));
        }
        Ok(())
    }

    /// A worker, to be measured.
    pub(crate) fn server(&self, name: &str) -> Result<Server> {
        let found = self.addresses.iter().find(|(worker, _)| *worker == name);
        let (_, address) = found.with_context(|| format!("no worker is called {name}"))?;
        Ok(Server { address: *address, pid: self.child.id() })
    }
}

impl Prepared {
    /// Starts it, and waits until every worker takes connections.
    pub(crate) fn start(mut self) -> Result<Stage> {
        let mut stage = Stage { child: exec::spawn(&mut self.command)?, addresses: self.addresses };
        stage.wait_until_open(&self.log)?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Its own child, by its handle; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port for a worker")?;
    listener.local_addr().context("a listener without an address")
}

fn configuration(
    folder: &Path,
    compatibility_date: &str,
    workers: &[Worker],
    addresses: &[(&str, SocketAddr)],
) -> Result<String> {
    let mut services = String::new();
    let mut sockets = String::new();
    let mut constants = String::new();
    for (worker, (name, address)) in workers.iter().zip(addresses) {
        let _ = writeln!(services, "    (name = \"{name}\", worker = .{name}),");
        let _ = writeln!(
            sockets,
            "    (name = \"{name}\", address = \"{address}\", http = (), service = \"{name}\"),"
        );
        let _ = writeln!(constants, "const {name} :Workerd.Worker = (\n  modules = [");
        for (module, file) in &worker.modules {
            let is_wasm = file.extension().is_some_and(|ending| ending == "wasm");
            let kind = if is_wasm { "wasm" } else { "esModule" };
            let copy = format!("{name}-{}", module.replace('/', "-"));
            fs::copy(file, folder.join(&copy)).with_context(|| format!("cannot copy {}", file.display()))?;
            let _ = writeln!(constants, "    (name = \"{module}\", {kind} = embed \"{copy}\"),");
        }
        constants.push_str("  ],\n  bindings = [\n");
        for (binding, text) in &worker.bindings {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = writeln!(constants, "    (name = \"{binding}\", text = \"{text}\"),");
        }
        let _ = writeln!(constants, "  ],\n  compatibilityDate = \"{compatibility_date}\",\n);\n");
    }
    Ok(format!(
        "# Written by `cargo xtask bench`.\nusing Workerd = import \"/workerd/workerd.capnp\";\n\nconst config :Workerd.Config = (\n  services = [\n\
         {services}    (name = \"internet\", network = (allow = [\"public\", \"private\", \"local\"])),\n  ],\n  sockets = [\n{sockets}  ],\n);\n\n{constants}"
    ))
}
