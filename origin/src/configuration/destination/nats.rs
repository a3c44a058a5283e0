//! What a stream of NATS is: the prefix of its subjects from its row, servers and credentials from the environment.

use serde::Deserialize;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{destination_variable, option_fault, options};
use crate::configuration::{
    Source,
    database_url::decode,
    fault::{Fault, Faults},
    reader::{Problem, Reader},
};
use crate::egress;
use crate::outbox::destination::nats::{Credentials, Server, Settings};

/// The options of its row.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The first part of every subject; `gateward` unless it says otherwise.
    prefix: Option<String>,
}

impl Options {
    fn read(name: &str, value: &serde_json::Value, faults: &mut Vec<Fault>) -> Self {
        let own: Self = options(name, value, faults).unwrap_or_default();
        let is_token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        let fits = |prefix: &str| prefix.len() <= 200 && prefix.split('.').all(is_token);
        if own.prefix.as_deref().is_some_and(|prefix| !fits(prefix)) {
            let fix = "Add it again with a prefix such as gateward or acme.gateward.";
            faults.push(option_fault(name, "has a prefix that is no subject", fix));
        }
        own
    }
}

/// Whether a row of these options can be delivered to, credentials aside.
pub(super) fn check(name: &str, value: &serde_json::Value, faults: &mut Vec<Fault>) {
    Options::read(name, value, faults);
}

/// Reads all of it, or says everything that is wrong with it. A credentials file is read now.
pub fn nats_settings(source: &Source, name: &str, value: &serde_json::Value) -> Result<Settings, Faults> {
    let mut faults = Vec::new();
    let Options { prefix } = Options::read(name, value, &mut faults);
    let mut reader = Reader::new(source);
    let servers = reader.required(
        destination_variable(name, "URL"),
        &format!("Set it to the server of destination {name}: tls://HOST:4222, several separated by commas."),
        |text| text.split(',').map(|one| server(one.trim())).collect::<Result<Vec<_>, _>>(),
    );
    let credentials = reader.optional(destination_variable(name, "CREDENTIALS"), |path| {
        const FIX: &str = "Set it to the path of a credentials file, as `nsc generate creds` writes it.";
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| {
            Problem::new(format!("names a file that cannot be read: {}", error.kind()), FIX)
        })?;
        Credentials::parse_file(&text).map_err(|why| Problem::new(format!("names a file that {why}"), FIX))
    });
    let prefix = prefix.unwrap_or_else(|| "gateward".to_owned());
    let credentials = credentials.unwrap_or(Credentials::None);
    let whole =
        servers.map(|servers| Settings { servers, credentials, roots: egress::system_authorities(), prefix });
    super::finish(reader, faults, whole)
}

/// One server: `tls://`, or `nats://` on loopback, with user and password or a token before the host where it asks for them.
fn server(text: &str) -> Result<Server, Problem> {
    const FIX: &str =
        "Set it to tls://HOST:4222, or tls://USER:PASSWORD@HOST:4222; nats:// is for loopback only.";
    let url = Url::parse(text).map_err(|error| Problem::new(format!("is not a URL: {error}"), FIX))?;
    let is_tls = match url.scheme() {
        "tls" => true,
        "nats" => false,
        _ => return Err(Problem::new("is neither tls:// nor nats://", FIX)),
    };
    // Of other than web schemes a host is not parsed further: an address stays a name.
    let host = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']').to_owned());
    let host = host.filter(|host| !host.is_empty()).ok_or_else(|| Problem::new("names no host", FIX))?;
    let is_loopback = match Host::parse(&host) {
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        _ => host == "localhost" || host == "::1",
    };
    if !is_tls && !is_loopback {
        return Err(Problem::new("is nats:// on a host that is not loopback", FIX));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(Problem::new("has a path, query or fragment", FIX));
    }
    let part = |text: &str| decode(text).ok_or_else(|| Problem::new("is not percent-encoded UTF-8", FIX));
    let credentials = match (url.username(), url.password()) {
        ("", None) => Credentials::None,
        (token, None) => Credentials::Token(Zeroizing::new(part(token)?)),
        (user, Some(password)) => {
            Credentials::User { user: part(user)?, password: Zeroizing::new(part(password)?) }
        }
    };
    Ok(Server { host, port: url.port().unwrap_or(4222), is_tls, credentials })
}
