//! workerd's configuration for the edge. Secrets come from its environment, so the file holds none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::edge;

/// The text bindings of the edge; `wrangler.toml` declares the same ones.
pub(crate) const BINDINGS: [&str; 12] = [
    "ISSUER",
    "ORIGIN_URL",
    "EDGE_ID",
    "EDGE_PRIVATE_KEY",
    "POLICY_PUBLIC_KEY",
    "CODE_MAC_KEY",
    "GATEWAY_JWT_SECRET",
    "CLIENT_ADDRESS",
    "CLIENT_CERTIFICATE",
    "METRICS_TOKEN",
    "ACCESS_LOG",
    "REGION",
];

/// The same date as in `wrangler.toml`.
pub(crate) const COMPATIBILITY_DATE: &str = "2026-10-20";

/// Below the folder for what is kept: what the exact limiter counted.
const OBJECTS: &str = "objects";
/// The same: the policy's last good copy.
const POLICY: &str = "policy";

/// Where an edge on workerd has what.
pub(crate) struct Layout {
    /// The configuration, to be written.
    pub(crate) configuration: PathBuf,
    /// The folder for its modules, beside the configuration. Whatever was in it goes.
    pub(crate) modules: PathBuf,
    /// The folder that keeps what must outlive a start: what the exact limiter counted, and the policy's last good copy.
    pub(crate) state: PathBuf,
    /// The address that the edge listens on.
    pub(crate) address: IpAddr,
    /// Its port.
    pub(crate) port: u16,
}

/// Copies the modules (a later build must not change a running worker's next start) and writes the configuration.
pub(crate) fn write(dist: &Path, layout: &Layout) -> Result<()> {
    let Layout { configuration, modules: folder, .. } = layout;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    for kept in [layout.state.join(OBJECTS), layout.state.join(POLICY)] {
        std::fs::create_dir_all(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
    }
    let modules = edge::modules(dist)?;
    for module in &modules {
        let (from, to) = (dist.join(module), folder.join(module));
        let parent = to.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    std::fs::write(configuration, text(&modules, layout)?)
        .with_context(|| format!("cannot write {}", configuration.display()))
}

fn text(modules: &[String], layout: &Layout) -> Result<String> {
    let folder = layout.modules.file_name().and_then(|name| name.to_str());
    let folder = folder.context("the folder for the modules has no name that is text")?;
    let state = |name: &str| {
        let folder = layout.state.join(name);
        folder.to_str().map(quoted).context("the folder for what is kept is not text")
    };
    let (objects, policy) = (state(OBJECTS)?, state(POLICY)?);
    let modules: Vec<String> = modules
        .iter()
        .filter_map(|name| {
            let kind = edge::kind(Path::new(name))?;
            let file = quoted(&format!("{folder}/{name}"));
            Some(format!("    (name = {}, {kind} = embed {file}),", quoted(name)))
        })
        .collect();
    let bindings: Vec<String> = BINDINGS
        .iter()
        .map(|name| format!("    (name = \"{name}\", fromEnvironment = \"{name}\"),"))
        .collect();
    let address = match layout.address {
        IpAddr::V4(address) => format!("{address}:{}", layout.port),
        IpAddr::V6(address) => format!("[{address}]:{}", layout.port),
    };
    Ok(format!(
        r#"# Written by `cargo xtask`. The text bindings are read from the environment.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    # What the exact limiter counted: keep it from one start to the next.
    (name = "objects", disk = (path = {objects}, writable = true)),
    # The policy's last good copy, as a file: a folder answers like a key-value store.
    (name = "policy-store", disk = (path = {policy}, writable = true)),
    # Upstreams are internal: the edge may reach private addresses.
    (name = "internet", network = (
      allow = ["public", "private", "local"],
      tlsOptions = (trustBrowserCas = true)
    )),
  ],
  sockets = [(name = "http", address = "{address}", http = (), service = "edge")],
);

const edge :Workerd.Worker = (
  modules = [
{modules}
  ],
  bindings = [
{bindings}
    (name = "EXACT_LIMITS", durableObjectNamespace = "ExactLimits"),
    (name = "POLICY_STORE", kvNamespace = "policy-store"),
  ],
  durableObjectNamespaces = [
    (className = "ExactLimits", uniqueKey = "gateward-exact-limits", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "objects"),
  compatibilityDate = "{COMPATIBILITY_DATE}",
);
"#,
        modules = modules.join("\n"),
        bindings = bindings.join("\n"),
    ))
}

/// A text in the configuration's language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
