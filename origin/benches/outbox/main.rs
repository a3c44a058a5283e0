//! What `cargo xtask bench outbox` measures: the real append and the real forwarder, on a Postgres that it is given, beside what one
//! would write by hand. Prints raw rounds as one line of JSON; what they mean is the caller's business.

mod append;
mod batch;
mod drain;
mod latency;
mod stage;
mod write_ahead;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::stage::Stage;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Rounds of everything.
    rounds: u32,
    /// Seconds a measurement.
    seconds: u64,
}

fn main() -> Result<()> {
    let size = size()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let stage = Stage::set().await?;
        let rounds = measure(&stage, size).await?;
        println!("{rounds}");
        Ok(())
    })
}

/// `--rounds N --seconds S`; what cargo adds of its own is passed over.
fn size() -> Result<Size> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let of = |name: &str, default: u64| -> Result<u64> {
        let at = arguments.iter().position(|argument| argument == name);
        let value = at.and_then(|at| arguments.get(at + 1));
        value.map_or(Ok(default), |text| text.parse().with_context(|| format!("{name} {text}")))
    };
    Ok(Size { rounds: u32::try_from(of("--rounds", 5)?)?, seconds: of("--seconds", 3)? })
}

/// Everything once a round, in turning order where two sides are compared.
async fn measure(stage: &Stage, size: Size) -> Result<Value> {
    let mut rounds = Vec::new();
    for round in 0..size.rounds {
        eprintln!("round {} of {}", round + 1, size.rounds);
        let (append, bare) = if round % 2 == 0 {
            let append = append::events(stage, size).await?;
            (append, append::bare(stage, size).await?)
        } else {
            let bare = append::bare(stage, size).await?;
            (append::events(stage, size).await?, bare)
        };
        let (batch, copy) = if round % 2 == 0 {
            let batch = batch::append_all(stage, size).await?;
            (batch, batch::copy(stage, size).await?)
        } else {
            let copy = batch::copy(stage, size).await?;
            (batch::append_all(stage, size).await?, copy)
        };
        eprintln!("append {append:.0}/s, bare {bare:.0}/s; batch {batch:.0}/s, copy {copy:.0}/s");
        let (to_nowhere, to_postgres) = drain::drain(stage).await?;
        eprintln!("drain {to_nowhere:.0}/s to nowhere, {to_postgres:.0}/s to the read database");
        let latency = latency::latency(stage, size).await?;
        let wal = write_ahead::outbox(stage).await?;
        eprintln!("latency {latency}; {wal:.0} B of the outbox an event");
        rounds.push(json!({
            "append": append, "bare": bare, "batch": batch, "copy": copy, "drain": to_nowhere,
            "drain_postgres": to_postgres, "latency": latency, "wal": wal,
        }));
    }
    Ok(
        json!({ "clients": append::CLIENTS, "batch": batch::BATCH, "postgres": stage.version().await?, "rounds": rounds }),
    )
}
