//! The edge's bindings, read once. It may not report one fault at a time: whoever deploys sees all of them.

use core::fmt;

use shared::{
    base64url,
    code::CodeKey,
    decide::{Gate, MetricsToken},
    jwt::{SigningKey, VerificationKey},
};

use crate::isolate::InForce;

/// Where the caller's address comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientAddress {
    /// A header that whoever stands in front sets, in lower case: `cf-connecting-ip` on Cloudflare.
    Header(String),
    /// The connection itself: bare workerd without anything in front.
    Peer,
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
    pub(crate) client_address: ClientAddress,
    /// What a scrape must present, if anything.
    pub(crate) metrics_token: Option<MetricsToken>,
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
    /// It must be one of two words.
    NotASwitch(&'static str),
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
            Self::NotASwitch(name) => write!(formatter, "{name} must be `on` or `off`"),
            Self::NotASource(name) => {
                write!(formatter, "{name} must be `peer`, or the name of a header such as `cf-connecting-ip`")
            }
        }
    }
}

impl Configuration {
    /// Reads the bindings; `get` gives the text of one, and nothing for one that is not set.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<Fault>> {
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
                bindings.faults.push(Fault::NotASwitch("ACCESS_LOG"));
                true
            }
        };
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
            region: None,
            policy_made_at: in_force.made_at,
            has_exact_limits: false,
        }
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

impl<G: Fn(&str) -> Option<String>> Bindings<G> {
    /// A binding that may be left out; an empty one counts as left out.
    fn optional(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|text| !text.is_empty())
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
            pair.map(|(_, value)| (*value).to_owned())
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
                Fault::NotASwitch("ACCESS_LOG"),
            ]
        );
        assert!(faults.iter().all(|fault| fault.to_string().len() > 20));
    }
}
