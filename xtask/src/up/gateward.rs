//! Calls of the origin's binary for things that are done once: migrations, the demo's projects, a token, a link.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::parts::Places;
use crate::exec;

/// The binary with its environment.
pub(crate) struct Gateward {
    program: PathBuf,
    folder: PathBuf,
    logs: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Gateward {
    pub(crate) fn new(places: &Places<'_>, environment: BTreeMap<String, String>) -> Self {
        Self {
            program: places.ready.gateward.clone(),
            folder: places.project.root().to_path_buf(),
            logs: places.data.join("logs"),
            environment,
        }
    }

    /// Creates databases, roles and tables, or brings them up to date.
    pub(crate) fn migrate(&self) -> Result<()> {
        exec::run(&mut self.command(&["migrate"]), &self.logs.join("migrate.log"))
    }

    /// Brings workspace, projects, services and clients to what the file says.
    pub(crate) fn apply(&self, file: &Path) -> Result<()> {
        exec::run(self.command(&["apply"]).arg(file), &self.logs.join("apply.log"))
    }

    /// Issues a service token.
    pub(crate) fn service_token(&self, project: &str, service: &str) -> Result<String> {
        let arguments = ["token", "issue", "--project", project, "--service", service, "--json"];
        self.text_member(&arguments, "token", "token-issue.log")
    }

    /// Makes an API key of a project that lives as long as a day's work.
    pub(crate) fn api_key(&self, project: &str, scopes: &str) -> Result<String> {
        let arguments = [
            "api-key",
            "create",
            "--project",
            project,
            "--name",
            "up",
            "--scopes",
            scopes,
            "--ttl",
            "1d",
            "--env",
            "test",
            "--json",
        ];
        self.text_member(&arguments, "key", "api-key-create.log")
    }

    /// A link that signs a person in once.
    pub(crate) fn sign_in_link(&self, email: &str) -> Result<String> {
        self.text_member(&["sign-in-link", "--email", email, "--json"], "link", "sign-in-link.log")
    }

    fn text_member(&self, arguments: &[&str], member: &str, log: &str) -> Result<String> {
        let text = exec::read(&mut self.command(arguments), &self.logs.join(log))?;
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("`gateward {}` printed no JSON: {text}", arguments.join(" ")))?;
        let found = value.get(member).and_then(Value::as_str);
        found.map(str::to_owned).with_context(|| {
            format!("`gateward {}` printed JSON without a text member `{member}`", arguments.join(" "))
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(&self.environment).current_dir(&self.folder);
        command
    }
}
