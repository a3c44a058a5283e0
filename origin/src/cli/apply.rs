//! `gateward apply`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{ApplyConfiguration, LogFormat, Source};
use crate::database::Database;
use crate::projects::{self, Applied, Declaration};

/// Make a workspace, its projects, services and clients what a file says. Applying it again changes nothing.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward apply demo.toml\n\nA file:\n  \
    [workspace]\n  slug = \"demo\"\n  [[project]]\n  slug = \"notes\"\n  [[project.service]]\n  slug = \"api\"\n  \
    upstreams = [\"http://127.0.0.1:9100\"]\n  scopes = [\"notes:read\"]\n  [[client]]\n  client_id = \"demo-app\"\n  \
    project = \"notes\"\n  redirect_uris = [\"http://127.0.0.1:9101/callback\"]\n  scopes = [\"notes:read\"]")]
pub(super) struct Arguments {
    /// The file, in TOML.
    file: PathBuf,
    /// Print what was done as JSON, with the new secrets of confidential clients.
    #[arg(long)]
    json: bool,
}

/// The JSON: what was done, and the new secrets.
#[derive(serde::Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    applied: &'a Applied,
    client_secrets: BTreeMap<&'a str, &'a str>,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = ApplyConfiguration::read(source)?;
    logging::start(LogFormat::Text);
    let file = arguments.file.display();
    let text = tokio::fs::read_to_string(&arguments.file)
        .await
        .map_err(|error| Failure::Usage(format!("{file} cannot be read: {error}")))?;
    let declaration =
        Declaration::parse(&text).map_err(|faults| Failure::Usage(format!("{file}: {faults}")))?;
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let applied = projects::apply(&database, &declaration).await.map_err(Failure::runtime)?;
    database.close().await;
    if arguments.json {
        let secrets =
            applied.client_secrets.iter().map(|(client_id, secret)| (client_id.as_str(), secret.expose()));
        return output::json(&Printed { applied: &applied, client_secrets: secrets.collect() });
    }
    for (done, labels) in
        [("created", &applied.created), ("updated", &applied.updated), ("unchanged", &applied.unchanged)]
    {
        for label in labels {
            output::line(&format!("{done} {label}"))?;
        }
    }
    for (client_id, secret) in &applied.client_secrets {
        output::line(&format!("secret of client {client_id}, shown this once: {}", secret.expose()))?;
    }
    Ok(())
}
