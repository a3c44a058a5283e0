//! The edge's tests: its own parts natively, then the built worker in workerd between an origin and an upstream of the test.

use std::process::Command;

use anyhow::Result;

use crate::exec;
use crate::project::Project;
use crate::setup::{self, build::cargo, edge, node};

/// Runs `cargo test -p edge` and `node --test` over `edge/tests`.
pub(crate) fn run(project: &Project) -> Result<()> {
    exec::stream(cargo(project).args(["test", "--package", "edge"]))?;
    let (modules, workerd) = {
        let _turn = setup::take_turn(project)?;
        node::check()?;
        (edge::build(project)?, node::workerd(&node::install(project)?)?)
    };
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec"]).arg(project.path("edge/tests"));
    command.env("EDGE_DIST", modules).env("WORKERD", workerd);
    exec::stream(&mut command)
}
