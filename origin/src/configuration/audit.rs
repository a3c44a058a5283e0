//! What the audit log needs: the key that signs its checkpoints, and where they are published.

use std::path::PathBuf;
use std::time::Duration;

use shared::tlog::{Algorithm, NoteSigner, VerifierKey};
use url::Url;
use zeroize::Zeroizing;

use super::commands::ISSUER;
use super::database_url::DatabaseUrl;
use super::fault::Faults;
use super::reader::{Problem, Reader, Source};
use super::value::{self, Issuer, milliseconds_within};
use crate::egress::is_on_loopback;

const KEY: &str = "Set it to 32 random bytes in base64url; `gateward secrets` prints some. Without it nobody could tell whether the \
                   audit log was changed.";
const WITNESS: &str =
    "Set it to the witness's submission prefix, such as https://witness.example.com/submit.";
const WITNESS_KEY: &str =
    "Set it to the key that the witness publishes: NAME+ID+KEY, for cosignatures (its first byte is 4).";

/// A witness that checkpoints are submitted to (c2sp.org/tlog-witness).
#[derive(Clone, Debug)]
pub struct WitnessConfiguration {
    /// What `/add-checkpoint` is appended to.
    pub url: Url,
    /// What its cosignatures are checked with.
    pub key: VerifierKey,
}

/// The destination `audit-log`.
#[derive(Clone)]
pub struct AuditConfiguration {
    /// Signs checkpoints; its name is the issuer's host, with the port where there is one.
    pub signer: NoteSigner,
    /// The file that has the latest checkpoint.
    pub file: Option<PathBuf>,
    /// The database that keeps checkpoints.
    pub database: Option<DatabaseUrl>,
    /// The witness that cosigns them.
    pub witness: Option<WitnessConfiguration>,
    /// How often is looked whether the log has grown.
    pub interval: Duration,
    /// After how many events is looked sooner.
    pub events: u64,
}

impl AuditConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let whole = Self::collect(&mut reader);
        reader.finish(whole)
    }

    pub(super) fn collect(reader: &mut Reader<'_>) -> Option<Self> {
        let signer = signer(reader);
        let file = reader.optional("AUDIT_CHECKPOINT_FILE", checkpoint_file);
        let database = reader.optional("AUDIT_CHECKPOINT_DATABASE_URL", DatabaseUrl::parse);
        let url = reader.optional("AUDIT_WITNESS_URL", witness_url);
        let witness = if let Some(url) = url {
            let key = reader.required("AUDIT_WITNESS_KEY", WITNESS_KEY, witness_key);
            key.map(|key| WitnessConfiguration { url, key })
        } else {
            if reader.optional("AUDIT_WITNESS_KEY", witness_key).is_some() {
                reader.required("AUDIT_WITNESS_URL", WITNESS, witness_url);
            }
            None
        };
        let interval = reader.or("AUDIT_CHECKPOINT_INTERVAL", Duration::from_secs(1), |text| {
            milliseconds_within(text, 100, 3_600_000)
        });
        let events = reader.or("AUDIT_CHECKPOINT_EVENTS", 10_000, checkpoint_events);
        Some(Self { signer: signer?, file, database, witness, interval, events })
    }
}

/// `gateward audit key`.
pub struct AuditKeyConfiguration {
    /// The log's key.
    pub verifier: VerifierKey,
}

impl AuditKeyConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let verifier = signer(&mut reader).map(|signer| signer.verifier().clone());
        reader.finish(verifier.map(|verifier| Self { verifier }))
    }
}

fn signer(reader: &mut Reader<'_>) -> Option<NoteSigner> {
    let issuer = reader.required("ISSUER", ISSUER, Issuer::parse);
    let seed = reader.required("AUDIT_SIGNING_KEY", KEY, value::key_bytes);
    let (issuer, seed) = (issuer?, seed?);
    let name = authority(&issuer);
    let seed = Zeroizing::new(*seed.expose());
    let signer = NoteSigner::new(&name, Algorithm::Ed25519, &seed);
    signer
        .map_err(|error| {
            reader.fault("AUDIT_SIGNING_KEY", Problem::new(format!("cannot be used: {error}"), KEY));
        })
        .ok()
}

/// Host and port of the issuer, as they stand in it.
fn authority(issuer: &Issuer) -> String {
    let text = issuer.as_str();
    text.split_once("://").map_or(text, |(_, authority)| authority).to_owned()
}

