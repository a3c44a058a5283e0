//! The roles of a Postgres cluster: groups that own and may, and logins that may do nothing until a scope takes a group's role.
//! Safe to run twice and by two at once. Passwords go over as SCRAM verifiers, so that no log of the server can hold one.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::migrate::MigrationError;
use super::sqlstate;
use crate::clock::Randomness;
use crate::configuration::DatabaseUrl;

/// Every group role. None of them logs in, none of them bypasses row-level security.
pub(crate) const GROUPS: [&str; 9] = [
    "gateward_owner",
    "gateward_app",
    "gateward_system",
    "gateward_forwarder",
    "gateward_sealer",
    "gateward_auditor",
    "gateward_projector",
    "gateward_retention",
    "gateward_registrar",
];

/// A login role and the groups it may act as.
pub(super) struct Login<'a> {
    /// The variable that names it, for messages.
    pub(super) variable: &'static str,
    pub(super) url: &'a DatabaseUrl,
    pub(super) groups: &'static [&'static str],
}

/// Creates what is missing. The migration login becomes a member of the owner, so that migrations can act as it.
pub(super) async fn ensure(
    connection: &mut PgConnection,
    logins: &[Login<'_>],
    randomness: &Randomness,
) -> Result<(), MigrationError> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int AS version, current_user::text AS admin,
                (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser",
    )
    .fetch_one(&mut *connection)
    .await?;
    let (version, admin, superuser): (i32, String, bool) =
        (row.try_get("version")?, row.try_get("admin")?, row.try_get("superuser")?);
    if version < 150_000 {
        return Err(MigrationError::TooOld { version });
    }
    // From version 16 a membership carries its own INHERIT; before, the login's attribute decides.
    let (membership, may_set) =
        if version >= 160_000 { (" WITH INHERIT FALSE, SET TRUE", "SET") } else { ("", "MEMBER") };

    for group in GROUPS {
        if !exists(connection, group).await? {
            tolerant(connection, format!("CREATE ROLE {group} NOLOGIN NOINHERIT NOBYPASSRLS")).await?;
        }
    }
    // Granting needs more rights than being a member does: an administrator who is one already is left in peace.
    if !superuser && !has(connection, &admin, "gateward_owner", may_set).await? {
        let grant = quoted(connection, "GRANT gateward_owner TO %1$I", &admin, "").await?;
        tolerant(connection, grant + membership).await?;
    }
    for login in logins {
        ensure_login(connection, login, &admin, randomness).await?;
        for group in login.groups {
            let name = login.url.username();
            let fits = has(connection, name, group, may_set).await?
                && !has(connection, name, group, "USAGE").await?;
            if !fits {
                let grant = quoted(connection, "GRANT %2$I TO %1$I", name, group).await?;
                tolerant(connection, grant + membership).await?;
            }
        }
        ensure_connect(connection, login.url).await?;
    }
    Ok(())
}

/// Lets a login connect to its database, where not everybody may.
async fn ensure_connect(connection: &mut PgConnection, url: &DatabaseUrl) -> Result<(), MigrationError> {
    let may: bool =
        sqlx::query_scalar("SELECT has_database_privilege($1::name, current_database(), 'CONNECT')")
            .bind(url.username())
            .fetch_one(&mut *connection)
            .await?;
    if !may {
        let grant =
            quoted(connection, "GRANT CONNECT ON DATABASE %2$I TO %1$I", url.username(), url.database())
                .await?;
        tolerant(connection, grant).await?;
    }
    Ok(())
}

/// Takes from everybody what Postgres gives everybody on a new database: to connect, and to make temporary tables. A login of one store is
/// then none of another, even where all are on one server.
pub(super) async fn close_to_others(
    connection: &mut PgConnection,
    database: &str,
) -> Result<(), sqlx::Error> {
    let revoke = quoted(connection, "REVOKE ALL ON DATABASE %1$I FROM PUBLIC", database, "").await?;
    tolerant(connection, revoke).await
}

