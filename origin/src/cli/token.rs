//! `gateward token`.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;
use shared::scope::Scopes;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{ApplyConfiguration, LogFormat, Source, TokenConfiguration, parse_duration};
use crate::database::Database;
use crate::service_tokens::{self, Revoked, ServiceTokenError, TokenRequest};
use crate::signing_keys::Sealer;

/// Issue, list and revoke service tokens.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Issue a token. It is printed once and stored nowhere.
    #[command(
        after_help = "Example:\n  gateward token issue --project notes --service worker --expires-in 30d"
    )]
    Issue {
        /// The project it is for.
        #[arg(long)]
        project: String,
        /// The service that will present it.
        #[arg(long)]
        service: String,
        /// A scope; repeat for several.
        #[arg(long = "scope")]
        scopes: Vec<String>,
        /// How long it lives: 300, 5m, 12h, 30d.
        #[arg(long, default_value = "30d", value_parser = duration)]
        expires_in: Duration,
        /// Who asks, for the record.
        #[arg(long = "by", default_value = "operator")]
        issued_by: String,
        /// Print an object with the token, its jti and its end.
        #[arg(long)]
        json: bool,
    },
    /// List tokens, newest first.
    #[command(after_help = "Example:\n  gateward token list --project notes --json")]
    List {
        /// Of this project only.
        #[arg(long)]
        project: Option<String>,
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token by its jti. The edges refuse it with their next policy.
    #[command(after_help = "Example:\n  gateward token revoke 0199… --reason 'laptop lost'")]
    Revoke {
        /// The token's id, as `list` shows it.
        jti: Uuid,
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

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 300, 5m, 12h or 30d".to_owned())
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    logging::start(LogFormat::Text);
    match &arguments.command {
        Command::Issue { project, service, scopes, expires_in, issued_by, json } => {
            let scopes = Scopes::parse(&scopes.join(" ")).ok_or_else(|| {
                Failure::Usage("--scope has a character that RFC 6749, 3.3 does not allow".to_owned())
            })?;
            let request = TokenRequest {
                project: project.clone(),
                service: service.clone(),
                scopes,
                lifetime: *expires_in,
                issued_by: issued_by.clone(),
            };
            issue(&request, *json, source).await
        }
        Command::List { project, json } => list(project.as_deref(), *json, source).await,
        Command::Revoke { jti, reason, revoked_by, json } => {
            revoke(*jti, reason, revoked_by, *json, source).await
        }
    }
}

async fn issue(request: &TokenRequest, as_json: bool, source: &Source) -> Result<(), Failure> {
    let TokenConfiguration { issuer, database, key_encryption_key } = TokenConfiguration::read(source)?;
    let database = Database::new(database.options(), 2, Clock::System, Randomness::System);
    let issued = service_tokens::issue(&database, &Sealer::new(&key_encryption_key), &issuer, request)
        .await
        .map_err(failure)?;
    database.close().await;
    if as_json {
        let expires_at = issued.expires_at.format(&Rfc3339).map_err(Failure::runtime)?;
        return output::json(
            &json!({"token": issued.token.expose(), "jti": issued.jti, "expires_at": expires_at}),
        );
    }
    output::line(issued.token.expose())
}

async fn list(project: Option<&str>, as_json: bool, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let tokens = service_tokens::list(&database, project).await.map_err(failure)?;
    database.close().await;
    if as_json {
        return output::json(&tokens);
    }
    for token in tokens {
        let state = token.revoked_at.map_or("valid", |_| "revoked");
        let expires_at = token.expires_at.format(&Rfc3339).map_err(Failure::runtime)?;
        output::line(&format!(
            "{} {}/{} until {expires_at} {state}",
            token.jti, token.project, token.service
        ))?;
    }
    Ok(())
}

async fn revoke(jti: Uuid, reason: &str, by: &str, as_json: bool, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let revoked = service_tokens::revoke(&database, jti, by, reason).await.map_err(failure)?;
    database.close().await;
    if as_json {
        return output::json(&json!({"jti": jti, "was_revoked_before": revoked == Revoked::Before}));
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

fn failure(error: ServiceTokenError) -> Failure {
    match error {
        ServiceTokenError::Faulty { .. } => Failure::Usage(error.to_string()),
        error => Failure::runtime(error),
    }
}
