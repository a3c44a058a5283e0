//! The size of the edge's module: what is sent to every place it runs in, and what an isolate loads.

use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::cast::Cast;
use super::report::Measure;

/// What the compressed module may have, in kB.
const GOAL_KILOBYTES: f64 = 300.0;

/// Measures raw and with `gzip -9`.
pub(crate) fn measure(cast: &Cast) -> Result<Vec<Measure>> {
    let path = cast.edge.join("gateward_edge_bg.wasm");
    let raw = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?.len();
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let output = Command::new("gzip")
        .args(["-9", "--stdout", "--no-name"])
        .stdin(file)
        .stdout(Stdio::piped())
        .output()
        .context("gzip cannot be started")?;
    if !output.status.success() {
        bail!("gzip failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let measure = |name, text, bytes: usize, at_most| {
        let value = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1000.0;
        Measure { name, text, value, unit: "kB", at_most }
    };
    Ok(vec![
        measure("wasm_raw", "The wasm module", usize::try_from(raw).unwrap_or(usize::MAX), None),
        measure("wasm_gzipped", "The wasm module, gzipped", output.stdout.len(), Some(GOAL_KILOBYTES)),
    ])
}
