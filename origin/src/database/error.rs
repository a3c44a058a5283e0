//! What can go wrong between the gateway and Postgres, told apart by what the caller can do about it.

/// A fault of the database or of the way to it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No connection could be had.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// The login role may not take the role the actor needs.
    #[error(
        "the login role may not act as {role}; run `gateward migrate` with this DATABASE_URL set, which grants it"
    )]
    RoleDenied {
        /// The group role that was refused.
        role: &'static str,
    },
    /// An actor was named that cannot exist.
    #[error("the platform workspace is not a tenant: act as the person, or as a component")]
    PlatformIsNoTenant,
    /// Two transactions were in each other's way (serialization failure or deadlock); the whole can be tried again.
    #[error("two transactions were in each other's way; try again")]
    Contended(#[source] sqlx::Error),
    /// A statement of the scope had failed, so that committing it would have silently stored nothing.
    #[error("nothing was stored: a statement of this transaction had failed before the commit")]
    Aborted,
    /// Postgres refused a statement.
    #[error("the database refused a statement: {0}")]
    Refused(#[source] sqlx::Error),
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let code = sqlstate(&error);
        match code.as_deref() {
            Some("40001" | "40P01") => Self::Contended(error),
            Some("25P02") => Self::Aborted,
            // Connection exceptions, too many connections, shutdown, start-up.
            Some(code) if code.starts_with("08") || code.starts_with("57P") || code == "53300" => {
                Self::Unreachable(error)
            }
            None if is_connection_fault(&error) => Self::Unreachable(error),
            _ => Self::Refused(error),
        }
    }
}

/// The five characters Postgres gives an error, where it gave one.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned))
}

fn is_connection_fault(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed
    )
}
