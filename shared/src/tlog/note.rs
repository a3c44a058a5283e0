//! Signed notes (c2sp.org/signed-note): text, an empty line, and signature lines. A note is read whether or not anything in it is
//! signed by somebody known; what is not verified may not be believed.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{base64, from_base64};

/// The longest note that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// The most signatures that a note is read with; the specification asks for 16 at least.
const MOST_SIGNATURES: usize = 64;
const DASH: &str = "\u{2014} ";

/// What a key signs, by the byte that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The text of a note (`0x01`).
    Ed25519,
    /// A checkpoint with a time, as a witness does (`0x04`, c2sp.org/tlog-cosignature).
    CosignatureV1,
}

impl Algorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::CosignatureV1 => 4,
        }
    }
}

/// Why a verifier key cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It is not `NAME+ID+KEY`.
    Form,
    /// Its name is empty, or has a space or a plus in it.
    Name,
    /// It is for another kind of signature than Ed25519 or a cosignature.
    Algorithm,
    /// The key is none, or one that every signature would fit.
    Key,
    /// The id is not that of name and key.
    Id,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it is not NAME+ID+KEY with eight hexadecimal digits and base64",
            Self::Name => "its name is empty, or has a space or a plus in it",
            Self::Algorithm => "it is for a kind of signature that is not known here",
            Self::Key => "its key is no usable Ed25519 key",
            Self::Id => "its id is not that of its name and key",
        })
    }
}

impl core::error::Error for KeyError {}

/// A key to check signatures of notes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key by its parts.
    pub fn new(name: &str, algorithm: Algorithm, key: VerifyingKey) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        if key.is_weak() {
            return Err(KeyError::Key);
        }
        Ok(Self { name: name.to_string(), algorithm, key })
    }

    /// Reads `NAME+ID+KEY`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        // The name has no plus; base64 may have some.
        let (name, rest) = text.split_once('+').ok_or(KeyError::Form)?;
        let (id, key) = rest.split_once('+').ok_or(KeyError::Form)?;
        let is_hexadecimal = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != 8 || !is_hexadecimal {
            return Err(KeyError::Form);
        }
        let bytes = from_base64(key).ok_or(KeyError::Form)?;
        let (algorithm, key) = bytes.split_first().ok_or(KeyError::Form)?;
        let algorithm = [Algorithm::Ed25519, Algorithm::CosignatureV1]
            .into_iter()
            .find(|known| known.byte() == *algorithm)
            .ok_or(KeyError::Algorithm)?;
        let key: [u8; 32] = key.try_into().map_err(|_| KeyError::Key)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| KeyError::Key)?;
        let key = Self::new(name, algorithm, key)?;
        if format!("{:08x}", u32::from_be_bytes(key.id())) == id { Ok(key) } else { Err(KeyError::Id) }
    }

    /// Who signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is signed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The first four bytes of SHA-256(name, newline, algorithm, key): tells keys apart, and is no fingerprint.
    pub fn id(&self) -> [u8; 4] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.algorithm.byte()])
            .chain_update(self.key.as_bytes())
            .finalize()
            .into();
        let [a, b, c, d, ..] = hash;
        [a, b, c, d]
    }

    /// Whether a signature line claims to be by this key.
    pub fn made(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.key_id == self.id()
    }

    /// Whether these bytes are an Ed25519 signature of the message.
    pub(super) fn check(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = Vec::from([self.algorithm.byte()]);
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id()), base64(&key))
    }
}

/// A key to sign notes with.
#[derive(Clone)]
pub struct NoteSigner {
    verifier: VerifierKey,
    key: SigningKey,
}

impl NoteSigner {
    /// A signer by its name and the seed of its Ed25519 key.
    pub fn new(name: &str, algorithm: Algorithm, seed: &Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(seed);
        Ok(Self { verifier: VerifierKey::new(name, algorithm, key.verifying_key())?, key })
    }

    /// What others check its signatures with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text, which must end with a newline, and gives the whole note.
    pub fn sign(&self, text: &str) -> String {
        let signature = self.line(&self.raw(text.as_bytes()));
        format!("{text}\n{signature}")
    }

    pub(super) fn raw(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    pub(super) fn line(&self, signature: &[u8]) -> NoteSignature {
        NoteSignature {
            name: self.verifier.name.clone(),
            key_id: self.verifier.id(),
            signature: signature.to_vec(),
        }
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// One signature of a note, not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Who is said to have signed.
    pub name: String,
    /// Which of their keys.
    pub key_id: [u8; 4],
    /// What the algorithm of that key made.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// Reads a signature line, without its newline.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = from_base64(bytes)?;
        let (key_id, signature) = bytes.split_first_chunk::<4>()?;
        let is_whole = is_name(name) && !signature.is_empty();
        is_whole.then(|| Self { name: name.to_string(), key_id: *key_id, signature: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    /// The line, with its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.as_slice(), &self.signature].concat();
        writeln!(f, "{DASH}{} {}", self.name, base64(&bytes))
    }
}

/// Why a note cannot be read, or is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// It is not a text, an empty line and signature lines; or it is longer than 64 KiB.
    Form,
    /// None of its signatures is by a known key.
    Unknown,
    /// A signature that is said to be by a known key is not.
    Signature,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it is not a signed note",
            Self::Unknown => "it is not signed by the key that was given",
            Self::Signature => "its signature is not by the key that it names",
        })
    }
}

impl core::error::Error for NoteError {}

/// A note, not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let is_clean = !note.chars().any(|character| character < ' ' && character != '\n');
        if note.len() > LONGEST || !is_clean {
            return Err(NoteError::Form);
        }
        // The text is everything up to the last empty line, and ends with a newline of its own.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        let signatures: Option<Vec<_>> = lines.split('\n').map(NoteSignature::parse).collect();
        let signatures = signatures.ok_or(NoteError::Form)?;
        if signatures.len() > MOST_SIGNATURES {
            return Err(NoteError::Form);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// What is signed, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its signatures, in their order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Whether one of these keys signed it. A signature that names one of them and is not by it spoils the note; those of others
    /// say nothing.
    pub fn verify<'a>(&self, keys: impl IntoIterator<Item = &'a VerifierKey>) -> Result<(), NoteError> {
        let mut signed = false;
        for key in keys.into_iter().filter(|key| key.algorithm == Algorithm::Ed25519) {
            for signature in self.signatures.iter().filter(|signature| key.made(signature)) {
                if !key.check(self.text.as_bytes(), &signature.signature) {
                    return Err(NoteError::Signature);
                }
                signed = true;
            }
        }
        if signed { Ok(()) } else { Err(NoteError::Unknown) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

/// A key's name: not empty, no space of any kind, no plus, no control character.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|character| character.is_whitespace() || character == '+' || character.is_control())
}
