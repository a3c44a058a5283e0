//! The credentials of destinations. They are in the environment only: under a name of their own for the destinations that are always
//! there, under `DESTINATION_<NAME>_…` for those that somebody added. A fault names the variable and the destination.

mod nats;
mod postgrest;
#[cfg(test)]
mod tests;
mod webhook;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

pub use self::nats::nats_settings;
pub use self::postgrest::postgrest_settings;
pub use self::webhook::webhook_settings;
use super::database_url::DatabaseUrl;
use super::fault::{Fault, Faults};
use super::reader::{Problem, Reader, Source};
use super::value::private_hosts;
use crate::egress::is_on_loopback;

/// The name of a destination's variable: `what` is the part that says what is in it, such as `URL`.
pub fn destination_variable(name: &str, what: &str) -> Cow<'static, str> {
    match (name, what) {
        ("read-database", "URL") => "READ_DATABASE_URL".into(),
        ("client-registry", "URL") => "REGISTRY_DATABASE_URL".into(),
        ("supabase", "URL") => "MAIN_SUPABASE_URL".into(),
        ("supabase", "SERVICE_KEY") => "MAIN_SUPABASE_SERVICE_ROLE_KEY".into(),
        _ => format!("DESTINATION_{}_{what}", name.to_ascii_uppercase().replace('-', "_")).into(),
    }
}

/// The address, with login, of a destination that is a Postgres.
pub fn destination_url(source: &Source, name: &str) -> Result<DatabaseUrl, Faults> {
    let mut reader = Reader::new(source);
    let fix = format!(
        "Set it to the login of destination {name}: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE. \
         Without it its events would have nowhere to go."
    );
    let url = reader.required(destination_variable(name, "URL"), &fix, DatabaseUrl::parse);
    reader.finish(url)
}

/// Hosts of webhooks and of PostgREST, with or without a port, that may have private addresses. All others are on the public
/// Internet, or are not called.
pub fn private_destination_hosts(source: &Source) -> Result<Vec<String>, Faults> {
    let mut reader = Reader::new(source);
    let hosts = reader.or("PRIVATE_DESTINATION_HOSTS", Vec::new(), private_hosts);
    reader.finish(Some(hosts))
}

/// Everything that is wrong with the options of a destination, before there is one.
pub fn check_destination_options(name: &str, kind: &str, value: &Value) -> Result<(), Faults> {
    let mut faults = Vec::new();
    match kind {
        "webhook" => webhook::check(name, value, &mut faults),
        "postgrest" => postgrest::check(name, value, &mut faults),
        "nats" => nats::check(name, value, &mut faults),
        _ => drop(options::<NoOptions>(name, value, &mut faults)),
    }
    if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
}

/// A kind that has no options.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// The options of a row, by their kind.
fn options<T: DeserializeOwned>(name: &str, value: &Value, faults: &mut Vec<Fault>) -> Option<T> {
    match T::deserialize(value) {
        Ok(options) => Some(options),
        Err(error) => {
            // What serde says names members, which are not secret; of values it repeats those of a wrong type.
            let why = match error.to_string().split_once(": ") {
                Some(("invalid type" | "invalid value", _)) => "has an option of a wrong type".to_owned(),
                _ => format!("has options that do not fit its kind: {error}"),
            };
            faults.push(option_fault(name, &why, "Remove it, and add it again with options that do."));
            None
        }
    }
}

fn option_fault(name: &str, why: &str, fix: &str) -> Fault {
    Fault { variable: format!("destination {name}").into(), why: why.to_owned(), fix: fix.to_owned() }
}

/// The whole, where neither the row nor the environment has a fault.
fn finish<T>(reader: Reader<'_>, mut faults: Vec<Fault>, whole: Option<T>) -> Result<T, Faults> {
    match reader.finish(whole) {
        Ok(whole) if faults.is_empty() => Ok(whole),
        Ok(_) => Err(Faults(faults)),
        Err(Faults(more)) => {
            faults.extend(more);
            Err(Faults(faults))
        }
    }
}

/// A URL that is called: https, or http on loopback; nobody's name in it, and a query only where the URL is a secret.
fn public_url(text: &str, may_have_query: bool) -> Result<Url, Problem> {
    const FIX: &str = "Set it to an https URL, or to an http one on loopback.";
    let url = Url::parse(text).map_err(|error| Problem::new(format!("is not a URL: {error}"), FIX))?;
    match url.scheme() {
        "https" => {}
        "http" if is_on_loopback(&url) => {}
        "http" => return Err(Problem::new("is http on a host that is not loopback", FIX)),
        _ => return Err(Problem::new("is neither https nor http", FIX)),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::new("has a user or password in it", FIX));
    }
    if url.fragment().is_some() {
        return Err(Problem::new("has a fragment", FIX));
    }
    if url.query().is_some() && !may_have_query {
        return Err(Problem::new(
            "has a query",
            "A query can be a secret, so it is not kept here: leave --url out and set DESTINATION_<NAME>_URL.",
        ));
    }
    Ok(url)
}

impl Faults {
    /// TLS cannot be used at all for a destination.
    pub(crate) fn of_tls(name: &str, error: &rustls::Error) -> Self {
        let why = format!("cannot be reached over TLS: {error}");
        Self(vec![option_fault(name, &why, "Mend the certificate authorities of this system.")])
    }

    /// A destination of a kind that this version cannot deliver to.
    pub(crate) fn of_unknown_kind(name: &str, kind: &str) -> Self {
        Self(vec![Fault {
            variable: format!("destination {name}").into(),
            why: format!("is of kind {kind}, which this version of gateward cannot deliver to"),
            fix: "Run the version that added it, or disable it.".to_owned(),
        }])
    }
}
