//! The kinds of values a configuration has, each with its parser. A parser says why it refuses and how to mend it, and never
//! repeats the value.

use std::net::IpAddr;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::VerifyingKey;
use shared::{
    gcra::Quota,
    policy::{FreshnessBounds, Limits},
};
use url::Url;

use super::reader::{Problem, Reader};
use super::secret::{KeyBytes, SharedSecret};
use crate::egress::is_on_loopback;

/// The public base URL, as it stands in `iss` (RFC 8414, 2): https, or http on loopback; no trailing slash, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(String);

impl Issuer {
    /// The issuer as text, to be compared byte by byte (RFC 9207, 2.4).
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        const FIX: &str = "Set it to the edge's public base URL, such as https://auth.example.com or http://127.0.0.1:8787.";
        let url = Url::parse(text).map_err(|error| Problem::new(format!("is not a URL: {error}"), FIX))?;
        match url.scheme() {
            "https" => {}
            "http" if is_on_loopback(&url) => {}
            "http" => return Err(Problem::new("is http on a host that is not loopback", FIX)),
            _ => return Err(Problem::new("is neither https nor http", FIX)),
        }
        if text.ends_with('/') {
            return Err(Problem::new(
                "ends with a slash",
                "Remove the slash: issuers are compared byte by byte.",
            ));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(Problem::new("has a path, query or fragment", FIX));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Problem::new("has a user or password in it", FIX));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Where the origin listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address to bind; loopback unless told otherwise, since only edges may come in.
    pub address: IpAddr,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl Listen {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let address = reader.or("BIND_ADDRESS", IpAddr::from([127, 0, 0, 1]), |text| {
            text.parse().map_err(|_| {
                Problem::new("is not an IP address", "Set it to an address such as 127.0.0.1 or ::.")
            })
        });
        let port = reader.or("PORT", 4000, |text| {
            text.parse().map_err(|_| Problem::new("is not a port", "Set it to a number from 0 to 65535."))
        });
        Self { address, port }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl LogFormat {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(Problem::new("is neither json nor text", "Set it to json or text.")),
        }
    }
}

/// How long things live.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// Access tokens.
    pub access_token: Duration,
    /// Authorization codes (RFC 6749, 4.1.2: ten minutes at most).
    pub authorization_code: Duration,
    /// Refresh families.
    pub refresh_token: Duration,
    /// How long the refresh token before is still honoured.
    pub refresh_grace: Duration,
    /// Sessions, whatever happens.
    pub session: Duration,
    /// Sessions that are not used.
    pub session_idle: Duration,
    /// One-time codes and links.
    pub one_time_code: Duration,
}

impl Lifetimes {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut read = |variable, default, least, most| {
            reader.or(variable, Duration::from_secs(default), |text| duration_within(text, least, most))
        };
        let whole = Self {
            access_token: read("ACCESS_TOKEN_TTL", 300, 10, 3_600),
            authorization_code: read("AUTHORIZATION_CODE_TTL", 60, 5, 600),
            refresh_token: read("REFRESH_TOKEN_TTL", 30 * 86_400, 60, 366 * 86_400),
            refresh_grace: read("REFRESH_GRACE", 30, 0, 300),
            session: read("SESSION_TTL", 12 * 3_600, 60, 30 * 86_400),
            session_idle: read("SESSION_IDLE_TTL", 3_600, 60, 30 * 86_400),
            one_time_code: read("OTP_TTL", 600, 30, 3_600),
        };
        if whole.session_idle > whole.session {
            reader.fault(
                "SESSION_IDLE_TTL",
                Problem::new("is longer than SESSION_TTL", "Set it to at most SESSION_TTL."),
            );
        }
        whole
    }
}

/// How mail leaves. The URL may hold a password, so this cannot be printed.
#[derive(Clone)]
pub struct MailConfiguration {
    /// `smtp://host:port` or `smtps://user:password@host`, as lettre reads it.
    pub smtp_url: String,
    /// The sender.
    pub from: lettre::message::Mailbox,
}

