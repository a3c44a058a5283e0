//! What must be there before a gateway can start: Node packages, the wasm target, the edge, the origin. Installs or
//! builds what is missing, says what it does, and names what it cannot get.

pub(crate) mod build;
pub(crate) mod debian;
pub(crate) mod edge;
pub(crate) mod node;
pub(crate) mod wasm;

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::progress::say;
use crate::project::Project;

/// What set-up has made.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The origin's binary.
    pub(crate) gateward: PathBuf,
    /// The folder with the edge's modules.
    pub(crate) edge: PathBuf,
    /// Node's packages.
    pub(crate) node_modules: PathBuf,
    /// workerd's binary.
    pub(crate) workerd: PathBuf,
}

/// Installs and builds everything that `up` needs.
pub(crate) fn all(project: &Project) -> Result<Ready> {
    let _turn = take_turn(project)?;
    node::check()?;
    // Network, the native compiler and the wasm compiler each leave room for the others.
    std::thread::scope(|scope| {
        let packages = scope.spawn(|| node::install(project));
        let origin = scope.spawn(|| build::origin(project));
        let edge = edge::build(project);
        let packages = packages.join().map_err(|_| anyhow::anyhow!("npm's thread ended"));
        let origin = origin.join().map_err(|_| anyhow::anyhow!("the origin's thread ended"));
        let node_modules = packages??;
        let gateward = origin??;
        let edge = edge?;
        let workerd = node::workerd(&node_modules)?;
        Ok(Ready { gateward, edge, node_modules, workerd })
    })
}

/// Two set-ups at once would write the same files: the second waits.
pub(crate) fn take_turn(project: &Project) -> Result<File> {
    let path = project.state().join("setup.lock");
    std::fs::create_dir_all(project.state())
        .with_context(|| format!("cannot create {}", project.state().display()))?;
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        say("  … another set-up is under way in this clone; waiting for it");
        file.lock().context("cannot wait for the other set-up")?;
    }
    Ok(file)
}
