//! Where things lie in a clone of the project. Knows paths, starts nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The clone that this xtask was started in.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    root: PathBuf,
}

impl Project {
    /// Finds the root: cargo names xtask's manifest when it runs it; otherwise the nearest folder upwards that holds
    /// both `wrangler.toml` and `xtask/`.
    pub(crate) fn find() -> Result<Self> {
        let from_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = std::env::current_dir().context("the current folder cannot be read")?;
        let candidates = from_cargo.iter().map(PathBuf::as_path).chain(std::iter::once(here.as_path()));
        for start in candidates {
            if let Some(root) = start.ancestors().find(|folder| Self::is_root(folder)) {
                return Ok(Self { root: root.to_path_buf() });
            }
        }
        bail!(
            "{} is not inside a clone of Gateward; change to one and run `cargo xtask` again",
            here.display()
        )
    }

    fn is_root(folder: &Path) -> bool {
        folder.join("wrangler.toml").is_file() && folder.join("xtask/Cargo.toml").is_file()
    }

    /// The root of the clone.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the clone.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// `target/gateward`: everything that runs leave behind. Stays in the clone even when cargo's target folder is
    /// elsewhere, because scripts look for it here.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("target/gateward")
    }

    /// The folder for logs of set-up steps, created when missing.
    pub(crate) fn setup_log(&self, name: &str) -> Result<PathBuf> {
        let folder = self.state().join("setup-logs");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder.join(format!("{name}.log")))
    }
}
