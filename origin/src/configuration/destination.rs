//! The credentials of destinations. They are in the environment only: under a name of their own for the destinations that are always
//! there, under `DESTINATION_<NAME>_…` for those that somebody added. A fault names the variable and the destination.

use std::borrow::Cow;

use super::database_url::DatabaseUrl;
use super::fault::{Fault, Faults};
use super::reader::{Reader, Source};

/// The name of a destination's variable: `what` is the part that says what is in it, such as `URL`.
pub fn destination_variable(name: &str, what: &str) -> Cow<'static, str> {
    match (name, what) {
        ("read-database", "URL") => "READ_DATABASE_URL".into(),
        ("client-registry", "URL") => "REGISTRY_DATABASE_URL".into(),
        _ => format!("DESTINATION_{}_{what}", name.to_ascii_uppercase().replace('-', "_")).into(),
    }
}

/// The address, with login, of a destination that is a Postgres.
pub fn destination_url(source: &Source, name: &str) -> Result<DatabaseUrl, Faults> {
    let mut reader = Reader::new(source);
    let fix = format!(
        "Set it to the login of destination {name}: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE. \
         Without it its events would have nowhere to go."
    );
    let url = reader.required(destination_variable(name, "URL"), &fix, DatabaseUrl::parse);
    reader.finish(url)
}

impl Faults {
    /// A destination of a kind that this version cannot deliver to.
    pub(crate) fn of_unknown_kind(name: &str, kind: &str) -> Self {
        Self(vec![Fault {
            variable: format!("destination {name}").into(),
            why: format!("is of kind {kind}, which this version of gateward cannot deliver to"),
            fix: "Run the version that added it, or disable it.".to_owned(),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_the_variable_and_the_destination() {
        let faults = destination_url(&Source::of([]), "second-site").err().unwrap();
        assert_eq!(faults.0[0].variable, "DESTINATION_SECOND_SITE_URL");
        assert!(faults.to_string().contains("destination second-site"), "{faults}");
        let source = Source::of([("READ_DATABASE_URL", "https://hunter2@localhost/")]);
        let said = destination_url(&source, "read-database").err().unwrap().to_string();
        assert!(
            said.contains("READ_DATABASE_URL is not a postgres:// URL") && !said.contains("hunter2"),
            "{said}"
        );
    }
}
