//! `gateward sign-in-link`.

use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::{Failure, logging, output};
use crate::{
    clock::{Clock, Randomness},
    configuration::{LogFormat, SignInLinkConfiguration, Source},
    database::Database,
    sign_in::{EmailAddress, issue_link},
};

/// Print a link that signs a person in once, for instance the first operator. The account is made if there is none.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward sign-in-link --email operator@example.com\n\n\
    Whoever has the link can sign in as that person until it is used or expires (OTP_TTL): hand it over by a safe way.")]
pub(super) struct Arguments {
    /// Whom it signs in.
    #[arg(long)]
    email: String,
    /// Print link and expiry as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = SignInLinkConfiguration::read(source)?;
    let email = EmailAddress::parse(&arguments.email)
        .map_err(|fault| Failure::Usage(format!("--email {:?}: {fault}", arguments.email)))?;
    logging::start(LogFormat::Text);
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let issuer = configuration.issuer.as_str();
    let link = issue_link(&database, issuer, configuration.lifetimes.one_time_code, &email)
        .await
        .map_err(Failure::runtime)?;
    database.close().await;
    if arguments.json {
        let expires_at = link.expires_at.format(&Rfc3339).map_err(Failure::runtime)?;
        return output::json(
            &json!({ "link": &*link.url, "email": email.as_str(), "expires_at": expires_at }),
        );
    }
    output::line(&link.url)
}
