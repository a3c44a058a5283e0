//! What looks like a credential itself, where only its hash may come. It errs on the side of refusing, and gives back the place alone.

use serde_json::{Map, Value};

/// How closely a record is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scrutiny {
    /// Also for long runs of random characters: a key's record has no business with any but its hash.
    Key,
    /// For what is unmistakable: what people say of themselves has links to pictures and the like.
    Account,
}

/// How credentials begin, and how many letters, digits, dashes or underscores must follow at least.
const BEGINNINGS: [(&str, usize); 24] = [
    // Ours, and what most services give their secret, public and restricted keys.
    ("gw_", 1),
    ("sk_", 1),
    ("pk_", 1),
    ("rk_", 1),
    // Webhook secrets (Standard Webhooks).
    ("whsec_", 1),
    ("whsk_", 1),
    ("whpk_", 1),
    // A JWT: `{"` in base64.
    ("eyJ", 1),
    // Well-known services.
    ("sk-", 16),
    ("sbp_", 8),
    ("sb_secret_", 1),
    ("sb_publishable_", 1),
    ("ghp_", 8),
    ("gho_", 8),
    ("ghs_", 8),
    ("ghu_", 8),
    ("github_pat_", 8),
    ("glpat-", 8),
    ("xoxb-", 8),
    ("xoxp-", 8),
    ("xapp-", 8),
    ("AKIA", 12),
    ("AIza", 20),
    ("lano_", 8),
];
/// How a private key in PEM begins (RFC 7468).
const PEM: &str = "-----BEGIN ";
/// Members that can hold nothing but a credential, where they hold a text.
const SECRET_NAMES: [&str; 18] = [
    "key",
    "apikey",
    "api_key",
    "raw_key",
    "rawkey",
    "plain_key",
    "plaintext",
    "plaintext_key",
    "full_key",
    "secret",
    "secret_key",
    "private_key",
    "password",
    "encrypted_password",
    "passphrase",
    "token",
    "authorization",
    "bearer",
];
/// How the names of others end.
const SECRET_ENDINGS: [&str; 3] = ["_secret", "_token", "_password"];
/// From how many characters on a run can be a key.
const LONG_RUN: usize = 32;
/// The longest name of a member that is repeated.
const LONGEST_NAME: usize = 64;
/// Stands for a name that is not repeated.
const UNNAMED: &str = "(a member)";

/// The first member of a record that looks like a credential, by its path. `hashes` are top-level members that hold hashes, which
/// their own rules judge: only how they begin is looked at.
pub(super) fn find(record: &Map<String, Value>, hashes: &[&str], scrutiny: Scrutiny) -> Option<String> {
    record.iter().find_map(|(name, value)| {
        if hashes.contains(&name.as_str()) {
            let begins = value.as_str().is_some_and(begins_like_credential);
            return begins.then(|| name.clone());
        }
        in_member(name, value, "", scrutiny)
    })
}

