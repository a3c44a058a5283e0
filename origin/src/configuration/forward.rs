//! What `gateward forward` needs, apart from the credentials of its destinations.

use std::net::SocketAddr;
use std::time::Duration;

use super::commands::log_format;
use super::database_url::DatabaseUrl;
use super::fault::Faults;
use super::reader::{Problem, Reader, Source};
use super::value::{LogFormat, duration_within, milliseconds_within};

pub(super) const FORWARDER: &str =
    "Set it to the forwarder's login on the command database: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE.";

/// `gateward forward`.
#[derive(Clone)]
pub struct ForwardConfiguration {
    /// The forwarder's login on the command database.
    pub command: DatabaseUrl,
    /// How long a lane is kept without a sign of life; what a crashed forwarder held is taken over after it.
    pub lease: Duration,
    /// How long to wait when there was nothing to do.
    pub poll_interval: Duration,
    /// Where metrics are served, where they are.
    pub metrics_address: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl ForwardConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let whole = Self::collect(&mut reader);
        reader.finish(whole)
    }

    pub(super) fn collect(reader: &mut Reader<'_>) -> Option<Self> {
        let command = reader.required("FORWARDER_DATABASE_URL", FORWARDER, DatabaseUrl::parse);
        let lease =
            reader.or("FORWARDER_LEASE", Duration::from_secs(30), |text| duration_within(text, 1, 600));
        let poll_interval = reader.or("FORWARDER_POLL_INTERVAL", Duration::from_millis(150), |text| {
            milliseconds_within(text, 10, 10_000)
        });
        let metrics_address = reader.optional("FORWARDER_METRICS_ADDRESS", metrics_address);
        let log_format = log_format(reader);
        Some(Self { command: command?, lease, poll_interval, metrics_address, log_format })
    }
}

fn metrics_address(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| {
        Problem::new("is not an address with a port", "Set it to a private address such as 127.0.0.1:4001.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_value_with_a_default_is_still_a_fault() {
        let source = Source::of([
            ("FORWARDER_DATABASE_URL", "postgres://f:secret@localhost/gateward"),
            ("FORWARDER_LEASE", "0"),
            ("FORWARDER_METRICS_ADDRESS", "4001"),
        ]);
        let faults = ForwardConfiguration::read(&source).err().unwrap();
        let variables: Vec<_> = faults.0.iter().map(|fault| fault.variable.as_ref()).collect();
        assert_eq!(variables, ["FORWARDER_LEASE", "FORWARDER_METRICS_ADDRESS"]);
    }
}
