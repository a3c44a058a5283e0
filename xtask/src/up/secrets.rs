//! The keys and passwords of one local gateway: drawn once, kept in its data folder where only its owner may read.

use std::path::Path;

use anyhow::{Context, Result};
use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::entropy;
use crate::postgres::write_secret;

/// The id of the edge that `up` runs.
pub(crate) const EDGE_ID: &str = "edge-1";

/// Secrets that data folders of earlier versions do not have; drawn when they are missed.
const SINCE: [&str; 3] = ["registrar_password", "webhook_secret", "audit_signing_key"];

/// Everything secret, in the form the environment wants it.
#[derive(Deserialize, Serialize)]
pub(crate) struct Secrets {
    pub(crate) postgres_password: String,
    pub(crate) serve_password: String,
    pub(crate) forwarder_password: String,
    pub(crate) projector_password: String,
    pub(crate) registrar_password: String,
    pub(crate) audit_signing_key: String,
    pub(crate) policy_signing_key: String,
    pub(crate) edge_private_key: String,
    pub(crate) code_mac_key: String,
    pub(crate) key_encryption_key: String,
    pub(crate) jwt_secret: String,
    pub(crate) webhook_secret: String,
}

impl Secrets {
    /// Reads them from `folder`, or draws them; says whether they are fresh.
    pub(crate) fn load_or_draw(folder: &Path) -> Result<(Self, bool)> {
        let path = folder.join("secrets.json");
        if path.exists() {
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let damaged =
                || format!("{} is damaged; remove the data folder {}", path.display(), folder.display());
            let mut kept: Map<String, Value> = serde_json::from_slice(&text).with_context(damaged)?;
            let mut is_complete = true;
            for name in SINCE {
                if !kept.contains_key(name) {
                    is_complete = false;
                    kept.insert(name.to_owned(), entropy::base64url32()?.into());
                }
            }
            let secrets: Self = serde_json::from_value(Value::Object(kept)).with_context(damaged)?;
            if !is_complete {
                secrets.write(&path)?;
            }
            return Ok((secrets, false));
        }
        let secrets = Self {
            postgres_password: entropy::base64url32()?,
            serve_password: entropy::base64url32()?,
            forwarder_password: entropy::base64url32()?,
            projector_password: entropy::base64url32()?,
            registrar_password: entropy::base64url32()?,
            audit_signing_key: entropy::base64url32()?,
            policy_signing_key: entropy::base64url32()?,
            edge_private_key: entropy::base64url32()?,
            code_mac_key: entropy::base64url32()?,
            key_encryption_key: entropy::base64url32()?,
            jwt_secret: entropy::base64url32()?,
            webhook_secret: entropy::base64url32()?,
        };
        secrets.write(&path)?;
        Ok((secrets, true))
    }

    /// Whole or not at all: half a file would lock the data folder.
    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("secrets cannot be written as JSON")?;
        let fresh = path.with_extension("json.new");
        write_secret(&fresh, &text)?;
        std::fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// `edge-1=<public key>`, as the origin's `EDGE_PUBLIC_KEYS` wants it.
    pub(crate) fn edge_public_keys(&self) -> Result<String> {
        Ok(format!("{EDGE_ID}={}", public_key(&self.edge_private_key)?))
    }

    /// The public half of the key that signs policies.
    pub(crate) fn policy_public_key(&self) -> Result<String> {
        public_key(&self.policy_signing_key)
    }
}

fn public_key(seed: &str) -> Result<String> {
    let mut bytes = [0_u8; 32];
    let decoded = Base64UrlUnpadded::decode(seed, &mut bytes).map_err(anyhow::Error::msg);
    let length = decoded.context("a key in secrets.json is not base64url")?.len();
    anyhow::ensure!(length == bytes.len(), "a key in secrets.json has {length} bytes instead of 32");
    Ok(Base64UrlUnpadded::encode_string(SigningKey::from_bytes(&bytes).verifying_key().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_are_derived_as_in_rfc_8032() {
        // RFC 8032 section 7.1, test 1.
        let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        assert_eq!(public_key(seed).unwrap(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert!(public_key("short").is_err());
    }
}
