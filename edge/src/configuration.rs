//! The edge's bindings, read once. It may not report one fault at a time: whoever deploys sees all of them.

use core::fmt;

use shared::{
    base64url,
    code::CodeKey,
    decide::{Gate, MetricsToken},
    jwt::{SigningKey, VerificationKey},
};

use crate::{
    exact,
    head::{Head, Peer},
    isolate::InForce,
    location,
};

/// Where the caller's address comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientAddress {
    /// A header that whoever stands in front sets, in lower case: `cf-connecting-ip` on Cloudflare.
    Header(String),
    /// The connection itself: bare workerd without anything in front.
    Peer,
}

/// Who is trusted to say which client certificate a caller has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientCertificate {
    /// Nobody.
    #[default]
    Off,
    /// Cloudflare, which ended TLS.
    Cloudflare,
    /// Whoever stands in front, by the header `Client-Cert` (RFC 9440), which it deletes from what callers send.
    Header,
}

/// The binding of the policy's last good copy.
pub(crate) const POLICY_STORE: &str = "POLICY_STORE";

/// Bindings that may be left out, and what the edge does without.
const OPTIONAL: [(&str, &str); 6] = [
    ("GATEWAY_JWT_SECRET", "HS256 service tokens are refused"),
    ("METRICS_TOKEN", "whoever reaches /metrics may read it"),
    ("REGION", "no upstream is preferred for standing near"),
    (exact::BINDING, "each isolate counts exact limits for itself, and says so"),
    (location::BINDING, "credential endpoints are limited by each isolate alone"),
    (POLICY_STORE, "an isolate that starts while the origin is gone has no policy"),
];

/// What a binding is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Text.
    Text(String),
    /// An object of the platform.
    Object,
}

/// What the edge was deployed with.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// The gateway's public URL, without a trailing slash.
    pub(crate) issuer: String,
    /// The origin's URL, without a trailing slash.
    pub(crate) origin_url: String,
    /// Signs assertions; its `kid` is the edge's id.
    pub(crate) edge_key: SigningKey,
    /// Verifies policy statements.
    pub(crate) policy_key: VerificationKey,
    /// Whether every request is logged.
    pub(crate) access_log: bool,
    /// Where the caller's address comes from.
    client_address: ClientAddress,
    /// What a scrape must present, if anything.
    pub(crate) metrics_token: Option<MetricsToken>,
    /// Who is trusted to tell client certificates.
    client_certificate: ClientCertificate,
    /// Which of the bindings that may be left out are there.
    pub(crate) optional: Vec<(&'static str, bool)>,
    region: Option<String>,
    code_key: CodeKey,
    service_secret: Option<VerificationKey>,
}

