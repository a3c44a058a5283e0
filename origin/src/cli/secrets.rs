//! `gateward secrets`.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::SigningKey;

use super::{Failure, output};
use crate::clock::Randomness;

/// Print fresh values for every secret, for the origin and for one edge. Nothing is stored.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward secrets --edge-id edge-1 > secrets.env")]
pub(super) struct Arguments {
    /// Name of the edge: `kid` and `iss` of its assertions.
    #[arg(long, default_value = "edge-1", value_parser = edge_id)]
    edge_id: String,
    /// Print an object with the members `origin` and `edge`.
    #[arg(long)]
    json: bool,
}

fn edge_id(text: &str) -> Result<String, String> {
    let fits = (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("1 to 128 letters, digits, dots, dashes or underscores".to_owned())
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sides = generate(&arguments.edge_id, &Randomness::System);
    if arguments.json {
        return output::json(&sides);
    }
    for (side, values) in &sides {
        output::line(&format!("# {side}"))?;
        for (name, value) in values {
            output::line(&format!("{name}={value}"))?;
        }
    }
    Ok(())
}

type Side = BTreeMap<&'static str, String>;

fn generate(edge_id: &str, randomness: &Randomness) -> BTreeMap<&'static str, Side> {
    let fresh = || encode(&randomness.bytes());
    let (policy, edge) = (randomness.bytes::<32>(), randomness.bytes::<32>());
    let public = |seed: &[u8; 32]| encode(SigningKey::from_bytes(seed).verifying_key().as_bytes());
    let (code_mac_key, jwt_secret) = (fresh(), fresh());
    BTreeMap::from([
        (
            "origin",
            BTreeMap::from([
                ("AUDIT_SIGNING_KEY", fresh()),
                ("POLICY_SIGNING_KEY", encode(&policy)),
                ("EDGE_PUBLIC_KEYS", format!("{edge_id}={}", public(&edge))),
                ("CODE_MAC_KEY", code_mac_key.clone()),
                ("KEY_ENCRYPTION_KEY", fresh()),
                ("GATEWAY_JWT_SECRET", jwt_secret.clone()),
                ("WEBHOOK_SECRET", fresh()),
            ]),
        ),
        (
            "edge",
            BTreeMap::from([
                ("EDGE_ID", edge_id.to_owned()),
                ("EDGE_PRIVATE_KEY", encode(&edge)),
                ("POLICY_PUBLIC_KEY", public(&policy)),
                ("CODE_MAC_KEY", code_mac_key),
                ("GATEWAY_JWT_SECRET", jwt_secret),
            ]),
        ),
    ])
}

fn encode(bytes: &[u8; 32]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{ServeConfiguration, Source};

    #[test]
    fn what_it_prints_is_what_serve_reads() {
        let sides = generate("edge-7", &Randomness::System);
        let mut pairs: Vec<(&str, &str)> =
            sides["origin"].iter().map(|(name, value)| (*name, value.as_str())).collect();
        pairs.extend([
            ("ISSUER", "https://auth.example.com"),
            ("DATABASE_URL", "postgres://gateward:secret@localhost/gateward"),
            ("SMTP_URL", "smtp://127.0.0.1:2525"),
            ("MAIL_FROM", "Gateward <sign-in@example.com>"),
        ]);
        let serve = ServeConfiguration::read(&Source::of(pairs)).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(serve.edge_public_keys[0].edge_id, "edge-7");
        let public =
            encode(SigningKey::from_bytes(serve.policy_signing_key.expose()).verifying_key().as_bytes());
        assert_eq!(public, sides["edge"]["POLICY_PUBLIC_KEY"]);
    }
}