impl MailConfiguration {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        const URL: &str = "Set it to the mail server, such as smtp://127.0.0.1:2525 or smtps://user:password@mail.example.com.";
        const FROM: &str = "Set it to the sender of sign-in mails, such as Gateward <sign-in@example.com>.";
        let smtp_url = reader.required("SMTP_URL", URL, |text| {
            let url =
                Url::parse(text).map_err(|error| Problem::new(format!("is not a URL: {error}"), URL))?;
            if !matches!(url.scheme(), "smtp" | "smtps") || url.host().is_none() {
                return Err(Problem::new("is not an smtp:// or smtps:// URL with a host", URL));
            }
            let is_loopback = match url.host_str() {
                Some("localhost" | "[::1]") => true,
                Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
                None => false,
            };
            if url.scheme() == "smtp" && !is_loopback && !url.query_pairs().any(|(name, _)| name == "tls") {
                return Err(Problem::new(
                    "would carry one-time codes to another host unencrypted",
                    "Set it to smtps://…, or add ?tls=required for STARTTLS.",
                ));
            }
            lettre::AsyncSmtpTransport::<lettre::Tokio1Executor>::from_url(text)
                .map_err(|error| Problem::new(format!("cannot be used: {error}"), URL))?;
            Ok(text.to_owned())
        });
        let from = reader.required("MAIL_FROM", FROM, |text| {
            text.parse().map_err(|_| Problem::new("is not a mail address", FROM))
        });
        Some(Self { smtp_url: smtp_url?, from: from? })
    }
}

/// The quotas that the edges keep: of an address, of an address at what takes credentials, of a client.
pub(super) fn limits(reader: &mut Reader<'_>) -> Limits {
    let mut read = |variable, requests| reader.or(variable, Quota { requests, window_seconds: 60 }, quota);
    Limits {
        address: read("RATE_LIMIT_ADDRESS", 1_200),
        credential: read("RATE_LIMIT_CREDENTIAL", 120),
        client: read("RATE_LIMIT_CLIENT", 600),
    }
}

/// How old a policy may be.
pub(super) fn freshness(reader: &mut Reader<'_>) -> FreshnessBounds {
    let default = FreshnessBounds::default();
    let mut read = |variable, default, least, most| {
        let parse = |text: &str| duration_within(text, least, most);
        reader.or(variable, Duration::from_secs(default), parse).as_secs()
    };
    let bounds = FreshnessBounds {
        soft_seconds: read("POLICY_SOFT_LIMIT", default.soft_seconds, 1, 3_600),
        stale_seconds: read("POLICY_STALE_LIMIT", default.stale_seconds, 1, 3_600),
        hard_seconds: read("POLICY_HARD_LIMIT", default.hard_seconds, 5, 86_400),
    };
    if bounds.soft_seconds > bounds.stale_seconds {
        let problem =
            Problem::new("is longer than POLICY_STALE_LIMIT", "Set it to at most POLICY_STALE_LIMIT.");
        reader.fault("POLICY_SOFT_LIMIT", problem);
    }
    if bounds.stale_seconds >= bounds.hard_seconds {
        let problem =
            Problem::new("is not shorter than POLICY_HARD_LIMIT", "Set it to less than POLICY_HARD_LIMIT.");
        reader.fault("POLICY_STALE_LIMIT", problem);
    }
    bounds
}

/// How many revocations a policy lists.
pub(super) fn revocation_list(text: &str) -> Result<u32, Problem> {
    const FIX: &str = "Set it to 10 to 20000.";
    match text.parse::<u32>() {
        Ok(number @ 10..=20_000) => Ok(number),
        Ok(number) => Err(Problem::new(format!("is {number}, out of its range"), FIX)),
        Err(_) => Err(Problem::new("is not a whole number", FIX)),
    }
}

/// `1200/60s`: so many requests in so long.
fn quota(text: &str) -> Result<Quota, Problem> {
    const FIX: &str =
        "Set it to requests and window, such as 1200/60s: 1 to 1000000000 requests in 1 to 86400 seconds.";
    let malformed = || Problem::new("is not a quota", FIX);
    let (requests, window) = text.split_once('/').ok_or_else(malformed)?;
    let requests: u32 = requests.parse().map_err(|_| malformed())?;
    let window = parse_duration(window).ok_or_else(malformed)?;
    match u32::try_from(window.as_secs()) {
        Ok(window_seconds @ 1..=86_400) if (1..=1_000_000_000).contains(&requests) => {
            Ok(Quota { requests, window_seconds })
        }
        _ => Err(Problem::new("is out of its range", FIX)),
    }
}

