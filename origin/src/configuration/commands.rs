//! What each subcommand needs, and `gateward check`, which asks for all of it.

use std::time::Duration;

use shared::policy::{FreshnessBounds, Limits};

use super::audit::AuditConfiguration;
use super::database_url::DatabaseUrl;
use super::fault::Faults;
use super::forward::ForwardConfiguration;
use super::migrate::REGISTRY;
use super::reader::{Reader, Source};
use super::retention::Retention;
use super::secret::{KeyBytes, SharedSecret};
use super::value::{
    self, EdgePublicKey, Issuer, Lifetimes, Listen, LogFormat, MailConfiguration, milliseconds_within,
};
use super::webhook::WebhookSecrets;

pub(super) const DATABASE: &str =
    "Set it to the origin's login: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE.";
pub(super) const READ: &str = "Set it to the forwarder's login on the read database: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE. \
                    Without it events would have nowhere to go.";
pub(super) const ISSUER: &str =
    "Set it to the edge's public base URL, such as https://auth.example.com or http://127.0.0.1:8787.";
const KEY: &str = "Set it to 32 random bytes in base64url; `gateward secrets` prints some.";
const EDGES: &str =
    "Set it to edge-1=PUBLIC_KEY, comma separated for several; `gateward secrets` prints a pair.";

/// `gateward serve`.
#[derive(Clone)]
pub struct ServeConfiguration {
    /// Where to listen.
    pub listen: Listen,
    /// `iss` of every token.
    pub issuer: Issuer,
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
    /// Ed25519 seed that signs the policy.
    pub policy_signing_key: KeyBytes,
    /// The edges that may call.
    pub edge_public_keys: Vec<EdgePublicKey>,
    /// MAC key of authorization codes, shared with the edge.
    pub code_mac_key: KeyBytes,
    /// Seals private keys at rest.
    pub key_encryption_key: KeyBytes,
    /// Verifies HS256 service tokens of the seed's shape; without it there are none.
    pub gateway_jwt_secret: Option<SharedSecret>,
    /// What the sync webhooks prove themselves by.
    pub webhook_secrets: WebhookSecrets,
    /// How mail leaves.
    pub mail: MailConfiguration,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How often the policy is compiled and confirmed.
    pub policy_compile_interval: Duration,
    /// How old a policy may be.
    pub freshness: FreshnessBounds,
    /// How many revoked tokens and grants the policy lists before a filter takes them.
    pub revocation_list: u32,
    /// The quotas that the edges keep.
    pub limits: Limits,
    /// Hosts of external issuers' `jwks_uri`s, with or without a port, that may have private addresses.
    pub private_issuer_hosts: Vec<String>,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl ServeConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let whole = Self::collect(&mut reader);
        reader.finish(whole)
    }

    fn collect(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = Listen::read(reader);
        let issuer = reader.required("ISSUER", ISSUER, Issuer::parse);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let policy_signing_key = reader.required("POLICY_SIGNING_KEY", KEY, value::key_bytes);
        let edge_public_keys = reader.required("EDGE_PUBLIC_KEYS", EDGES, value::edge_public_keys);
        let code_mac_key = reader.required("CODE_MAC_KEY", KEY, value::key_bytes);
        let key_encryption_key = reader.required("KEY_ENCRYPTION_KEY", KEY, value::key_bytes);
        let gateway_jwt_secret = reader.optional("GATEWAY_JWT_SECRET", value::shared_secret);
        let webhook_secrets = WebhookSecrets::read(reader);
        let mail = MailConfiguration::read(reader);
        let lifetimes = Lifetimes::read(reader);
        let retention = Retention::read(reader);
        let policy_compile_interval =
            reader.or("POLICY_COMPILE_INTERVAL", Duration::from_millis(500), |text| {
                milliseconds_within(text, 50, 4_000)
            });
        let freshness = value::freshness(reader);
        let revocation_list = reader.or("POLICY_REVOCATION_LIST", 10_000, value::revocation_list);
        let limits = value::limits(reader);
        let private_issuer_hosts = private_issuer_hosts(reader);
        let log_format = log_format(reader);
        Some(Self {
            listen,
            issuer: issuer?,
            database: database?,
            policy_signing_key: policy_signing_key?,
            edge_public_keys: edge_public_keys?,
            code_mac_key: code_mac_key?,
            key_encryption_key: key_encryption_key?,
            gateway_jwt_secret,
            webhook_secrets: webhook_secrets?,
            mail: mail?,
            lifetimes,
            retention,
            policy_compile_interval,
            freshness,
            revocation_list,
            limits,
            private_issuer_hosts,
            log_format,
        })
    }
}

