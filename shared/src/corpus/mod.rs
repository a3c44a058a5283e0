//! The corpus: requests with the verdict that each must get, the same natively and in wasm. It may not decide anything of
//! its own: it mints what a case describes, asks [`decide`], and compares.
//!
//! A case is a JSON object: `name`, `expect` (a [`Verdict::summary`]) and the facts: `method`, `target`, `address`, the headers by
//! their names, `bearer`, `code`, `dpop` and `statement` to be minted, `certificate` (any bytes), `refreshed`, `platform` (its word
//! on every signature), `policy_age_seconds`; and what an upstream verdict must have: `set`, `delete`, `answer`, `bounds`. In
//! `form`, `{code}` stands for the minted code; in `authorization` and `api_key`, `{live}` for a good API key.

mod mint;

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use serde::Deserialize;

use crate::decide::{
    Answer, Certificate, Facts, Gate, LookedUp, Memory, PlatformAnswer, QuestionId, Verdict, decide, sample,
};
pub use mint::live_key;
use mint::{Code, Mint, Proof, Statement};

/// The corpus that ships with the crate.
pub const CORPUS: &str = include_str!("../../corpus.json");

/// What running the corpus found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `name: verdict` of every case, in order: to be compared between targets.
    pub verdicts: Vec<String>,
    /// `name: expected …, got …` of every case that went wrong.
    pub failures: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    expect: String,
    #[serde(default = "get")]
    method: String,
    target: String,
    #[serde(default)]
    authorization: Option<String>,
    #[serde(default)]
    bearer: Option<Mint>,
    #[serde(default)]
    code: Option<Code>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    cookie: Option<String>,
    #[serde(default)]
    fetch_site: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    content_length: Option<String>,
    #[serde(default)]
    transfer_encoding: Option<String>,
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    origin: Option<String>,
    #[serde(default)]
    cors_method: Option<String>,
    #[serde(default)]
    cors_headers: Option<String>,
    #[serde(default)]
    traceparent: Option<String>,
    #[serde(default)]
    upgrade: Option<String>,
    #[serde(default)]
    dpop: Option<Proof>,
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    statement: Option<Statement>,
    #[serde(default = "address")]
    address: String,
    #[serde(default)]
    platform: Option<bool>,
    #[serde(default)]
    policy_age_seconds: u64,
    #[serde(default)]
    form: Option<String>,
    #[serde(default)]
    refreshed: bool,
    /// Headers that an upstream verdict must set.
    #[serde(default)]
    set: Vec<(String, String)>,
    /// Header names that an upstream verdict must delete, all of them.
    #[serde(default)]
    delete: Option<Vec<String>>,
    /// Headers that the answer must get, set or added to.
    #[serde(default)]
    answer: Vec<(String, String)>,
    /// `timeout_millis` and `max_body_bytes` of an upstream verdict.
    #[serde(default)]
    bounds: Option<(Option<u32>, Option<u64>)>,
}

fn get() -> String {
    "GET".into()
}

fn address() -> String {
    "192.0.2.1".into()
}

/// Runs a corpus; `Err` says why it cannot be read.
pub fn run(corpus: &str) -> Result<Report, String> {
    let cases: Vec<Case> = serde_json::from_str(corpus).map_err(|fault| fault.to_string())?;
    let sample = sample::Sample::new(sample::policy()).map_err(|fault| format!("{fault:?}"))?;
    let mut report = Report::default();
    for case in &cases {
        let verdict = judge(&sample, case)?;
        let summary = verdict.summary();
        if summary != case.expect {
            report.failures.push(format!("{}: expected {:?}, got {summary:?}", case.name, case.expect));
        }
        report.failures.extend(header_faults(case, &verdict));
        report.verdicts.push(format!("{}: {summary}", case.name));
    }
    Ok(report)
}

/// How many questions a case may ask: two signatures, a credential, and the last decision.
const ROUNDS: usize = 4;

