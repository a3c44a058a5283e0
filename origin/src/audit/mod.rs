//! The audit log: every event has a position in one list, the list is a Merkle tree (RFC 6962), and its root is signed and published
//! where the owner of the database cannot write. It is tamper-evident after the next published checkpoint: not before, and it
//! prevents nothing.
//!
//! [`Sealer`] is a destination of the outbox and gives positions. [`Keeper`] signs checkpoints and sees to their publication; it never
//! holds up the sealer. [`export`] writes what a [`verify::Verifier`] reads, and a verifier needs nothing but that, a published
//! checkpoint and a key: nothing in [`verify`] may reach a database or the network.

mod audit_log;
mod checkpoints;
pub mod export;
mod growth;
mod keeper;
mod leaf;
mod prove;
mod publish;
mod sealer;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod tree;
pub mod verify;

pub use self::audit_log::AuditLog;
pub use self::checkpoints::{StoredCheckpoint, latest_checkpoint};
pub use self::keeper::{Keeper, KeeperError, KeeperSettings};
pub use self::leaf::Leaf;
pub use self::prove::{ProofFault, ProveError, Proved, prove, verify_proof};
pub use self::publish::{PublishError, Publisher, checkpoint_table};
pub use self::sealer::Sealer;
pub use self::status::{AuditStatus, CheckpointStatus, PublicationStatus, status};
pub use self::tree::TreeError;