async fn ensure_login(
    connection: &mut PgConnection,
    login: &Login<'_>,
    admin: &str,
    randomness: &Randomness,
) -> Result<(), MigrationError> {
    let name = login.url.username();
    if name == admin {
        return Err(MigrationError::LoginIsAdmin { variable: login.variable, login: name.to_owned() });
    }
    if !exists(connection, name).await? {
        let create = match login.url.password() {
            Some(password) => {
                let verifier = scram_verifier(password, &randomness.bytes());
                quoted(
                    connection,
                    "CREATE ROLE %1$I LOGIN NOINHERIT NOBYPASSRLS PASSWORD %2$L",
                    name,
                    &verifier,
                )
                .await?
            }
            None => quoted(connection, "CREATE ROLE %1$I LOGIN NOINHERIT NOBYPASSRLS", name, "").await?,
        };
        tolerant(connection, create).await?;
    }
    let privileged: bool =
        sqlx::query_scalar("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = $1")
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
    if privileged {
        return Err(MigrationError::LoginIsPrivileged { variable: login.variable, login: name.to_owned() });
    }
    for setting in [
        "ALTER ROLE %1$I NOINHERIT",
        // A transaction that waits for its client holds back vacuum, and so the outbox.
        "ALTER ROLE %1$I SET idle_in_transaction_session_timeout = '15s'",
        "ALTER ROLE %1$I SET statement_timeout = '30s'",
    ] {
        let statement = quoted(connection, setting, name, "").await?;
        tolerant(connection, statement).await?;
    }
    Ok(())
}

/// Whether a role may use another: `SET` or `MEMBER` for acting as it, `USAGE` for having its rights without asking.
async fn has(
    connection: &mut PgConnection,
    role: &str,
    group: &str,
    right: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_has_role($1::name, $2::name, $3)")
        .bind(role)
        .bind(group)
        .bind(right)
        .fetch_one(connection)
        .await
}

async fn exists(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role)
        .fetch_one(connection)
        .await
}

/// Lets Postgres quote the names: a statement about roles takes no parameters.
async fn quoted(
    connection: &mut PgConnection,
    template: &'static str,
    first: &str,
    second: &str,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT format($1, $2::text, $3::text)")
        .bind(template)
        .bind(first)
        .bind(second)
        .fetch_one(connection)
        .await
}

/// Runs a statement about roles that somebody else may be running too: what exists already is fine, and a catalog row that was
/// changed meanwhile means trying again. The other one has finished by then, so a few tries are enough.
async fn tolerant(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    let mut tries = 0;
    loop {
        let result = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *connection).await;
        let Err(error) = result else { return Ok(()) };
        tries += 1;
        match sqlstate(&error).as_deref() {
            Some("42710" | "23505") => return Ok(()),
            Some("XX000" | "40001") if tries < 20 => {}
            _ => return Err(error),
        }
    }
}

/// The verifier Postgres keeps for a password (RFC 5803): `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. A password
/// with other than ASCII needs `SASLprep`, which the server does: it is handed over as it is.
fn scram_verifier(password: &str, salt: &[u8; 16]) -> String {
    const ITERATIONS: u32 = 4096;
    if !password.is_ascii() {
        return password.to_owned();
    }
    let key = password.as_bytes();
    // PBKDF2 (RFC 8018, 5.2) for a single block.
    let mut block = authenticate(key, &[salt.as_slice(), &1_u32.to_be_bytes()]);
    let mut salted = block;
    for _ in 1..ITERATIONS {
        block = authenticate(key, &[&block]);
        for (to, from) in salted.iter_mut().zip(block) {
            *to ^= from;
        }
    }
    let stored: [u8; 32] = Sha256::digest(authenticate(&salted, &[b"Client Key"])).into();
    let server = authenticate(&salted, &[b"Server Key"]);
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        Base64::encode_string(salt),
        Base64::encode_string(&stored),
        Base64::encode_string(&server)
    )
}

fn authenticate(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length: the error of the type cannot happen, and an empty tag would fit no password.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_the_one_of_rfc_7677() {
        // RFC 7677, 3: password "pencil", salt and iterations as given there; the keys follow from them.
        let salt: [u8; 16] = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        assert_eq!(
            scram_verifier("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
