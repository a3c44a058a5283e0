//! workerd's configuration for the edge. Secrets come from its environment, so the file holds none.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::edge;

/// The text bindings of the edge; `wrangler.toml` declares the same ones.
pub(crate) const BINDINGS: [&str; 10] = [
    "ISSUER",
    "ORIGIN_URL",
    "EDGE_ID",
    "EDGE_PRIVATE_KEY",
    "POLICY_PUBLIC_KEY",
    "CODE_MAC_KEY",
    "GATEWAY_JWT_SECRET",
    "CLIENT_ADDRESS",
    "METRICS_TOKEN",
    "ACCESS_LOG",
];

/// The same date as in `wrangler.toml`.
pub(crate) const COMPATIBILITY_DATE: &str = "2026-10-20";

/// Copies the modules into `folder` (a later build must not change a running worker's next start) and writes the
/// configuration beside them. Returns its path.
pub(crate) fn write(dist: &Path, folder: &Path, port: u16) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    let modules = edge::modules(dist)?;
    for module in &modules {
        let (from, to) = (dist.join(module), folder.join(module));
        let parent = to.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    let path = folder.join("workerd.capnp");
    std::fs::write(&path, configuration(&modules, port))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn configuration(modules: &[String], port: u16) -> String {
    let modules: Vec<String> = modules
        .iter()
        .filter_map(|name| {
            let kind = edge::kind(Path::new(name))?;
            Some(format!("    (name = \"{name}\", {kind} = embed \"{name}\"),"))
        })
        .collect();
    let bindings: Vec<String> = BINDINGS
        .iter()
        .map(|name| format!("    (name = \"{name}\", fromEnvironment = \"{name}\"),"))
        .collect();
    format!(
        r#"# Written by `cargo xtask up` at every start.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    # Upstreams are internal: the edge may reach private addresses.
    (name = "internet", network = (
      allow = ["public", "private", "local"],
      tlsOptions = (trustBrowserCas = true)
    )),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "edge")],
);

const edge :Workerd.Worker = (
  modules = [
{modules}
  ],
  bindings = [
{bindings}
  ],
  compatibilityDate = "{COMPATIBILITY_DATE}",
);
"#,
        modules = modules.join("\n"),
        bindings = bindings.join("\n"),
    )
}
