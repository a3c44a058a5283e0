//! The keys that sign tokens. Exactly one is active; its private half is sealed at rest and opened only to be handed to the signer.

mod load;
mod seal;

pub use self::load::{PublicKey, SigningKeyError, active, public_keys};
pub use self::seal::{Sealed, Sealer};
