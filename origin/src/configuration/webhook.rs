//! The secrets of the sync webhooks. Both are kept as hashes only, and compared without telling by time how far they agree.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::reader::{Problem, Reader};

const SECRET: &str =
    "Set it to a secret of at least 32 bytes that the webhooks send; `gateward secrets` prints one.";
const LEAST_BYTES: usize = 32;

/// What webhooks prove themselves by: the secret, and while it is rotated the one before.
#[derive(Clone)]
pub struct WebhookSecrets {
    current: [u8; 32],
    previous: Option<[u8; 32]>,
}

impl WebhookSecrets {
    /// Reads `WEBHOOK_SECRET` and `WEBHOOK_SECRET_PREVIOUS`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let current = reader.required("WEBHOOK_SECRET", SECRET, hash);
        let previous = reader.optional("WEBHOOK_SECRET_PREVIOUS", hash);
        if current.is_some() && current == previous {
            let fix =
                "Set it to the secret before that one, or leave it out when nothing sends that any more.";
            reader.fault("WEBHOOK_SECRET_PREVIOUS", Problem::new("is the same as WEBHOOK_SECRET", fix));
        }
        current.map(|current| Self { current, previous })
    }

    /// Whether this is one of them. Takes as long for every other text of its length.
    pub fn admits(&self, presented: &[u8]) -> bool {
        let presented = Sha256::digest(presented);
        let current = presented.ct_eq(&self.current);
        let previous = presented.ct_eq(&self.previous.unwrap_or_default())
            & Choice::from(u8::from(self.previous.is_some()));
        (current | previous).into()
    }
}

fn hash(text: &str) -> Result<[u8; 32], Problem> {
    if text.len() < LEAST_BYTES {
        let why = format!("has {} bytes; {LEAST_BYTES} are needed at least", text.len());
        return Err(Problem::new(why, SECRET));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::new("has spaces or characters that cannot stand in a header", SECRET));
    }
    Ok(Sha256::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{Faults, Source};

    const ONE: &str = "one-secret-of-thirty-two-bytes-or-more";
    const OTHER: &str = "other-secret-of-thirty-two-bytes-or-so";

    fn read(pairs: &[(&'static str, &str)]) -> Result<WebhookSecrets, Faults> {
        let source = Source::of(pairs.iter().copied());
        let mut reader = Reader::new(&source);
        let secrets = WebhookSecrets::read(&mut reader);
        reader.finish(secrets)
    }

    #[test]
    fn one_secret_or_two_while_it_is_rotated() {
        let alone = read(&[("WEBHOOK_SECRET", ONE)]).unwrap();
        assert!(alone.admits(ONE.as_bytes()));
        let rotating = read(&[("WEBHOOK_SECRET", OTHER), ("WEBHOOK_SECRET_PREVIOUS", ONE)]).unwrap();
        assert!(rotating.admits(ONE.as_bytes()) && rotating.admits(OTHER.as_bytes()));
        for secrets in [&alone, &rotating] {
            for wrong in ["", "x", ONE.get(1..).unwrap(), &format!("{ONE} "), &ONE.to_uppercase()] {
                assert!(!secrets.admits(wrong.as_bytes()), "{wrong:?}");
            }
        }
        assert!(!alone.admits(OTHER.as_bytes()));
        // No hash stands for "none": what an absent one is compared with admits nothing.
        assert!(!alone.admits(&[0; 32]));
    }

    #[test]
    fn a_weak_or_unusable_secret_is_a_fault_that_does_not_repeat_it() {
        let faults = |pairs: &[(&'static str, &str)]| read(pairs).err().unwrap().to_string();
        assert!(faults(&[]).contains("WEBHOOK_SECRET is not set"));
        let short = faults(&[("WEBHOOK_SECRET", "hunter2")]);
        assert!(short.contains("has 7 bytes; 32 are needed") && !short.contains("hunter2"), "{short}");
        assert!(faults(&[("WEBHOOK_SECRET", &format!("{ONE} a"))]).contains("cannot stand in a header"));
        let twice = faults(&[("WEBHOOK_SECRET", ONE), ("WEBHOOK_SECRET_PREVIOUS", ONE)]);
        assert!(twice.contains("is the same as WEBHOOK_SECRET") && !twice.contains(ONE), "{twice}");
    }
}
