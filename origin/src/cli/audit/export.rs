//! `gateward audit export`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::audit::export::{ExportError, Exported, export};
use crate::cli::Failure;
use crate::clock::{Clock, Randomness};
use crate::configuration::{Source, StatisticsConfiguration};
use crate::database::Database;

/// Write the log, up to its latest checkpoint, for `gateward audit verify` or a verifier of somebody else's.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    gateward audit export --out audit.ndjson\n  \
    gateward audit export --from 100000 | gzip > audit-since-100000.ndjson.gz")]
pub(super) struct Arguments {
    /// The file to write; without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The first position to write. Checkpoints of fewer events cannot be compared with such a part.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = StatisticsConfiguration::read(source)?;
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let written = match &arguments.out {
        None => {
            let mut out = BufWriter::new(std::io::stdout());
            export(&database, arguments.from, &mut out).await
        }
        Some(path) => {
            // Under another name until it is whole.
            let mut part = path.clone().into_os_string();
            part.push(".part");
            let part = PathBuf::from(part);
            let file = File::create(&part).map_err(|error| in_file(&part, &error))?;
            let mut out = BufWriter::new(file);
            let written = export(&database, arguments.from, &mut out).await;
            if written.is_ok() {
                out.flush()
                    .and_then(|()| out.get_ref().sync_all())
                    .and_then(|()| std::fs::rename(&part, path))
                    .map_err(|error| in_file(path, &error))?;
            }
            written
        }
    };
    database.close().await;
    match written {
        Ok(Exported { origin, from, size }) => {
            eprintln!("gateward: {} events of {origin}, positions {from} to {size}", size - from);
            Ok(())
        }
        // Whoever read from us has gone, and wants no more.
        Err(ExportError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ ExportError::From { .. }) => Err(Failure::Usage(error.to_string())),
        Err(error) => Err(Failure::runtime(error)),
    }
}

fn in_file(path: &Path, error: &std::io::Error) -> Failure {
    Failure::runtime(format!("{}: {error}", path.display()))
}
