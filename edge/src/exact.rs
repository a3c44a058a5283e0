//! Exact limits: an isolate asks the objects that count for all of them, and this same module counts inside such an object. It may
//! not hold a rule: [`shared::gcra`] counts.
//!
//! A question is a line for each charge, `KEY REQUESTS WINDOW_SECONDS` with the key in hexadecimal; its answer a line for each in the
//! same order, `KEY ALLOWED ARRIVAL REMAINING RESET RETRY_AFTER`.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use js_sys::{Function, Object, Promise, Reflect};
use shared::{
    decide::{Charge, ChargeAnswer},
    gcra::{ArrivalTime, Outcome, Quota},
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, Request, RequestInit, Response};
use worker_sys::DurableObjectNamespace;

use crate::{clock, isolate};

/// The binding of the objects' namespace.
pub(crate) const BINDING: &str = "EXACT_LIMITS";
/// How many objects share the keys. Another number moves keys to other objects, which then count from nothing.
const SHARDS: u8 = 64;
/// How long an object may take, in milliseconds.
const ANSWER_MILLIS: u32 = 1_000;
/// The longest answer of an object that is read, in UTF-16 units.
const MAX_ANSWER: u32 = 16 * 1024;

/// Has the objects count; a charge whose object does not answer in time has no outcome.
pub(crate) async fn charge(env: &Object, charges: &[Charge]) -> Vec<ChargeAnswer> {
    let mut shards: BTreeMap<u8, String> = BTreeMap::new();
    for charge in charges {
        let question = shards.entry(shard_of(charge.key)).or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            question,
            "{} {} {}",
            hexadecimal(charge.key),
            charge.quota.requests,
            charge.quota.window_seconds
        );
    }
    // All are asked before any is waited for.
    let asked: Vec<_> = shards.iter().map(|(shard, question)| ask(env, *shard, question)).collect();
    let mut counted = Vec::new();
    for answer in asked {
        match text_of(answer).await {
            Ok(text) => counted.extend(text.lines().filter_map(parse_answer)),
            Err(fault) => worker_sys::console_error!(
                "exact limits: an object did not answer: {}",
                String::from(Object::from(fault).to_string())
            ),
        }
    }
    let outcome_of = |key| counted.iter().find(|(counted, _)| *counted == key).map(|(_, outcome)| *outcome);
    let answers: Vec<_> = charges
        .iter()
        .map(|charge| ChargeAnswer { key: charge.key, outcome: outcome_of(charge.key) })
        .collect();
    isolate::with_counters(|counters| {
        for answer in &answers {
            counters.limit("exact", outcome_name(answer.outcome.map(|outcome| outcome.allowed)));
        }
    });
    answers
}

/// How metrics call what a limiter said.
pub(crate) const fn outcome_name(allowed: Option<bool>) -> &'static str {
    match allowed {
        Some(true) => "allowed",
        Some(false) => "refused",
        None => "unreachable",
    }
}

fn ask(env: &Object, shard: u8, question: &str) -> Result<Promise, JsValue> {
    let namespace: DurableObjectNamespace = Reflect::get(env, &BINDING.into())?.unchecked_into();
    let object = namespace.get(&namespace.id_from_name(&format!("{shard}"))?)?;
    let init = RequestInit::new();
    init.set_method("POST");
    init.set_body(&question.into());
    init.set_signal(Some(&AbortSignal::timeout_with_u32(ANSWER_MILLIS)));
    object.fetch_with_request(&Request::new_with_str_and_init("http://exact-limits/", &init)?)
}

async fn text_of(answer: Result<Promise, JsValue>) -> Result<String, JsValue> {
    let response: Response = JsFuture::from(answer?).await?.dyn_into()?;
    let text: js_sys::JsString = JsFuture::from(response.text()?).await?.dyn_into()?;
    if response.ok() && text.length() <= MAX_ANSWER {
        Ok(text.into())
    } else {
        Err(format!("it answered {}", response.status()).into())
    }
}

const fn shard_of(key: [u8; 16]) -> u8 {
    let [first, ..] = key;
    first % SHARDS
}