/// What is wrong with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It must be set.
    Missing(&'static str),
    /// It must be an http or https URL without a trailing slash.
    NotAUrl(&'static str),
    /// It must be 32 bytes in base64url.
    NotAKey(&'static str),
    /// It must be at least 32 bytes.
    TooShort(&'static str),
    /// It must be one of these words.
    NotAWord(&'static str, &'static str),
    /// It must be an object of the platform, not text.
    NotAnObject(&'static str),
    /// It must be `peer` or the name of a header.
    NotASource(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => {
                write!(formatter, "{name} is not set: bind it as a variable or secret of the worker")
            }
            Self::NotAUrl(name) => {
                write!(formatter, "{name} must be an http or https URL without a slash at its end")
            }
            Self::NotAKey(name) => {
                write!(
                    formatter,
                    "{name} must be 32 bytes in base64url without padding, as `gateward secrets` prints them"
                )
            }
            Self::TooShort(name) => write!(formatter, "{name} must be at least 32 bytes long, or not be set"),
            Self::NotAWord(name, words) => write!(formatter, "{name} must be {words}"),
            Self::NotAnObject(name) => {
                write!(formatter, "{name} must be bound to an object of the platform, not to a text")
            }
            Self::NotASource(name) => {
                write!(formatter, "{name} must be `peer`, or the name of a header such as `cf-connecting-ip`")
            }
        }
    }
}

impl Configuration {
    /// Reads the bindings; `get` gives one, and nothing for one that is not set.
    pub(crate) fn read(get: impl Fn(&str) -> Option<Binding>) -> Result<Self, Vec<Fault>> {
        let mut bindings = Bindings { get, faults: Vec::new() };
        let issuer = bindings.url("ISSUER");
        let origin_url = bindings.url("ORIGIN_URL");
        let edge_id = bindings.text("EDGE_ID");
        let edge_seed = bindings.key("EDGE_PRIVATE_KEY");
        let policy_key = bindings.key("POLICY_PUBLIC_KEY").and_then(|bytes| {
            let key = VerificationKey::ed25519(&bytes);
            bindings.expect(key, Fault::NotAKey("POLICY_PUBLIC_KEY"))
        });
        let code_key = bindings.key("CODE_MAC_KEY").map(CodeKey::new);
        let service_secret = bindings.optional("GATEWAY_JWT_SECRET").and_then(|secret| {
            let key = VerificationKey::hs256(secret.as_bytes());
            bindings.expect(key, Fault::TooShort("GATEWAY_JWT_SECRET"))
        });
        let client_address = bindings.text("CLIENT_ADDRESS").and_then(|source| {
            let source = ClientAddress::parse(&source);
            bindings.expect(source, Fault::NotASource("CLIENT_ADDRESS"))
        });
        let access_log = match bindings.optional("ACCESS_LOG").as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(_) => {
                bindings.faults.push(Fault::NotAWord("ACCESS_LOG", "`on` or `off`"));
                true
            }
        };
        let client_certificate = match bindings.optional("CLIENT_CERTIFICATE").as_deref() {
            None | Some("off") => ClientCertificate::Off,
            Some("cloudflare") => ClientCertificate::Cloudflare,
            Some("client-cert-header") => ClientCertificate::Header,
            Some(_) => {
                let words = "`off`, `cloudflare` or `client-cert-header`";
                bindings.faults.push(Fault::NotAWord("CLIENT_CERTIFICATE", words));
                ClientCertificate::Off
            }
        };
        for name in [exact::BINDING, location::BINDING, POLICY_STORE] {
            if bindings.optional(name).is_some() {
                bindings.faults.push(Fault::NotAnObject(name));
            }
        }
        let optional = OPTIONAL.map(|(name, _)| (name, bindings.is_bound(name))).to_vec();
        let region = bindings.optional("REGION");
        let metrics_token = bindings.optional("METRICS_TOKEN").map(|token| MetricsToken::new(&token));
        let required = (issuer, origin_url, edge_id, edge_seed, policy_key, code_key, client_address);
        match required {
            (
                Some(issuer),
                Some(origin_url),
                Some(edge_id),
                Some(edge_seed),
                Some(policy_key),
                Some(code_key),
                Some(client_address),
            ) if bindings.faults.is_empty() => Ok(Self {
                issuer,
                origin_url,
                edge_key: SigningKey::from_seed(edge_id, &edge_seed),
                policy_key,
                access_log,
                client_address,
                metrics_token,
                client_certificate,
                optional,
                region,
                code_key,
                service_secret,
            }),
            _ => Err(bindings.faults),
        }
    }

    /// What requests are decided by.
    pub(crate) fn gate<'a>(&'a self, in_force: &'a InForce) -> Gate<'a> {
        Gate {
            active: &in_force.policy,
            code_key: &self.code_key,
            service_secret: self.service_secret.as_ref(),
            metrics_token: self.metrics_token.as_ref(),
            origin_key: &self.policy_key,
            edge_key: Some(&self.edge_key),
            region: self.region.as_deref(),
            policy_made_at: in_force.made_at,
            has_exact_limits: self.has(exact::BINDING),
        }
    }

    /// Who a request comes from.
    pub(crate) fn peer(&self, head: &Head<'_>) -> Peer {
        head.peer(&self.client_address, self.client_certificate)
    }

    /// Whether a binding that may be left out is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.optional.iter().any(|(optional, is_bound)| *optional == name && *is_bound)
    }

    /// What is not bound, and what the edge does without it, for the log; nothing when all is there.
    pub(crate) fn missing(&self) -> Option<String> {
        let missing: Vec<String> = OPTIONAL
            .iter()
            .filter(|(name, _)| !self.has(name))
            .map(|(name, without)| format!("{name} ({without})"))
            .collect();
        (!missing.is_empty()).then(|| format!("configuration: not bound: {}", missing.join(", ")))
    }
}

impl ClientAddress {
    fn parse(text: &str) -> Option<Self> {
        let is_header_name =
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match text {
            "peer" => Some(Self::Peer),
            _ => is_header_name.then(|| Self::Header(text.to_ascii_lowercase())),
        }
    }
}

struct Bindings<G> {
    get: G,
    faults: Vec<Fault>,
}

impl<G: Fn(&str) -> Option<Binding>> Bindings<G> {
    /// A text that may be left out; an empty one counts as left out.
    fn optional(&self, name: &str) -> Option<String> {
        match (self.get)(name)? {
            Binding::Text(text) => Some(text).filter(|text| !text.is_empty()),
            Binding::Object => None,
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        (self.get)(name).is_some_and(|binding| binding != Binding::Text(String::new()))
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.optional(name);
        self.expect(text, Fault::Missing(name))
    }

    fn url(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_url = authority.is_some_and(|rest| {
            !rest.is_empty() && !rest.ends_with('/') && !rest.contains(['?', '#', '@', ' ', '\n'])
        });
        self.expect(is_url.then_some(text), Fault::NotAUrl(name))
    }

    fn key(&mut self, name: &'static str) -> Option<[u8; 32]> {
        let key = base64url::decode_array(&self.text(name)?);
        self.expect(key, Fault::NotAKey(name))
    }

    fn expect<T>(&mut self, value: Option<T>, fault: Fault) -> Option<T> {
        if value.is_none() {
            self.faults.push(fault);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: &[(&'static str, &'static str)]) -> Result<Configuration, Vec<Fault>> {
        const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        // RFC 8032 §7.1, test 1.
        const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let good = [
            ("ISSUER", "https://auth.test"),
            ("ORIGIN_URL", "http://127.0.0.1:4000"),
            ("EDGE_ID", "edge-1"),
            ("EDGE_PRIVATE_KEY", KEY),
            ("POLICY_PUBLIC_KEY", PUBLIC),
            ("CODE_MAC_KEY", KEY),
            ("CLIENT_ADDRESS", "CF-Connecting-IP"),
        ];
        Configuration::read(|name| {
            let pair = change.iter().chain(&good).find(|(key, _)| *key == name);
            pair.map(|(_, value)| match *value {
                "(object)" => Binding::Object,
                text => Binding::Text(text.to_owned()),
            })
        })
    }

    #[test]
    fn what_is_needed_is_enough() {
        let configuration = read(&[]).unwrap();
        assert_eq!(configuration.edge_key.kid(), "edge-1");
        assert_eq!(configuration.client_address, ClientAddress::Header("cf-connecting-ip".into()));
        assert!(configuration.access_log && configuration.metrics_token.is_none());
        assert!(configuration.service_secret.is_none());
        let configuration =
            read(&[("CLIENT_ADDRESS", "peer"), ("ACCESS_LOG", "off"), ("METRICS_TOKEN", "")]).unwrap();
        assert_eq!(configuration.client_address, ClientAddress::Peer);
        assert!(!configuration.access_log && configuration.metrics_token.is_none());
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let faults = read(&[
            ("ISSUER", "https://auth.test/"),
            ("ORIGIN_URL", "127.0.0.1:4000"),
            ("EDGE_ID", ""),
            ("EDGE_PRIVATE_KEY", "AQEB"),
            ("POLICY_PUBLIC_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("GATEWAY_JWT_SECRET", "short"),
            ("CLIENT_ADDRESS", "x forwarded"),
            ("ACCESS_LOG", "maybe"),
            ("CLIENT_CERTIFICATE", "on"),
            ("EXACT_LIMITS", "yes"),
        ])
        .unwrap_err();
        assert_eq!(
            faults,
            [
                Fault::NotAUrl("ISSUER"),
                Fault::NotAUrl("ORIGIN_URL"),
                Fault::Missing("EDGE_ID"),
                Fault::NotAKey("EDGE_PRIVATE_KEY"),
                Fault::NotAKey("POLICY_PUBLIC_KEY"),
                Fault::TooShort("GATEWAY_JWT_SECRET"),
                Fault::NotASource("CLIENT_ADDRESS"),
                Fault::NotAWord("ACCESS_LOG", "`on` or `off`"),
                Fault::NotAWord("CLIENT_CERTIFICATE", "`off`, `cloudflare` or `client-cert-header`"),
                Fault::NotAnObject("EXACT_LIMITS"),
            ]
        );
        assert!(faults.iter().all(|fault| fault.to_string().len() > 20));
    }

    #[test]
    fn what_is_left_out_is_named_with_what_the_edge_does_without() {
        let bare = read(&[]).unwrap();
        let missing = bare.missing().unwrap();
        for (name, without) in OPTIONAL {
            assert!(missing.contains(&format!("{name} ({without})")), "{missing}");
        }
        assert!(bare.optional.iter().all(|(_, is_bound)| !is_bound));
        let all = read(&[
            ("GATEWAY_JWT_SECRET", "a secret of at least thirty-two bytes"),
            ("METRICS_TOKEN", "m"),
            ("REGION", "eu"),
            ("EXACT_LIMITS", "(object)"),
            ("LOCATION_LIMIT", "(object)"),
            ("POLICY_STORE", "(object)"),
            ("CLIENT_CERTIFICATE", "client-cert-header"),
        ])
        .unwrap();
        assert_eq!(all.missing(), None);
        assert!(all.has("EXACT_LIMITS") && !bare.has("EXACT_LIMITS"));
        assert_eq!(all.client_certificate, ClientCertificate::Header);
    }
}
