//! `gateward check`.

use super::{Failure, output};
use crate::configuration::{self, Source};

/// Check the configuration of every service and print every fault of it at once.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward check && gateward serve")]
pub(super) struct Arguments {
    /// Print the faults as JSON; an empty list means there are none.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let checked = configuration::check(source);
    if arguments.json {
        let none = Vec::new();
        output::json(checked.as_ref().err().map_or(&none, |faults| &faults.0))?;
    } else if checked.is_ok() {
        output::line("the configuration has no fault")?;
    }
    Ok(checked?)
}
