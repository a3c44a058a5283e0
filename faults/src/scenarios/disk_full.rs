//! The sink's disk is full. That is the sink's trouble and no row's fault: nothing is charged or given up, and once there is room again
//! everything arrives. Needs root, for a small file system of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sqlx::Connection;
use tokio::process::Command;

use super::{append, check, until};
use crate::process::Service;
use crate::run::drained;
use crate::stage::{Stage, execute};

/// Room for the table with its indexes, and some thousand events more.
const SIZE: &str = "size=64m,mode=0755";

pub(super) async fn play(stage: &Stage) -> Result<String> {
    if !rustix::process::geteuid().is_root() {
        return Ok("SKIPPED: only root can mount a small file system".to_owned());
    }
    // Beside the cluster, which its user can reach.
    let beside = stage.prepared.sink.spec.folder.parent().context("the sink lies nowhere")?;
    let mount = beside.join("small-disk");
    std::fs::create_dir_all(&mount).with_context(|| format!("cannot create {}", mount.display()))?;
    if !run("mount", &["-t", "tmpfs", "-o", SIZE, "tmpfs"], &mount).await? {
        return Ok("SKIPPED: this root may not mount a file system".to_owned());
    }
    let outcome = Box::pin(on(stage, &mount)).await;
    // Lazily: where it failed, Postgres may still hold files there.
    let gone = run("umount", &["--lazy"], &mount).await?;
    let said = outcome?;
    ensure!(gone, "{} could not be unmounted", mount.display());
    std::fs::remove_dir(&mount).with_context(|| format!("cannot remove {}", mount.display()))?;
    Ok(said)
}

async fn on(stage: &Stage, mount: &Path) -> Result<String> {
    let space = mount.join("space");
    std::fs::create_dir(&space)?;
    if let Some((uid, gid)) = stage.prepared.sink.spec.identity {
        std::os::unix::fs::chown(&space, Some(uid), Some(gid))?;
    }
    let mut sink = stage.sink.admin().await?;
    let moved = format!(
        "CREATE TABLESPACE small_disk LOCATION '{}'",
        space.to_str().context("its path is not text")?
    );
    execute(&mut sink, &moved).await?;
    execute(&mut sink, "ALTER TABLE public.auth_events SET TABLESPACE small_disk").await?;
    let filler = mount.join("filler");
    fill(&filler)?;

    let acknowledged = append(stage, 0xB4, 3_000).await?;
    let forwarder = Service::start(stage.spec("forwarder-1", "forward"), &stage.timeline, None);
    let full = "SELECT count(*) FROM auth_gateway.outbox_destinations WHERE id = 1 AND breaker_failures > 0 AND breaker_error ILIKE '%space%'";
    until(&stage.command, full, |count| count > 0).await?;
    stage.timeline.note("the disk is full, and the breaker says so");
    let charged = "SELECT count(*) FROM auth_gateway.outbox WHERE attempts > 0";
    let charged = until(&stage.command, charged, |_| true).await?;
    ensure!(charged == 0, "a full disk was charged to {charged} rows");
    let waiting =
        until(&stage.command, "SELECT count(*) FROM auth_gateway.outbox WHERE destination_id = 1", |count| {
            count > 0
        })
        .await?;
    std::fs::remove_file(&filler)?;
    drained(stage).await?;
    forwarder.stop(Signal::TERM).await?;
    check(stage, &acknowledged).await?;

    execute(&mut sink, "ALTER TABLE public.auth_events SET TABLESPACE pg_default").await?;
    // A checkpoint lets go of the last files.
    execute(&mut sink, "CHECKPOINT").await?;
    execute(&mut sink, "DROP TABLESPACE small_disk").await?;
    sink.close().await?;
    Ok(format!("{waiting} rows waited for room, none was charged for it, and all arrived"))
}

/// Writes until nothing more fits.
fn fill(path: &PathBuf) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let block = vec![1_u8; 4_096];
    loop {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn run(program: &str, arguments: &[&str], path: &Path) -> Result<bool> {
    let mut command = Command::new(program);
    command.args(arguments).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status().await.with_context(|| format!("{program} cannot be started"))?.success())
}