/// An edge that may call the origin.
#[derive(Clone, Debug)]
pub struct EdgePublicKey {
    /// Its name: `kid` and `iss` of its assertions.
    pub edge_id: String,
    /// The key it signs with.
    pub key: VerifyingKey,
}

/// `edge-1=<key>,edge-2=<key>`.
pub(super) fn edge_public_keys(text: &str) -> Result<Vec<EdgePublicKey>, Problem> {
    const FIX: &str =
        "Set it to edge-1=PUBLIC_KEY, comma separated for several; `gateward secrets` prints a pair.";
    let mut keys: Vec<EdgePublicKey> = Vec::new();
    for (position, entry) in text.split(',').map(str::trim).enumerate() {
        let place = position + 1;
        let Some((edge_id, key)) = entry.split_once('=') else {
            return Err(Problem::new(format!("has no = in entry {place}"), FIX));
        };
        let named = !edge_id.is_empty()
            && edge_id.len() <= 128
            && edge_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !named {
            return Err(Problem::new(format!("has a malformed edge name in entry {place}"), FIX));
        }
        let bytes = bytes_32(key).map_err(|why| Problem::new(format!("{why} in entry {place}"), FIX))?;
        let key = VerifyingKey::from_bytes(&bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .ok_or_else(|| Problem::new(format!("has no Ed25519 public key in entry {place}"), FIX))?;
        if keys.iter().any(|known| known.edge_id == edge_id) {
            return Err(Problem::new(format!("names {edge_id:?} twice"), FIX));
        }
        keys.push(EdgePublicKey { edge_id: edge_id.to_owned(), key });
    }
    Ok(keys)
}

/// `idp.internal, 10.0.0.7:8443`: hosts with or without a port, as a URL writes them.
pub(super) fn private_hosts(text: &str) -> Result<Vec<String>, Problem> {
    const FIX: &str = "Set it to hosts, with or without a port, comma separated: idp.internal,10.0.0.7:8443.";
    let read = |(position, entry): (usize, &str)| {
        let entry = entry.trim();
        // As it stands in a URL, so that both are compared in the same spelling.
        let url = Url::parse(&format!("x://{entry}")).ok();
        let is_host = url.is_some_and(|url| url.host_str().is_some() && url.authority() == entry);
        let is_bare = !entry.contains(['@', '/', '?', '#']) && entry == entry.to_ascii_lowercase();
        let fault = || Problem::new(format!("has no host in entry {}", position + 1), FIX);
        (is_host && is_bare).then(|| entry.to_owned()).ok_or_else(fault)
    };
    text.split(',').enumerate().map(read).collect()
}

/// 32 bytes in base64url without padding.
pub(super) fn key_bytes(text: &str) -> Result<KeyBytes, Problem> {
    bytes_32(text).map(KeyBytes::new).map_err(|why| {
        Problem::new(why, "Set it to 32 random bytes in base64url; `gateward secrets` prints some.")
    })
}

fn bytes_32(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0_u8; 32];
    match Base64UrlUnpadded::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == 32 => Ok(bytes),
        Ok(decoded) => Err(format!("has {} bytes instead of 32", decoded.len())),
        Err(base64ct::Error::InvalidLength) => Err("does not have 32 bytes".to_owned()),
        Err(base64ct::Error::InvalidEncoding) => Err("is not base64url without padding".to_owned()),
    }
}

/// A shared secret, used byte by byte as it is (RFC 7518, 3.2: at least as long as the hash).
pub(super) fn shared_secret(text: &str) -> Result<SharedSecret, Problem> {
    if text.len() < 32 {
        return Err(Problem::new(
            format!("has {} bytes; HS256 needs 32 at least", text.len()),
            "Set it to a longer secret; `gateward secrets` prints one. Without it, HS256 tokens are refused.",
        ));
    }
    Ok(SharedSecret::new(text.as_bytes().to_vec()))
}

/// A duration: `300` (seconds), `30s`, `5m`, `12h`, `30d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, factor) = match text.char_indices().last()? {
        (at, 's') => (text.get(..at)?, 1),
        (at, 'm') => (text.get(..at)?, 60),
        (at, 'h') => (text.get(..at)?, 3_600),
        (at, 'd') => (text.get(..at)?, 86_400),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_secs)
}