fn checkpoint_file(text: &str) -> Result<PathBuf, Problem> {
    const FIX: &str = "Set it to the path of a file, such as /var/lib/gateward-checkpoints/checkpoint, in a folder of its own.";
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(Problem::new("is not an absolute path", FIX));
    }
    if path.file_name().is_none() || text.ends_with('/') || path.is_dir() {
        return Err(Problem::new("is a folder", FIX));
    }
    if !path.parent().is_some_and(std::path::Path::is_dir) {
        return Err(Problem::new("is in a folder that is not there", "Create the folder."));
    }
    Ok(path)
}

fn witness_url(text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).map_err(|error| Problem::new(format!("is not a URL: {error}"), WITNESS))?;
    match url.scheme() {
        "https" => {}
        "http" if is_on_loopback(&url) => {}
        _ => return Err(Problem::new("is neither https, nor http on loopback", WITNESS)),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(Problem::new("has a user, password or query in it", WITNESS));
    }
    Ok(url)
}

fn witness_key(text: &str) -> Result<VerifierKey, Problem> {
    let key = VerifierKey::parse(text)
        .map_err(|error| Problem::new(format!("is no verifier key: {error}"), WITNESS_KEY))?;
    match key.algorithm() {
        Algorithm::CosignatureV1 => Ok(key),
        Algorithm::Ed25519 => Err(Problem::new("is a key of a log, not of a witness", WITNESS_KEY)),
    }
}

fn checkpoint_events(text: &str) -> Result<u64, Problem> {
    const FIX: &str = "Set it to 1 to 10000000.";
    match text.parse() {
        Ok(number @ 1..=10_000_000) => Ok(number),
        Ok(_) => Err(Problem::new("is out of its range", FIX)),
        Err(_) => Err(Problem::new("is not a whole number", FIX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    fn variables(pairs: &[(&str, &str)]) -> Vec<String> {
        let faults = AuditConfiguration::read(&Source::of(pairs.iter().copied())).err();
        faults.map_or_else(Vec::new, |faults| {
            faults.0.iter().map(|fault| fault.variable.clone().into_owned()).collect()
        })
    }

    #[test]
    fn a_key_is_needed_and_places_are_not() {
        assert_eq!(variables(&[]), ["ISSUER", "AUDIT_SIGNING_KEY"]);
        let least = [("ISSUER", "https://auth.example.com:8443"), ("AUDIT_SIGNING_KEY", SEED)];
        let configuration = AuditConfiguration::read(&Source::of(least)).ok().unwrap();
        assert_eq!(configuration.signer.verifier().name(), "auth.example.com:8443");
        assert!(configuration.file.is_none() && configuration.witness.is_none());
    }

    #[test]
    fn faulty_places_are_named() {
        let witness = "w.test+e8a4d2ac+BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
        let with = |more: &[(&'static str, &'static str)]| {
            let least = [("ISSUER", "http://127.0.0.1:8787"), ("AUDIT_SIGNING_KEY", SEED)];
            variables(&[least.as_slice(), more].concat())
        };
        assert_eq!(with(&[("AUDIT_CHECKPOINT_FILE", "checkpoint")]), ["AUDIT_CHECKPOINT_FILE"]);
        assert_eq!(with(&[("AUDIT_CHECKPOINT_FILE", "/nowhere/checkpoint")]), ["AUDIT_CHECKPOINT_FILE"]);
        assert_eq!(with(&[("AUDIT_CHECKPOINT_FILE", "/tmp/")]), ["AUDIT_CHECKPOINT_FILE"]);
        assert_eq!(with(&[("AUDIT_WITNESS_URL", "http://witness.test")]), ["AUDIT_WITNESS_URL"]);
        assert_eq!(with(&[("AUDIT_WITNESS_URL", "https://witness.test")]), ["AUDIT_WITNESS_KEY"]);
        assert_eq!(
            with(&[("AUDIT_WITNESS_URL", "https://witness.test"), ("AUDIT_WITNESS_KEY", witness)]),
            ["AUDIT_WITNESS_KEY"],
            "an id that is not the key's"
        );
        assert_eq!(with(&[("AUDIT_CHECKPOINT_INTERVAL", "5")]), ["AUDIT_CHECKPOINT_INTERVAL"]);
        assert_eq!(with(&[("AUDIT_CHECKPOINT_EVENTS", "0")]), ["AUDIT_CHECKPOINT_EVENTS"]);
        assert!(with(&[("AUDIT_CHECKPOINT_FILE", "/tmp/checkpoint")]).is_empty());
    }
}
