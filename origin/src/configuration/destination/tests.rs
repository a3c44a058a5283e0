//! What is asked of a destination, and what is said where it is not there.

use serde_json::json;

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

fn variables<T>(result: Result<T, Faults>) -> Vec<String> {
    let faults = result.err().map(|faults| faults.0).unwrap_or_default();
    faults.into_iter().map(|fault| fault.variable.into_owned()).collect()
}

#[test]
fn supabase_keeps_the_names_that_its_variables_always_had() {
    let none = Source::of([]);
    assert_eq!(
        variables(postgrest_settings(&none, "supabase", &json!({}))),
        ["MAIN_SUPABASE_URL", "MAIN_SUPABASE_SERVICE_ROLE_KEY"]
    );
    assert_eq!(
        variables(postgrest_settings(&none, "other-site", &json!({}))),
        ["DESTINATION_OTHER_SITE_URL", "DESTINATION_OTHER_SITE_SERVICE_KEY"]
    );
}

#[test]
fn all_faults_of_a_destination_are_named_at_once_and_no_secret_is_repeated() {
    let source = Source::of([("DESTINATION_HOOKS_SECRETS", "whsec_hunter2"), ("FORWARDER_LEASE", "30")]);
    let options = json!({"url": "http://receiver.example", "timeout_seconds": 20, "concurrency": 0});
    let faults = webhook_settings(&source, "hooks", &options).err().unwrap();
    let said = faults.to_string();
    for part in [
        "has a concurrency",
        "has a url that is http on a host that is not loopback",
        "DESTINATION_HOOKS_SECRETS has a whsec_",
        "FORWARDER_LEASE is too short for the timeout_seconds of destination hooks",
        "Set it to 140",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    let nats = Source::of([
        ("DESTINATION_BUS_URL", "nats://user:hunter2@nats.example:4222"),
        ("DESTINATION_BUS_CREDENTIALS", "/nowhere/at/all"),
    ]);
    let said = nats_settings(&nats, "bus", &json!({"prefix": "a.>"})).err().unwrap().to_string();
    for part in ["has a prefix", "nats:// on a host that is not loopback", "cannot be read"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn no_secret_fits_into_the_options() {
    let faults = |kind: &str, options: Value| variables(check_destination_options("x", kind, &options)).len();
    for (kind, options) in [
        ("webhook", json!({"url": "https://user:secret@receiver.example/"})),
        ("webhook", json!({"url": "https://receiver.example/?key=secret"})),
        ("webhook", json!({"secrets": "whsec_x"})),
        ("webhook", json!({"url": "https://receiver.example/", "allow_private": true})),
        ("webhook", json!({"url": "ftp://receiver.example/"})),
        ("webhook", json!({"timeout_seconds": 31})),
        ("webhook", json!({"timeout_seconds": "4"})),
        ("postgrest", json!({"service_key": "secret"})),
        ("postgrest", json!({"url": "https://x.supabase.co"})),
        ("postgrest", json!({"table": "auth_events?select=*"})),
        ("postgrest", json!({"base_path": "/../admin"})),
        ("postgrest", json!({"schema": "a b"})),
        ("nats", json!({"prefix": "gateward.*"})),
        ("nats", json!({"url": "nats://localhost"})),
        ("postgres", json!({"url": "postgres://x"})),
    ] {
        assert_eq!(faults(kind, options.clone()), 1, "{kind} {options}");
    }
    for (kind, options) in [
        (
            "webhook",
            json!({"url": "https://receiver.example/hooks", "timeout_seconds": 30, "concurrency": 64}),
        ),
        ("webhook", json!({})),
        ("postgrest", json!({"table": "auth_events", "schema": "audit", "base_path": ""})),
        ("nats", json!({"prefix": "acme.gateward-1"})),
        ("postgres", json!({})),
    ] {
        assert_eq!(faults(kind, options.clone()), 0, "{kind} {options}");
    }
    // What is of a wrong type could be a secret in a wrong place.
    let wrong = json!({"timeout_seconds": "hunter2"});
    let said = check_destination_options("x", "webhook", &wrong).unwrap_err().to_string();
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_nats_server_is_reached_over_tls_or_on_loopback() {
    let reads =
        |url: &str| nats_settings(&Source::of([("DESTINATION_BUS_URL", url)]), "bus", &json!({})).is_ok();
    for url in [
        "nats://127.0.0.1:4222",
        "nats://localhost",
        "nats://[::1]:4333",
        "nats://user:p%40ss@127.0.0.1",
        "nats://token@127.0.0.1",
        "tls://nats.example",
        "tls://user:password@a.example:4222, tls://user:password@b.example:4222",
    ] {
        assert!(reads(url), "{url}");
    }
    for url in [
        "nats.example",
        "nats://nats.example",
        "ws://127.0.0.1",
        "tls://",
        "tls://nats.example/x",
        "tls://a.example,",
    ] {
        assert!(!reads(url), "{url}");
    }
}
