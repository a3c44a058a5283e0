//! The client registry: the projects and OAuth clients that public interfaces show, in a database of its own. It is made of events and of
//! nothing else ([`Row`] says how), so that it can be compared with them, mended and rebuilt. It never reads the command database's own
//! tables, and holds no secret, no hash and no upstream's address.

mod destination;
mod row;
mod store;
#[cfg(test)]
mod tests;

pub use self::destination::ClientRegistry;
pub use self::row::Unreadable;
pub(crate) use self::row::{AGGREGATES, Happened, Row, fold};
pub(crate) use self::store::{Differing, TABLES, Table, differing, ids, lock, remove, write};
