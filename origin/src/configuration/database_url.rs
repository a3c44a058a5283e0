//! The address of a database with its login. It holds a password, so it cannot be printed.

use sqlx::postgres::PgConnectOptions;
use zeroize::Zeroizing;

use super::reader::Problem;

/// A parsed `postgres://login:password@host:port/database` URL.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
    username: String,
    password: Option<Zeroizing<String>>,
    database: String,
}

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        const FIX: &str =
            "Set it to postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE, special characters percent-encoded.";
        let url =
            url::Url::parse(text).map_err(|error| Problem::new(format!("is not a URL: {error}"), FIX))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Problem::new("is not a postgres:// URL", FIX));
        }
        let options: PgConnectOptions =
            text.parse().map_err(|_| Problem::new("cannot be read as a Postgres address", FIX))?;
        let username = decode(url.username()).filter(|name| !name.is_empty());
        let username = username.ok_or_else(|| Problem::new("names no login role", FIX))?;
        let database = decode(url.path().trim_start_matches('/')).filter(|name| !name.is_empty());
        let database = database.ok_or_else(|| Problem::new("names no database", FIX))?;
        let password = url.password().and_then(decode).map(Zeroizing::new);
        Ok(Self { options, username, password, database })
    }

    /// What sqlx needs to connect.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The login role.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The login's password, where the URL has one.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref().map(String::as_str)
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }
}

/// Percent-decoding (RFC 3986, 2.1); nothing where what comes out is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
            bytes.push(high * 16 + low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded() {
        let url = DatabaseUrl::parse("postgres://gate%40ward:p%2Fw@localhost:5432/my%20db").ok().unwrap();
        assert_eq!((url.username(), url.password(), url.database()), ("gate@ward", Some("p/w"), "my db"));
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, why) in [
            ("localhost", "is not a URL"),
            ("mysql://a@b/c", "is not a postgres"),
            ("postgres://localhost/db", "names no login"),
            ("postgres://a@localhost", "names no database"),
        ] {
            let problem = DatabaseUrl::parse(text).err().unwrap();
            assert!(problem.why.starts_with(why), "{text}: {}", problem.why);
        }
    }
}