/// Counts, inside an object, a question's charges. `load` gives a key's arrival time, or nothing; `store` keeps it.
#[wasm_bindgen]
pub fn count_exactly(question: &str, load: &Function, store: &Function) -> Result<String, JsValue> {
    let now = clock::now();
    let mut answers = String::new();
    for line in question.lines() {
        let (key, quota) = parse_charge(line).ok_or("a charge that cannot be read")?;
        let name: JsValue = hexadecimal(key).into();
        let state = load.call1(&JsValue::NULL, &name)?.as_f64().map(arrival_of);
        let outcome = quota.check(state, now);
        // What is refused changes nothing, so nothing need be written.
        if outcome.allowed {
            store.call2(&JsValue::NULL, &name, &number_of(outcome.state).into())?;
        }
        answers.push_str(&write_answer(key, outcome));
        answers.push('\n');
    }
    Ok(answers)
}

/// Up to which arrival time a key has its whole quota again, so that an object may forget it.
#[wasm_bindgen]
pub fn arrivals_over_until() -> f64 {
    number_of(ArrivalTime::over_until(clock::now()))
}

/// As the platform's storage keeps it. Microseconds since 1970 fit 53 bits for 285 years.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn arrival_of(number: f64) -> ArrivalTime {
    ArrivalTime::from_micros(number as u64)
}

#[allow(clippy::cast_precision_loss)]
const fn number_of(arrival: ArrivalTime) -> f64 {
    arrival.micros() as f64
}

fn parse_charge(line: &str) -> Option<([u8; 16], Quota)> {
    let mut words = line.split(' ');
    let key = key_of(words.next()?)?;
    let quota = Quota { requests: words.next()?.parse().ok()?, window_seconds: words.next()?.parse().ok()? };
    words.next().is_none().then_some((key, quota))
}

fn parse_answer(line: &str) -> Option<([u8; 16], Outcome)> {
    let mut words = line.split(' ');
    let key = key_of(words.next()?)?;
    let outcome = Outcome {
        allowed: words.next()? == "1",
        state: ArrivalTime::from_micros(words.next()?.parse().ok()?),
        remaining: words.next()?.parse().ok()?,
        reset_seconds: words.next()?.parse().ok()?,
        retry_after_seconds: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some((key, outcome))
}

fn write_answer(key: [u8; 16], outcome: Outcome) -> String {
    let Outcome { allowed, state, remaining, reset_seconds, retry_after_seconds } = outcome;
    let (key, allowed, state) = (hexadecimal(key), u8::from(allowed), state.micros());
    format!("{key} {allowed} {state} {remaining} {reset_seconds} {retry_after_seconds}")
}

fn hexadecimal(key: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(key))
}

fn key_of(text: &str) -> Option<[u8; 16]> {
    let is_key = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}

#[cfg(test)]
mod tests {
    use shared::time::UnixMillis;

    use super::*;

    #[test]
    fn answers_come_back_as_they_were_written() {
        let quota = Quota { requests: 3, window_seconds: 60 };
        let first = quota.check(None, UnixMillis(1_763_000_000_123));
        for outcome in [first, Outcome { allowed: false, retry_after_seconds: 7, ..first }] {
            assert_eq!(parse_answer(&write_answer([0xab; 16], outcome)), Some(([0xab; 16], outcome)));
        }
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        assert_eq!(
            parse_charge("000102030405060708090a0b0c0d0e0f 5 60"),
            Some((
                [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
                Quota { requests: 5, window_seconds: 60 }
            ))
        );
        for line in [
            "",
            "ab 5 60",
            "000102030405060708090a0b0c0d0e0f 5",
            "000102030405060708090a0b0c0d0e0f 5 60 1",
            "+00102030405060708090a0b0c0d0e0f 5 60",
        ] {
            assert_eq!(parse_charge(line), None, "{line}");
        }
        for line in
            ["", "x", "000102030405060708090a0b0c0d0e0f 1", "000102030405060708090a0b0c0d0e0f 1 2 3 4 5 6"]
        {
            assert_eq!(parse_answer(line), None, "{line}");
        }
    }

    #[test]
    fn keys_are_spread_by_their_first_byte() {
        assert_eq!(shard_of([64; 16]), 0);
        assert_eq!(shard_of([255; 16]), 63);
    }
}
