//! `up.json`: what runs where, for scripts. Written whole or not at all, readable by its owner only (it holds secrets).

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::postgres::write_secret;

/// Everything a script needs to talk to a running gateway.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Record {
    /// The process id of `cargo xtask up`.
    pub(crate) pid: u32,
    pub(crate) issuer: String,
    pub(crate) edge_url: String,
    pub(crate) origin_url: String,
    pub(crate) upstream_url: String,
    pub(crate) mailbox_url: String,
    pub(crate) mailbox_smtp: String,
    pub(crate) app_url: String,
    /// Only with `--control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) control_url: Option<String>,
    /// The administrator's URL of the command database.
    pub(crate) database_url: String,
    /// The URL that `gateward serve` uses.
    pub(crate) app_database_url: String,
    /// The administrator's URL of the read database.
    pub(crate) read_database_url: String,
    /// The administrator's URL of the client registry.
    pub(crate) registry_database_url: String,
    pub(crate) sign_in_link: String,
    pub(crate) operator_email: String,
    pub(crate) demo_client: DemoClient,
    pub(crate) projects: Vec<String>,
    pub(crate) service_token: String,
    /// Of the project `notes`.
    pub(crate) api_key: String,
    /// Process ids by part; a stopped part is absent.
    pub(crate) processes: BTreeMap<String, i32>,
    /// What `gateward` was given.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) gateward: String,
    pub(crate) data: String,
}

/// What is issued anew at every start.
pub(crate) struct Issued {
    pub(crate) service_token: String,
    pub(crate) api_key: String,
    pub(crate) sign_in_link: String,
}

/// The registered client of the demo app.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct DemoClient {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Vec<String>,
}

impl Record {
    /// Notes the present process ids.
    pub(crate) fn set_processes(&mut self, pids: &BTreeMap<&'static str, i32>) {
        self.processes = pids.iter().map(|(name, pid)| ((*name).to_owned(), *pid)).collect();
    }

    /// Writes it to every path, each time into a new file that then takes the path's place.
    pub(crate) fn write(&self, paths: &[PathBuf]) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("up.json cannot be written")?;
        for path in paths {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot create {}", folder.display()))?;
            }
            let fresh = path.with_extension(format!("json.{}", self.pid));
            write_secret(&fresh, &text)?;
            std::fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes the files, unless another gateway has written them since.
    pub(crate) fn remove(&self, paths: &[PathBuf]) {
        for path in paths {
            let ours = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
            if ours.is_some_and(|record| record.pid == self.pid) {
                // Already gone is as good.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
