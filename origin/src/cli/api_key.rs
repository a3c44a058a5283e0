//! `gateward api-key`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use shared::{address_range::AddressRange, api_key::Environment, scope::Scopes};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Failure, logging, output};
use crate::{
    clock::{Clock, Randomness},
    configuration::{ApplyConfiguration, LogFormat, Source, parse_duration},
    credentials::{self, CredentialError, ImportRequest, KeyRequest, Revoked},
    database::Database,
};

/// Make, import, list and revoke API keys and opaque tokens.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an API key. It is printed once; only its hash is stored.
    #[command(
        after_help = "Example:\n  gateward api-key create --project notes --name ci --scopes 'notes:read' --ttl 90d"
    )]
    Create {
        #[command(flatten)]
        about: About,
        /// Where the key is meant to be used; the key itself says so.
        #[arg(long, default_value = "live")]
        env: EnvironmentName,
    },
    /// Know a token that somebody else issued, by its SHA-256. The token itself is never asked for.
    #[command(
        after_help = "Example:\n  printf %s \"$TOKEN\" | sha256sum\n  gateward api-key import --project notes --name legacy-ci --sha256 9f86…"
    )]
    Import {
        #[command(flatten)]
        about: About,
        /// SHA-256 of the whole token, in hexadecimal or base64url.
        #[arg(long, value_parser = sha256)]
        sha256: Hash,
        /// The client it was issued to.
        #[arg(long)]
        client: Option<String>,
    },
    /// List credentials, newest first. Neither keys nor their hashes are shown.
    #[command(after_help = "Example:\n  gateward api-key list --project notes --json")]
    List {
        /// Of this project only.
        #[arg(long)]
        project: Option<String>,
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a credential by its id. The edges refuse it with their next policy.
    #[command(after_help = "Example:\n  gateward api-key revoke 0199… --reason 'committed by mistake'")]
    Revoke {
        /// The credential's id, as `list` shows it.
        id: Uuid,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Who asks, for the record.
        #[arg(long = "by", default_value = "operator")]
        revoked_by: String,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct About {
    /// The project it is for.
    #[arg(long)]
    project: String,
    /// What people know it by.
    #[arg(long)]
    name: String,
    /// Who acts with it, as upstreams see it; without it, the credential itself.
    #[arg(long)]
    subject: Option<String>,
    /// What it may do, separated by spaces; repeat for several.
    #[arg(long)]
    scopes: Vec<String>,
    /// How long it lives: 300, 5m, 12h, 30d; for ever without it.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// A range of addresses it may come from, such as 192.0.2.0/24; repeat for several, anywhere without one.
    #[arg(long = "address", value_parser = address)]
    addresses: Vec<AddressRange>,
    /// Who asks, for the record.
    #[arg(long = "by", default_value = "operator")]
    created_by: String,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EnvironmentName {
    Live,
    Test,
}

/// An array, in a type that is not a list of values to the command line.
#[derive(Clone, Copy)]
struct Hash([u8; 32]);

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 300, 5m, 12h or 30d".to_owned())
}

fn address(text: &str) -> Result<AddressRange, String> {
    AddressRange::parse(text).ok_or_else(|| {
        "write it like 192.0.2.0/24, with no bits set behind the prefix, or one address".to_owned()
    })
}

fn sha256(text: &str) -> Result<Hash, String> {
    credentials::parse_sha256(text).map(Hash).ok_or_else(|| {
        "give 64 hexadecimal digits, as sha256sum prints them, or 43 characters of base64url".to_owned()
    })
}

impl About {
    fn request(&self) -> Result<KeyRequest, Failure> {
        let scopes = Scopes::parse(&self.scopes.join(" ")).ok_or_else(|| {
            Failure::Usage("--scopes has a character that RFC 6749, 3.3 does not allow".to_owned())
        })?;
        Ok(KeyRequest {
            project: self.project.clone(),
            name: self.name.clone(),
            subject: self.subject.clone(),
            scopes,
            lifetime: self.ttl,
            addresses: self.addresses.clone(),
            created_by: self.created_by.clone(),
        })
    }
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    logging::start(LogFormat::Text);
    match &arguments.command {
        Command::Create { about, env } => create(about, *env, source).await,
        Command::Import { about, sha256, client } => import(about, sha256.0, client.clone(), source).await,
        Command::List { project, json } => list(project.as_deref(), *json, source).await,
        Command::Revoke { id, reason, revoked_by, json } => {
            revoke(*id, reason, revoked_by, *json, source).await
        }
    }
}

async fn create(about: &About, environment: EnvironmentName, source: &Source) -> Result<(), Failure> {
    let environment = match environment {
        EnvironmentName::Live => Environment::Live,
        EnvironmentName::Test => Environment::Test,
    };
    let request = about.request()?;
    let database = open(source)?;
    let created = credentials::create(&database, environment, &request).await.map_err(failure)?;
    database.close().await;
    if !about.json {
        return output::line(created.key.expose());
    }
    let expires_at =
        created.expires_at.map(|at| at.format(&Rfc3339)).transpose().map_err(Failure::runtime)?;
    output::json(&json!({"key": created.key.expose(), "id": created.id, "expires_at": expires_at}))
}

async fn import(
    about: &About,
    sha256: [u8; 32],
    client_id: Option<String>,
    source: &Source,
) -> Result<(), Failure> {
    let request = ImportRequest { sha256, client_id, key: about.request()? };
    let database = open(source)?;
    let id = credentials::import(&database, &request).await.map_err(failure)?;
    database.close().await;
    if about.json { output::json(&json!({"id": id})) } else { output::line(&id.to_string()) }
}

async fn list(project: Option<&str>, as_json: bool, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let credentials = credentials::list(&database, project).await.map_err(failure)?;
    database.close().await;
    if as_json {
        return output::json(&credentials);
    }
    for credential in credentials {
        let state = credential.revoked_at.map_or("valid", |_| "revoked");
        let until = match credential.expires_at {
            Some(at) => format!("until {}", at.format(&Rfc3339).map_err(Failure::runtime)?),
            None => "without end".to_owned(),
        };
        output::line(&format!(
            "{} {} {} {:?} {until} {state}",
            credential.id, credential.kind, credential.project, credential.name
        ))?;
    }
    Ok(())
}

async fn revoke(id: Uuid, reason: &str, by: &str, as_json: bool, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let revoked = credentials::revoke(&database, id, by, reason).await.map_err(failure)?;
    database.close().await;
    if as_json {
        return output::json(&json!({"id": id, "was_revoked_before": revoked == Revoked::Before}));
    }
    output::line(match revoked {
        Revoked::Now => "revoked",
        Revoked::Before => "had been revoked before",
    })
}

fn open(source: &Source) -> Result<Database, Failure> {
    let configuration = ApplyConfiguration::read(source)?;
    Ok(Database::new(configuration.database.options(), 2, Clock::System, Randomness::System))
}

fn failure(error: CredentialError) -> Failure {
    match error {
        CredentialError::Faulty { .. } => Failure::Usage(error.to_string()),
        error => Failure::runtime(error),
    }
}