fn judge(sample: &sample::Sample, case: &Case) -> Result<Verdict, String> {
    let unmintable = || format!("{}: something in it cannot be minted", case.name);
    let token = case.bearer.as_ref().map(|mint| mint.token().ok_or_else(unmintable)).transpose()?;
    let bearer =
        case.bearer.as_ref().zip(token.as_ref()).map(|(mint, token)| format!("{} {token}", mint.scheme));
    let dpop = case
        .dpop
        .as_ref()
        .map(|proof| proof.mint(token.as_deref().unwrap_or_default()).ok_or_else(unmintable))
        .transpose()?;
    let code =
        case.code.as_ref().map(|code| code.mint().ok_or_else(unmintable)).transpose()?.unwrap_or_default();
    let with_key = |text: &String| text.replace("{live}", &live_key(1));
    let (authorization, api_key) =
        (case.authorization.as_ref().map(with_key), case.api_key.as_ref().map(with_key));
    let form = case.form.as_ref().map(|form| form.replace("{code}", &code));
    let header_names = case.headers.join("\n");
    let content_type =
        case.content_type.as_deref().or_else(|| form.as_ref().map(|_| "application/x-www-form-urlencoded"));
    let facts = Facts {
        method: &case.method,
        target: &case.target,
        address: &case.address,
        certificate: case.certificate.as_deref().map(|text| Certificate::Der(text.as_bytes())),
        api_key: api_key.as_deref(),
        authorization: authorization.as_deref().or(bearer.as_deref()),
        content_length: case.content_length.as_deref(),
        content_type,
        cookie: case.cookie.as_deref(),
        cors_headers: case.cors_headers.as_deref(),
        cors_method: case.cors_method.as_deref(),
        dpop: dpop.as_deref(),
        fetch_site: case.fetch_site.as_deref(),
        origin: case.origin.as_deref(),
        traceparent: case.traceparent.as_deref(),
        transfer_encoding: case.transfer_encoding.as_deref(),
        upgrade: case.upgrade.as_deref(),
        header_names: &header_names,
        request_id: "r1",
        looked_up: LookedUp {
            form: form.as_deref().map(str::as_bytes),
            refreshed: case.refreshed,
            ..LookedUp::default()
        },
        ..Facts::default()
    };
    let now = sample::NOW.plus_millis(case.policy_age_seconds.saturating_mul(1000));
    let gate = Gate { policy_made_at: sample::NOW, ..sample.gate() };
    let mut memory = Memory::default();
    let mut signatures: Vec<(QuestionId, PlatformAnswer)> = Vec::new();
    let mut statement = String::new();
    for _ in 0..ROUNDS {
        let credential = (!statement.is_empty()).then_some(Answer::Statement(&statement));
        let looked_up = LookedUp { signatures: &signatures, credential, ..facts.looked_up };
        let verdict = decide(&gate, &Facts { looked_up, ..facts }, &mut memory, now);
        match (verdict, case.platform, &case.statement) {
            (Verdict::NeedsSignature(question), Some(valid), _) => {
                let answer = if valid { PlatformAnswer::Valid } else { PlatformAnswer::Invalid };
                signatures.push((question.id(), answer));
            }
            (Verdict::NeedsCredential(question), _, Some(mint)) if statement.is_empty() => {
                statement = mint.mint(&question.sha256).ok_or_else(unmintable)?;
            }
            (verdict, ..) => return Ok(verdict),
        }
    }
    Err(format!("{}: it asks without end", case.name))
}

fn header_faults(case: &Case, verdict: &Verdict) -> Vec<String> {
    let Verdict::Upstream(upstream) = verdict else { return Vec::new() };
    let mut faults: Vec<String> = case
        .set
        .iter()
        .filter(|(name, value)| !upstream.set.iter().any(|(set, to)| set == name && to == value))
        .map(|(name, value)| format!("{}: {name} is not set to {value:?}", case.name))
        .collect();
    let answered = |name: &str, value: &str| {
        let edits = upstream.answer.set.iter().chain(&upstream.answer.append);
        edits.into_iter().any(|(edited, to)| *edited == name && to == value)
    };
    let unanswered = case.answer.iter().filter(|(name, value)| !answered(name, value));
    faults.extend(
        unanswered.map(|(name, value)| format!("{}: the answer's {name} is not {value:?}", case.name)),
    );
    let bounds = (upstream.timeout_millis, upstream.max_body_bytes);
    if case.bounds.is_some_and(|expected| expected != bounds) {
        faults.push(format!("{}: the bounds are {bounds:?}", case.name));
    }
    if case.delete.as_ref().is_some_and(|delete| *delete != upstream.delete) {
        faults.push(format!("{}: deletes {:?}", case.name, upstream.delete));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_gets_its_verdict() {
        let report = run(CORPUS).unwrap();
        assert!(report.verdicts.len() >= 370, "{} cases", report.verdicts.len());
        assert!(report.failures.is_empty(), "{:#?}", report.failures);
    }
}