fn in_member(name: &str, value: &Value, above: &str, scrutiny: Scrutiny) -> Option<String> {
    let path = || {
        let shown = if may_be_shown(name) { name } else { UNNAMED };
        if above.is_empty() { shown.to_owned() } else { format!("{above}.{shown}") }
    };
    if looks_like_credential(name, scrutiny) {
        return Some(path());
    }
    match value {
        Value::String(text) => {
            let found = (!text.is_empty() && is_secret_name(name)) || looks_like_credential(text, scrutiny);
            found.then(path)
        }
        Value::Array(values) => {
            let path = path();
            values.iter().find_map(|value| in_member(name, value, above, scrutiny)).map(|_| path)
        }
        Value::Object(members) => {
            let path = path();
            members.iter().find_map(|(name, value)| in_member(name, value, &path, scrutiny))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Whether a member's name can be repeated in an answer: a plain word, and no key itself.
pub(super) fn may_be_shown(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        && !looks_like_credential(name, Scrutiny::Key)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.contains(&name.as_str()) || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a text holds something like a credential anywhere.
pub(super) fn looks_like_credential(text: &str, scrutiny: Scrutiny) -> bool {
    if text.contains(PEM) {
        return true;
    }
    let mut before = None;
    for (at, character) in text.char_indices() {
        let is_start = before.is_none_or(|before: char| !before.is_alphanumeric());
        if is_start && text.get(at..).is_some_and(begins_like_credential) {
            return true;
        }
        before = Some(character);
    }
    scrutiny == Scrutiny::Key
        && text.split(|character| !is_of_key(character)).any(|run| !is_uuid(run) && is_random(run))
}

fn begins_like_credential(text: &str) -> bool {
    BEGINNINGS.iter().any(|(beginning, least)| {
        text.strip_prefix(beginning)
            .is_some_and(|rest| rest.chars().take_while(|character| is_of_key(*character)).count() >= *least)
    })
}

fn is_of_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

fn is_uuid(run: &str) -> bool {
    run.len() == 36 && uuid::Uuid::try_parse(run).is_ok()
}

/// Whether a run is long, and goes from upper to lower case or to digits as often as no name does.
fn is_random(run: &str) -> bool {
    let class = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        _ => 3,
    };
    let changes = run
        .as_bytes()
        .windows(2)
        .filter(|pair| matches!(pair, [one, other] if class(*one) != class(*other) && class(*one) != 3 && class(*other) != 3))
        .count();
    run.len() >= LONG_RUN && changes.saturating_mul(4) >= run.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use shared::{
        api_key::{self, Environment},
        base64url,
    };

    use super::*;

    fn found(record: &Value, scrutiny: Scrutiny) -> Option<String> {
        find(record.as_object().unwrap(), &["key_hash"], scrutiny)
    }

    #[test]
    fn what_begins_like_a_key_is_found_wherever_it_stands() {
        let own = api_key::issue(Environment::Live, [7; 16], [9; 32]);
        for text in [
            own.as_str(),
            "gw_x",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "the key is pk_test_123, keep it",
            "key=sk_abc",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
            "Bearer eyJhbGciOi",
            "sk-proj-0123456789abcdef",
            "ghp_0123456789abcdef",
            "-----BEGIN PRIVATE KEY-----",
            "my_sk_live_1",
            "\u{e4}-gw_live",
        ] {
            for scrutiny in [Scrutiny::Key, Scrutiny::Account] {
                assert_eq!(found(&json!({"name": text}), scrutiny).as_deref(), Some("name"), "{text}");
                let deep = json!({"other": {"list": [1, {"inner": ["a", text]}]}});
                assert!(found(&deep, scrutiny).unwrap().starts_with("other.list"), "{text}");
            }
            assert_eq!(
                found(&json!({"key_hash": text}), Scrutiny::Key).is_some(),
                begins_like_credential(text)
            );
        }
    }

    #[test]
    fn names_and_words_pass() {
        for text in [
            "",
            "ci",
            "Production key of the task_force desk_pk",
            "risk_level",
            "scikit sk-learn pipeline",
            "memories:read",
            "legacy:full_access",
            "*",
            "2026-11-21T10:00:00.123456+00:00",
            "0199a1b2-0000-7000-8000-000000000001",
            "my-very-long-service-name-in-production-2026-v2",
            "My-Very-Long-Service-Name-In-Production-2026",
            "ann.lee+keys@example.test",
            "gw_",
            "keyJoin",
            "\u{1f511} keys",
        ] {
            for scrutiny in [Scrutiny::Key, Scrutiny::Account] {
                assert!(!looks_like_credential(text, scrutiny), "{text}");
            }
        }
        let record = json!({"id": "0199a1b2-0000-7000-8000-000000000001", "is_active": true, "n": 12, "confirmation_token": ""});
        assert_eq!(found(&record, Scrutiny::Account), None);
        // Links to pictures are random, and are not keys.
        let link =
            json!({"avatar_url": "https://lh3.example.com/a/ACg8ocJx7Yz2QwErTy9UiOpAs4DfGh1JkL0zXcVbNm"});
        assert_eq!(found(&link, Scrutiny::Account), None);
    }

    #[test]
    fn members_that_hold_secrets_are_known_by_name() {
        for name in
            ["key", "api_key", "Secret", "RAW_KEY", "recovery_token", "client_secret", "encrypted_password"]
        {
            assert_eq!(found(&json!({name: "x"}), Scrutiny::Account).as_deref(), Some(name));
            assert_eq!(found(&json!({name: null}), Scrutiny::Key), None);
        }
    }

    #[test]
    fn a_key_that_is_a_members_name_is_not_repeated() {
        let own = api_key::issue(Environment::Live, [7; 16], [9; 32]);
        let record = json!({"metadata": {own.as_str(): 1}});
        assert_eq!(found(&record, Scrutiny::Account).as_deref(), Some("metadata.(a member)"));
        let record = json!({own.as_str(): "gw_live_x"});
        assert_eq!(found(&record, Scrutiny::Key).as_deref(), Some("(a member)"));
        for name in ["", "a b", "a\nb", "\u{e4}", &"a".repeat(65), own.as_str()] {
            assert!(!may_be_shown(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn fresh_random_keys_are_found_in_a_keys_record(bytes in any::<[u8; 32]>(), shape in 0..2) {
            // Of 256 random bits so few changes of class are as good as impossible.
            let text = if shape == 0 {
                base64url::encode(&bytes)
            } else {
                bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from_digit(u32::from(digit), 16).unwrap()).collect()
            };
            prop_assume!(bytes.iter().collect::<std::collections::BTreeSet<_>>().len() > 20);
            prop_assert!(looks_like_credential(&text, Scrutiny::Key), "{text}");
        }

        #[test]
        fn what_is_found_never_names_the_value(value in "(gw|sk|pk)_[a-zA-Z0-9]{8,40}", name in "[a-zA-Z0-9_ ]{1,80}") {
            let record = json!({name.as_str(): {"inner": value.as_str(), value.as_str(): [value.as_str()]}});
            let path = found(&record, Scrutiny::Account).unwrap();
            prop_assert!(!path.contains(&value), "{path}");
        }
    }
}