pub(super) fn duration_within(text: &str, least: u64, most: u64) -> Result<Duration, Problem> {
    let fix = format!("Set it to {least} to {most} seconds, written like 300, 5m, 12h or 30d.");
    let duration = parse_duration(text).ok_or_else(|| Problem::new("is not a duration", fix.clone()))?;
    if (least..=most).contains(&duration.as_secs()) {
        Ok(duration)
    } else {
        Err(Problem::new(format!("is {} seconds, out of its range", duration.as_secs()), fix))
    }
}

/// A number of milliseconds within bounds.
pub(super) fn milliseconds_within(text: &str, least: u64, most: u64) -> Result<Duration, Problem> {
    let fix = format!("Set it to {least} to {most} milliseconds.");
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(Duration::from_millis(number)),
        Ok(number) => Err(Problem::new(format!("is {number}, out of its range"), fix)),
        Err(_) => Err(Problem::new("is not a whole number", fix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("300", 300), ("30s", 30), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "m", "-1", "1.5h", "5 m", "5w", "１m", "99999999999999999999", "18446744073709551615d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn quotas_have_a_number_and_a_window() {
        let read = |text: &str| quota(text).ok().map(|quota| (quota.requests, quota.window_seconds));
        assert_eq!(read("1200/60s"), Some((1_200, 60)));
        assert_eq!(read("5/1m"), Some((5, 60)));
        for text in ["", "1200", "0/60s", "1/0", "-1/60", "1/2d", "1/60s/2", "5000000000/60"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_issuer_is_https_or_loopback_and_bare() {
        for text in
            ["https://auth.example.com", "http://127.0.0.1:8787", "http://localhost:1", "http://[::1]:8787"]
        {
            assert!(Issuer::parse(text).is_ok(), "{text}");
        }
        for text in [
            "http://auth.example.com",
            "https://auth.example.com/",
            "https://auth.example.com/x",
            "https://auth.example.com?x",
            "https://user@auth.example.com",
            "ftp://auth.example.com",
            "auth.example.com",
        ] {
            assert!(Issuer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn private_hosts_are_hosts() {
        let hosts = private_hosts("idp.internal, 10.0.0.7:8443,[fd00::1],127.0.0.1").ok().unwrap();
        assert_eq!(hosts, ["idp.internal", "10.0.0.7:8443", "[fd00::1]", "127.0.0.1"]);
        for text in ["", "a,", "https://idp.internal", "a@b", "a/b", "IDP.internal", "a b", "a:99999"] {
            let read = private_hosts(text);
            assert!(read.is_err(), "{text}");
        }
    }

    #[test]
    fn mail_leaves_encrypted_or_not_at_all() {
        use crate::configuration::reader::Source;
        let reads = |url: &str| {
            let source = Source::of([("SMTP_URL", url), ("MAIL_FROM", "sign-in@example.test")]);
            let mut reader = Reader::new(&source);
            let mail = MailConfiguration::read(&mut reader);
            reader.finish(mail).is_ok()
        };
        for url in [
            "smtp://127.0.0.1:2525",
            "smtp://localhost",
            "smtp://[::1]:25",
            "smtps://user:password@mail.example.com",
            "smtp://mail.example.com:587?tls=required",
        ] {
            assert!(reads(url), "{url}");
        }
        for url in [
            "smtp://mail.example.com",
            "smtp://10.0.0.1:25",
            "http://127.0.0.1",
            "smtp://mail.example.com?tls=never",
        ] {
            assert!(!reads(url), "{url}");
        }
    }

    #[test]
    fn edges_are_named_once_with_real_keys() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let text = Base64UrlUnpadded::encode_string(key.as_bytes());
        let edges = edge_public_keys(&format!("edge-1={text}, edge-2={text}")).ok().unwrap();
        assert_eq!(edges.iter().map(|edge| edge.edge_id.as_str()).collect::<Vec<_>>(), ["edge-1", "edge-2"]);
        for faulty in [
            text.clone(),
            format!("edge-1={text},edge-1={text}"),
            "edge-1=AAAA".to_owned(),
            // The identity point: every signature would verify.
            format!("edge-1=AQ{}", "A".repeat(41)),
            format!("ed ge={text}"),
        ] {
            assert!(edge_public_keys(&faulty).is_err(), "{faulty}");
        }
    }
}
