//! What a webhook is: its URL and pace from its row, its secrets from the environment.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{destination_variable, option_fault, options, public_url};
use crate::configuration::{
    Source,
    fault::{Fault, Faults},
    reader::{Problem, Reader},
    value::duration_within,
};
use crate::outbox::destination::webhook::{MOST_SECRETS, Secret, Settings};

/// How long a request may take unless its options say otherwise, as long as the lease bears it.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A call of the forwarder may take a quarter of its lease, and takes up to one and a half requests: with some time to spare.
const REQUESTS_PER_LEASE: u32 = 7;

/// The options of a webhook's row.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Where it is. One whose path is a secret, or that needs a query, comes from the environment instead.
    url: Option<String>,
    /// How long a request may take, 1 to 30.
    timeout_seconds: Option<u64>,
    /// How many requests may be under way at once, 1 to 64.
    concurrency: Option<usize>,
}

impl Options {
    fn read(name: &str, value: &serde_json::Value, faults: &mut Vec<Fault>) -> (Self, Option<Url>) {
        let own: Self = options(name, value, faults).unwrap_or_default();
        if own.timeout_seconds.is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            let fix = "Add it again with timeout_seconds from 1 to 30.";
            faults.push(option_fault(name, "has a timeout_seconds that is out of bounds", fix));
        }
        if own.concurrency.is_some_and(|requests| !(1..=64).contains(&requests)) {
            let fix = "Add it again with concurrency from 1 to 64.";
            faults.push(option_fault(name, "has a concurrency that is out of bounds", fix));
        }
        let url = own.url.as_deref().and_then(|url| match public_url(url, false) {
            Ok(url) => Some(url),
            Err(problem) => {
                let why = format!("has a url that {}", problem.why);
                faults.push(option_fault(name, &why, &problem.fix));
                None
            }
        });
        (own, url)
    }
}

/// Whether a row of these options can be delivered to, credentials aside.
pub(super) fn check(name: &str, value: &serde_json::Value, faults: &mut Vec<Fault>) {
    Options::read(name, value, faults);
}

/// Reads all of it, or says everything that is wrong with it.
pub fn webhook_settings(source: &Source, name: &str, value: &serde_json::Value) -> Result<Settings, Faults> {
    let mut faults = Vec::new();
    let (own, url) = Options::read(name, value, &mut faults);
    let mut reader = Reader::new(source);
    let secrets = reader.required(
        destination_variable(name, "SECRETS"),
        &format!(
            "Set it to the secrets that sign what destination {name} is sent, comma separated, the one to sign with first: \
             whsk_… (Ed25519, 32 bytes in base64) or whsec_… (24 to 64 bytes)."
        ),
        secrets,
    );
    let url = match url {
        Some(url) => Some(url),
        None if own.url.is_some() => None,
        None => reader.required(
            destination_variable(name, "URL"),
            &format!("Set it to where the webhook {name} is, or add it again with --url."),
            |text| public_url(text, true),
        ),
    };
    let lease = reader.or("FORWARDER_LEASE", Duration::from_secs(30), |text| duration_within(text, 1, 600));
    let most = lease / REQUESTS_PER_LEASE;
    let timeout = own.timeout_seconds.map_or(TIMEOUT.min(most), Duration::from_secs);
    if timeout > most {
        let needed = timeout.as_secs() * u64::from(REQUESTS_PER_LEASE);
        reader.fault(
            "FORWARDER_LEASE",
            Problem::new(
                format!("is too short for the timeout_seconds of destination {name}"),
                format!(
                    "Set it to {needed} or more, or add the destination again with a shorter timeout_seconds."
                ),
            ),
        );
    }
    let concurrency = own.concurrency.unwrap_or(16);
    let whole = (|| Some(Settings { url: url?, secrets: secrets?, timeout, concurrency }))();
    super::finish(reader, faults, whole)
}

fn secrets(text: &str) -> Result<Vec<Secret>, Problem> {
    const FIX: &str =
        "Set it to whsk_… or whsec_… secrets in base64, comma separated, the one to sign with first.";
    let secrets = text.split(',').map(str::trim).map(Secret::parse).collect::<Result<Vec<_>, _>>();
    match secrets {
        Ok(secrets) if secrets.len() <= MOST_SECRETS => Ok(secrets),
        Ok(_) => Err(Problem::new(format!("has more than {MOST_SECRETS} secrets"), FIX)),
        Err(why) => Err(Problem::new(why, FIX)),
    }
}
