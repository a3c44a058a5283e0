//! A million revocations: how large they are, how fast one is looked up, and that nobody is refused who is not among them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use shared::{
    decide::{Answer, Facts, LookedUp, Memory, Verdict, decide, sample},
    policy::{FilterName, Judgement, Revocable, RevocationFilter, entry_hash},
    revocation_statement::RevocationStatement,
};

const REVOKED: u32 = 1_000_000;
const VALID: u32 = 100_000;
/// How many the origin keeps one by one before it builds the next filter.
const EXACT: u32 = 10_000;

/// A UUID of `number`, as identifiers are.
fn id(kind: char, number: u32) -> String {
    format!("0190b6d0-{kind}000-7000-8000-{number:012x}")
}

fn sample_of_a_million() -> (sample::Sample, usize) {
    let hashes = (0..REVOKED).map(|number| entry_hash("jti", &id('a', number))).collect();
    let filter = RevocationFilter::build(hashes, [], 0).unwrap();
    let mut policy = sample::policy();
    policy.revocations.filter = Some(FilterName::from(&filter));
    for number in 0..EXACT {
        policy.revocations.tokens.insert(id('e', number), sample::NOW.seconds() + 300);
    }
    let size = serde_json::to_vec(&policy).unwrap().len() + 1 + filter.bytes().len();
    (sample::Sample::with_filter(policy, Some(Arc::new(filter))).unwrap(), size)
}

#[test]
fn a_million_fit_in_two_megabytes_and_one_is_found_in_less_than_a_microsecond() {
    let (sample, size) = sample_of_a_million();
    let active = sample.gate().active;
    let filter = active.filter().unwrap();
    println!(
        "{REVOKED} revocations and {EXACT} since: {size} bytes of policy, {} of them the filter",
        filter.bytes().len()
    );
    assert!(size <= 2_000_000, "{size} bytes");
    assert!((0..REVOKED).all(|number| filter.hits(entry_hash("jti", &id('a', number)))));

    let ids: Vec<(String, String)> = (0..100_000).map(|number| (id('b', number), id('c', number))).collect();
    // In short rounds, none over the same, of which the machine's other work disturbs some.
    let mut rounds = Vec::new();
    let mut hits = 0;
    for round in ids.chunks(1_000) {
        #[expect(clippy::disallowed_methods, reason = "this measures")]
        let began = Instant::now();
        for (token, grant) in round {
            let what = Revocable { token, grant: Some(grant), subject: None, client: None, issued_at: 0 };
            hits += usize::from(black_box(active.revocation_of(&what)) != Judgement::Clear);
        }
        rounds.push(began.elapsed() / 1_000);
    }
    rounds.sort();
    let (quarter, median) = (rounds[rounds.len() / 4], rounds[rounds.len() / 2]);
    println!(
        "a look-up of a token and its grant takes {median:?} (a quarter, {quarter:?}); {hits} of {} hit falsely",
        ids.len()
    );
    // Twice one in 256, as both are looked up.
    assert!(hits < ids.len() / 100);
    if !cfg!(debug_assertions) {
        assert!(quarter < Duration::from_micros(1), "{quarter:?}");
    }
}

#[test]
fn of_a_hundred_thousand_valid_tokens_none_is_refused_and_few_are_asked_about() {
    let (sample, _) = sample_of_a_million();
    let gate = sample.gate();
    let (key, origin_key) = (sample::signing_key(), sample::origin_key());
    let now = sample::NOW.seconds();
    let token = |jti: String, sid: String| {
        let claims = json!({
            "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now,
            "exp": now + 300, "jti": jti, "scope": "notes:read", "sid": sid,
        });
        format!("Bearer {}", key.sign("at+jwt", &claims).unwrap())
    };
    let mut memory = Memory::default();
    let mut asked = 0;
    let mut judge = |authorization: &str, is_revoked: bool, asked: &mut u32| {
        let facts = Facts {
            method: "GET",
            target: "/notes/api/x",
            address: "192.0.2.1",
            authorization: Some(authorization),
            ..Facts::default()
        };
        let verdict = decide(&gate, &facts, &mut memory, sample::NOW);
        let Verdict::NeedsConfirmation(question) = verdict else { return verdict.summary() };
        *asked += 1;
        let statement = RevocationStatement {
            iss: sample::ISSUER.into(),
            made_at: sample::NOW,
            filter: question.filter,
            revoked: if is_revoked { question.entries.clone() } else { Vec::new() },
            entries: question.entries,
        };
        let statement = statement.sign(&origin_key).unwrap();
        let confirmation = Some(Answer::Statement(&statement));
        let facts = Facts { looked_up: LookedUp { confirmation, ..LookedUp::default() }, ..facts };
        decide(&gate, &facts, &mut memory, sample::NOW).summary()
    };
    for number in 0..VALID {
        let verdict = judge(&token(id('b', number), id('c', number)), false, &mut asked);
        assert_eq!(verdict, "upstream http://notes.internal/x", "token {number}");
    }
    println!("{asked} of {VALID} valid tokens needed a confirmation");
    assert!(asked < VALID / 100);
    for number in (0..REVOKED).step_by(1_000) {
        let verdict = judge(&token(id('a', number), id('c', 0)), true, &mut asked);
        assert_eq!(verdict, "refuse 401 token-revoked", "token {number}");
    }
}