/// `gateward apply`.
#[derive(Clone)]
pub struct ApplyConfiguration {
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
}

impl ApplyConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        reader.finish(database.map(|database| Self { database }))
    }
}

/// `gateward outbox`: reads only.
pub type StatisticsConfiguration = ApplyConfiguration;

/// `gateward token`.
#[derive(Clone)]
pub struct TokenConfiguration {
    /// `iss` of the tokens.
    pub issuer: Issuer,
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
    /// Opens the signing key.
    pub key_encryption_key: KeyBytes,
}

impl TokenConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let issuer = reader.required("ISSUER", ISSUER, Issuer::parse);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let key = reader.required("KEY_ENCRYPTION_KEY", KEY, value::key_bytes);
        let whole = (|| Some(Self { issuer: issuer?, database: database?, key_encryption_key: key? }))();
        reader.finish(whole)
    }
}

/// `gateward sign-in-link`.
#[derive(Clone)]
pub struct SignInLinkConfiguration {
    /// The base of the link.
    pub issuer: Issuer,
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
    /// How long things live; the link lives as long as a one-time code.
    pub lifetimes: Lifetimes,
}

impl SignInLinkConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let issuer = reader.required("ISSUER", ISSUER, Issuer::parse);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let lifetimes = Lifetimes::read(&mut reader);
        let whole = (|| Some(Self { issuer: issuer?, database: database?, lifetimes }))();
        reader.finish(whole)
    }
}

/// `gateward issuers`.
#[derive(Clone)]
pub struct IssuersConfiguration {
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
    /// Hosts of external issuers' `jwks_uri`s, with or without a port, that may have private addresses.
    pub private_issuer_hosts: Vec<String>,
}

impl IssuersConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let private_issuer_hosts = private_issuer_hosts(&mut reader);
        reader.finish(database.map(|database| Self { database, private_issuer_hosts }))
    }
}

fn private_issuer_hosts(reader: &mut Reader<'_>) -> Vec<String> {
    reader.or("PRIVATE_ISSUER_HOSTS", Vec::new(), value::private_hosts)
}

/// Every fault of what `serve` and `forward` need, and of what `migrate` needs where its variables are set.
pub fn check(source: &Source) -> Result<(), Faults> {
    let mut reader = Reader::new(source);
    let serve = ServeConfiguration::collect(&mut reader).is_some();
    let forward = ForwardConfiguration::collect(&mut reader).is_some();
    // The destinations that are always there; which others there are only the database knows.
    reader.required("READ_DATABASE_URL", READ, DatabaseUrl::parse);
    reader.required("REGISTRY_DATABASE_URL", REGISTRY, DatabaseUrl::parse);
    reader.optional("PRIVATE_DESTINATION_HOSTS", value::private_hosts);
    let audit = AuditConfiguration::collect(&mut reader).is_some();
    // Administrators' logins belong on the machine that migrates, so they may be absent elsewhere.
    reader.optional("MIGRATION_DATABASE_URL", DatabaseUrl::parse);
    reader.optional("READ_MIGRATION_DATABASE_URL", DatabaseUrl::parse);
    reader.optional("REGISTRY_MIGRATION_DATABASE_URL", DatabaseUrl::parse);
    let mut faults = match reader.finish((serve && forward && audit).then_some(())) {
        Ok(()) => return Ok(()),
        Err(Faults(faults)) => faults,
    };
    faults.sort_by(|one, other| one.variable.cmp(&other.variable));
    faults.dedup();
    Err(Faults(faults))
}

