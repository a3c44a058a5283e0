//! The keys of external issuers: fetched here, since the edge must not fetch what a tenant names, and carried to the edges by the
//! policy. A fetch goes to public addresses only unless the operator has said otherwise, is bounded in size and time and follows no
//! redirect; when it fails, the keys of the last good one stay.

mod fetch;
mod key_set;
mod list;
mod refresh;
#[cfg(test)]
mod tests;

pub use self::fetch::{FetchFault, Fetcher};
pub use self::list::{IssuerStatistics, ListedIssuer, list, statistics};
pub use self::refresh::{Outcome, Refreshed, keep_fresh, refresh_due, request_all};
