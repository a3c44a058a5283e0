//! workerd's configuration for the edge. Secrets come from its environment, so the file holds none.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::edge::MODULES;

/// The text bindings of the edge; `wrangler.toml` declares the same ones.
pub(crate) const BINDINGS: [&str; 9] = [
    "ISSUER",
    "ORIGIN_URL",
    "EDGE_ID",
    "EDGE_PRIVATE_KEY",
    "POLICY_PUBLIC_KEY",
    "CODE_MAC_KEY",
    "GATEWAY_JWT_SECRET",
    "CLIENT_ADDRESS",
    "METRICS_TOKEN",
];

/// The same date as in `wrangler.toml`.
pub(crate) const COMPATIBILITY_DATE: &str = "2026-10-20";

/// Copies the modules into `folder` (a later build must not change a running worker's next start) and writes the
/// configuration beside them. Returns its path.
pub(crate) fn write(modules: &Path, folder: &Path, port: u16) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for module in MODULES {
        let (from, to) = (modules.join(module), folder.join(module));
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    let path = folder.join("workerd.capnp");
    std::fs::write(&path, configuration(port)).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn configuration(port: u16) -> String {
    let modules: Vec<String> = MODULES
        .iter()
        .map(|name| {
            let kind = if Path::new(name).extension().is_some_and(|ending| ending == "wasm") {
                "wasm"
            } else {
                "esModule"
            };
            format!("    (name = \"{name}\", {kind} = embed \"{name}\"),")
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