pub(super) fn log_format(reader: &mut Reader<'_>) -> LogFormat {
    reader.or("LOG_FORMAT", LogFormat::Text, LogFormat::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_reported_at_once_with_why_and_how() {
        let source = Source::of([
            ("ISSUER", "http://auth.example.com"),
            ("PORT", "seventy"),
            ("CODE_MAC_KEY", "c2hvcnQ"),
            ("GATEWAY_JWT_SECRET", "hunter2"),
            ("ACCESS_TOKEN_TTL", "2d"),
        ]);
        let faults = check(&source).unwrap_err();
        let variables: Vec<_> = faults.0.iter().map(|fault| fault.variable.as_ref()).collect();
        assert_eq!(
            variables,
            [
                "ACCESS_TOKEN_TTL",
                "AUDIT_SIGNING_KEY",
                "CODE_MAC_KEY",
                "DATABASE_URL",
                "EDGE_PUBLIC_KEYS",
                "FORWARDER_DATABASE_URL",
                "GATEWAY_JWT_SECRET",
                "ISSUER",
                "KEY_ENCRYPTION_KEY",
                "MAIL_FROM",
                "POLICY_SIGNING_KEY",
                "PORT",
                "READ_DATABASE_URL",
                "REGISTRY_DATABASE_URL",
                "SMTP_URL",
                "WEBHOOK_SECRET"
            ]
        );
        let said = faults.to_string();
        assert!(said.contains("ISSUER is http on a host that is not loopback"), "{said}");
        assert!(said.contains("CODE_MAC_KEY has 5 bytes instead of 32"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("c2hvcnQ"), "a value is repeated: {said}");
        assert!(faults.0.iter().all(|fault| fault.fix.starts_with("Set it")), "{said}");
    }

    #[test]
    fn a_subcommand_asks_only_for_what_it_needs() {
        let source = Source::of([("DATABASE_URL", "postgres://gateward:secret@localhost/gateward")]);
        assert!(ApplyConfiguration::read(&source).is_ok());
        let faults = ForwardConfiguration::read(&source).err().unwrap();
        let variables: Vec<_> = faults.0.iter().map(|fault| fault.variable.as_ref()).collect();
        assert_eq!(variables, ["FORWARDER_DATABASE_URL"]);
    }

    #[test]
    fn the_ages_of_a_policy_must_be_in_order() {
        let variables = |pairs: &[(&str, &str)]| -> Vec<String> {
            let faults = check(&Source::of(pairs.iter().copied())).unwrap_err();
            let all = faults.0.iter().map(|fault| fault.variable.as_ref());
            let ages = all.filter(|name| name.starts_with("POLICY_") && *name != "POLICY_SIGNING_KEY");
            ages.map(str::to_owned).collect()
        };
        assert!(variables(&[]).is_empty());
        assert!(variables(&[("POLICY_STALE_LIMIT", "5"), ("POLICY_HARD_LIMIT", "6")]).is_empty());
        assert_eq!(variables(&[("POLICY_SOFT_LIMIT", "6")]), ["POLICY_SOFT_LIMIT"]);
        assert_eq!(variables(&[("POLICY_HARD_LIMIT", "5")]), ["POLICY_STALE_LIMIT"]);
        assert_eq!(variables(&[("POLICY_HARD_LIMIT", "2d")]), ["POLICY_HARD_LIMIT"]);
        assert_eq!(variables(&[("POLICY_REVOCATION_LIST", "5")]), ["POLICY_REVOCATION_LIST"]);
    }
}
