//! How long what is over is kept.

use std::time::Duration;

use super::database_url::DatabaseUrl;
use super::fault::Faults;
use super::reader::{Reader, Source};
use super::value::duration_within;

const DATABASE: &str = "Set it to the origin's login: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE.";
const DAY: u64 = 86_400;

/// How long rows are kept after they are over. Events are kept for ever.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Authorization requests, codes, sign-in challenges, the rows of access tokens, revocations: after they have expired.
    pub expired: Duration,
    /// Sessions, grants, service tokens, consents taken back: after they have ended.
    pub ended: Duration,
}

impl Retention {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            // A code that comes back is known for what it is, and its grant ended, for at least an hour.
            expired: reader.or("RETENTION_EXPIRED", Duration::from_secs(DAY), |text| {
                duration_within(text, 3_600, 366 * DAY)
            }),
            ended: reader.or("RETENTION_ENDED", Duration::from_secs(30 * DAY), |text| {
                duration_within(text, DAY, 3_660 * DAY)
            }),
        }
    }
}

/// `gateward sweep`.
#[derive(Clone)]
pub struct SweepConfiguration {
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
    /// How long what is over is kept.
    pub retention: Retention,
}

impl SweepConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let retention = Retention::read(&mut reader);
        reader.finish(database.map(|database| Self { database, retention }))
    }
}
