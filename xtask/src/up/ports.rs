//! The ports of one gateway, and whether they are free, asked before anything starts.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::clock;
use crate::entropy;

/// Ports on 127.0.0.1; each has an option, and `--port-base` sets all of them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PortOptions {
    /// First of eight consecutive ports, for running a second gateway: edge, origin, upstream, app, mailbox, SMTP,
    /// Postgres, control. An option of its own still wins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1024..=65_528))]
    port_base: Option<u16>,
    /// Port of the edge, and so of the issuer [default: 8787]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Port of the origin [default: 4000]
    #[arg(long, value_name = "PORT")]
    origin_port: Option<u16>,
    /// Port of the demo upstream [default: 9100]
    #[arg(long, value_name = "PORT")]
    upstream_port: Option<u16>,
    /// Port of the demo app [default: 9101]
    #[arg(long, value_name = "PORT")]
    app_port: Option<u16>,
    /// Port of the mailbox's page [default: 9103]
    #[arg(long, value_name = "PORT")]
    mailbox_port: Option<u16>,
    /// Port where the mailbox takes mail [default: 2525]
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u16>,
    /// Port of the embedded Postgres [default: 54329]
    #[arg(long, value_name = "PORT")]
    postgres_port: Option<u16>,
    /// Port of the control endpoint, with --control [default: 9109]
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
}

/// The ports in use.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) edge: u16,
    pub(crate) origin: u16,
    pub(crate) upstream: u16,
    pub(crate) app: u16,
    pub(crate) mailbox: u16,
    pub(crate) smtp: u16,
    pub(crate) postgres: u16,
    pub(crate) control: u16,
}

impl PortOptions {
    /// Eight consecutive ports that are free at this moment. Below the range that outgoing connections take theirs from:
    /// one of those could take the port of a part that is being started again.
    pub(crate) fn free() -> Result<Self> {
        for _ in 0..100 {
            let [high, low, ..] = entropy::bytes32()?;
            let base = 10_000 + u16::from_be_bytes([high, low]) % 2_700 * 8;
            if (base..base + 8).all(is_free) {
                return Ok(Self { port_base: Some(base), ..Self::default() });
            }
        }
        bail!("no eight consecutive ports between 10000 and 31600 are free")
    }

    /// The ports that result from the options.
    pub(crate) fn resolve(&self) -> Ports {
        let pick = |own: Option<u16>, offset: u16, default: u16| {
            own.unwrap_or_else(|| self.port_base.map_or(default, |base| base.saturating_add(offset)))
        };
        Ports {
            edge: pick(self.port, 0, 8787),
            origin: pick(self.origin_port, 1, 4000),
            upstream: pick(self.upstream_port, 2, 9100),
            app: pick(self.app_port, 3, 9101),
            mailbox: pick(self.mailbox_port, 4, 9103),
            smtp: pick(self.smtp_port, 5, 2525),
            postgres: pick(self.postgres_port, 6, 54329),
            control: pick(self.control_port, 7, 9109),
        }
    }
}

impl Ports {
    /// Fails when a port is taken, naming all of them and their options. Waits up to `patience` for parts of an earlier
    /// run that are still stopping.
    pub(crate) fn check(&self, with_postgres: bool, with_control: bool, patience: Duration) -> Result<()> {
        let mut wanted = vec![
            (self.edge, "--port"),
            (self.origin, "--origin-port"),
            (self.upstream, "--upstream-port"),
            (self.app, "--app-port"),
            (self.mailbox, "--mailbox-port"),
            (self.smtp, "--smtp-port"),
        ];
        wanted.extend(with_postgres.then_some((self.postgres, "--postgres-port")));
        wanted.extend(with_control.then_some((self.control, "--control-port")));
        for (index, (port, option)) in wanted.iter().enumerate() {
            if let Some((_, other)) = wanted.iter().take(index).find(|(earlier, _)| earlier == port) {
                bail!("{option} and {other} are both {port}");
            }
        }
        let taken =
            || -> Vec<(u16, &str)> { wanted.iter().copied().filter(|(port, _)| !is_free(*port)).collect() };
        if clock::poll(patience, Duration::from_millis(100), || taken().is_empty().then_some(())).is_some() {
            return Ok(());
        }
        let lines: Vec<String> = taken()
            .iter()
            .map(|(port, option)| format!("  port {port} (another one: {option} PORT)"))
            .collect();
        bail!(
            "another program listens on 127.0.0.1:\n{}\nstop it, or use other ports; --port-base N moves all of them",
            lines.join("\n")
        )
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_moves_all_and_an_own_option_wins() {
        let ports =
            PortOptions { port_base: Some(20_000), smtp_port: Some(30_000), ..PortOptions::default() }
                .resolve();
        assert_eq!((ports.edge, ports.origin, ports.smtp, ports.control), (20_000, 20_001, 30_000, 20_007));
    }

    #[test]
    fn a_taken_port_is_named_with_its_option() {
        let mut options = PortOptions::free().unwrap();
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        options.app_port = Some(taken);
        let message = options.resolve().check(true, true, Duration::ZERO).unwrap_err().to_string();
        assert!(message.contains(&format!("port {taken} (another one: --app-port PORT)")), "{message}");
        assert_eq!(message.matches("another one").count(), 1, "{message}");
    }
}
