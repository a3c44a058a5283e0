//! The story, step by step, each with its measured time and a check that it went as it must.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Serialize;
use serde_json::Value;

use super::browser::{Browser, Page};
use super::sign_in;
use crate::clock::{self, Stopwatch, human};
use crate::entropy;
use crate::exec;
use crate::project::Project;
use crate::up::Record;

/// A revocation must be felt within this time.
const REVOCATION_LIMIT: Duration = Duration::from_secs(6);
/// How often a revoked token is tried.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// One step that went as it must.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    milliseconds: f64,
    pub(crate) remark: String,
}

impl Step {
    fn new(name: &'static str, took: Duration, remark: impl Into<String>) -> Self {
        let step = Self { name, milliseconds: took.as_secs_f64() * 1_000.0, remark: remark.into() };
        eprintln!("  ✓ {} ({})", step.name, step.shown_time());
        step
    }

    /// The time for people.
    pub(crate) fn shown_time(&self) -> String {
        if self.milliseconds < 10.0 {
            return format!("{:.1} ms", self.milliseconds);
        }
        human(Duration::from_secs_f64(self.milliseconds / 1_000.0))
    }
}

struct Tokens {
    access: String,
    refresh: String,
}

/// Plays all of it.
pub(crate) fn play(project: &Project, record: &Record) -> Result<Vec<Step>> {
    let browser = Browser::new();
    let mut steps = Vec::new();

    let started = Stopwatch::start();
    let tokens = sign_in_and_redeem(&browser, record).context("signing in")?;
    steps.push(Step::new("sign-in", started.elapsed(), "mail, consent, code, token"));

    let resource = format!("{}/notes/api/hello", record.edge_url);
    let took = call(&browser, &resource, &tokens).context("the first call")?;
    steps.push(Step::new("first verified call", took, "200; the upstream knows who called"));

    let (took, count) = wrong_verifier(&browser, record).context("the wrong verifier")?;
    let remark = format!("invalid_grant; the origin answered {count} requests before and after");
    steps.push(Step::new("refused wrong verifier", took, remark));

    let started = Stopwatch::start();
    revoke(&browser, record, &tokens).context("revoking")?;
    let took = until_refused(&browser, &resource, &tokens, started).context("after the revocation")?;
    steps.push(Step::new(
        "revocation to refusal",
        took,
        format!("401; the limit is {}", human(REVOCATION_LIMIT)),
    ));

    let events = until_on_the_read_side(project, record, &tokens).context("the read side")?;
    steps.push(Step::new(
        "event on the read side",
        started.elapsed(),
        format!("since the revocation; {events}"),
    ));
    Ok(steps)
}

fn sign_in_and_redeem(browser: &Browser, record: &Record) -> Result<Tokens> {
    let authorization = sign_in::authorize(browser, record, "visitor@example.test")?;
    let page = redeem(browser, record, &authorization.code, &authorization.verifier)?;
    if page.status != 200 {
        bail!("the token endpoint answered {}", page.short());
    }
    let answer = page.json()?;
    let member = |name: &str| {
        let found = answer.get(name).and_then(Value::as_str).map(str::to_owned);
        found.with_context(|| format!("the token endpoint gave no {name}"))
    };
    Ok(Tokens { access: member("access_token")?, refresh: member("refresh_token")? })
}

fn redeem(browser: &Browser, record: &Record, code: &str, verifier: &str) -> Result<Page> {
    browser.post_form(
        &format!("{}/oauth/token", record.edge_url),
        &[
            ("grant_type", "authorization_code"),
            ("client_id", &record.demo_client.client_id),
            ("redirect_uri", &record.demo_client.redirect_uri),
            ("code", code),
            ("code_verifier", verifier),
        ],
    )
}

fn call(browser: &Browser, resource: &str, tokens: &Tokens) -> Result<Duration> {
    let started = Stopwatch::start();
    let page = browser.call(resource, Some(&tokens.access))?;
    let took = started.elapsed();
    if page.status != 200 {
        bail!("{resource} answered {}", page.short());
    }
    let seen = page.json()?;
    let subject = claim(&tokens.access, "sub")?;
    let told = seen.pointer("/headers/x-gateway-subject").and_then(Value::as_str);
    if told != Some(subject.as_str()) {
        bail!("the upstream was told that {told:?} called, but the token is {subject}'s");
    }
    if seen.pointer("/headers/authorization").is_some() {
        bail!("the upstream was given the token");
    }
    Ok(took)
}

/// A fresh code with another verifier; the origin must not notice.
fn wrong_verifier(browser: &Browser, record: &Record) -> Result<(Duration, u64)> {
    let authorization = sign_in::authorize(browser, record, "visitor@example.test")?;
    let before = origin_requests(browser, record)?;
    let started = Stopwatch::start();
    let page = redeem(browser, record, &authorization.code, &entropy::base64url32()?)?;
    let took = started.elapsed();
    let error = page.json()?.get("error").and_then(Value::as_str).map(str::to_owned);
    if (page.status, error.as_deref()) != (400, Some("invalid_grant")) {
        bail!("the token endpoint answered {}", page.short());
    }
    let after = origin_requests(browser, record)?;
    if before != after {
        bail!(
            "the origin answered {before} requests before and {after} after: the refusal did not end at the edge"
        );
    }
    Ok((took, after))
}

/// What the origin has answered, without the edge's own fetches of the policy.
fn origin_requests(browser: &Browser, record: &Record) -> Result<u64> {
    let page = browser.call(&format!("{}/metrics", record.origin_url), None)?;
    if page.status != 200 {
        bail!("the origin's metrics answered {}", page.short());
    }
    count_requests(&page.body)
}

fn count_requests(metrics: &str) -> Result<u64> {
    let lines = metrics.lines().filter(|line| line.starts_with("gateward_origin_requests_total{"));
    let mut found = false;
    let mut sum = 0;
    for line in lines {
        found = true;
        if line.contains("endpoint=\"policy\"") {
            continue;
        }
        let value = line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
        sum += value.with_context(|| format!("not a count: {line}"))?;
    }
    if !found {
        bail!("the origin's metrics have no gateward_origin_requests_total");
    }
    Ok(sum)
}

fn revoke(browser: &Browser, record: &Record, tokens: &Tokens) -> Result<()> {
    let pairs = [("token", tokens.refresh.as_str()), ("client_id", record.demo_client.client_id.as_str())];
    let page = browser.post_form(&format!("{}/oauth/revoke", record.edge_url), &pairs)?;
    if page.status != 200 {
        bail!("the revocation endpoint answered {}", page.short());
    }
    Ok(())
}

/// Calls on until the token is refused. The access token was not what was revoked, but it belongs to the same grant.
fn until_refused(browser: &Browser, resource: &str, tokens: &Tokens, since: Stopwatch) -> Result<Duration> {
    let mut fault = None;
    let refused =
        clock::poll(REVOCATION_LIMIT, RETRY_EVERY, || match browser.call(resource, Some(&tokens.access)) {
            Ok(page) if page.status == 401 => Some(since.elapsed()),
            Ok(page) if page.status == 200 => None,
            Ok(page) => {
                fault = Some(anyhow::anyhow!("{resource} answered {}", page.short()));
                Some(since.elapsed())
            }
            Err(error) => {
                fault = Some(error);
                Some(since.elapsed())
            }
        });
    if let Some(fault) = fault {
        return Err(fault);
    }
    match refused {
        Some(took) if took <= REVOCATION_LIMIT => Ok(took),
        _ => bail!("the revoked token was still good after {}", human(REVOCATION_LIMIT)),
    }
}

/// Waits for the grant's end on the read side, and returns what stands there of it.
fn until_on_the_read_side(project: &Project, record: &Record, tokens: &Tokens) -> Result<String> {
    let mut command = Command::new("node");
    command.arg(project.path("demo/read-side.mjs")).arg(claim(&tokens.access, "sid")?).arg("GrantRevoked");
    command.env("READ_DATABASE_URL", &record.read_database_url);
    let log = std::path::Path::new(&record.data).join("logs/read-side.log");
    let events: Vec<Value> =
        serde_json::from_str(&exec::read(&mut command, &log)?).context("read-side.mjs")?;
    let versions: Vec<Option<i64>> =
        events.iter().map(|event| event.get("version").and_then(Value::as_i64)).collect();
    if !versions.iter().zip(1_i64..).all(|(version, expected)| *version == Some(expected)) {
        bail!("the grant's events have the versions {versions:?}, which have gaps");
    }
    let names: Vec<&str> = events.iter().filter_map(|event| event.get("event_type")?.as_str()).collect();
    Ok(names.join(", "))
}

/// A claim of a token that the gateway has just given us; not verified, only read.
fn claim(token: &str, name: &str) -> Result<String> {
    let payload = token.split('.').nth(1).context("the access token is no JWT")?;
    let bytes = Base64UrlUnpadded::decode_vec(payload)
        .map_err(anyhow::Error::msg)
        .context("the access token is no JWT")?;
    let claims: Value = serde_json::from_slice(&bytes).context("the access token is no JWT")?;
    let found = claims.get(name).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("the access token has no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_fetches_are_not_counted() {
        let metrics = "# TYPE gateward_origin_requests counter\n\
            gateward_origin_requests_total{endpoint=\"token\"} 3\n\
            gateward_origin_requests_total{endpoint=\"policy\"} 40\n\
            gateward_origin_requests_total{endpoint=\"authorize\"} 2\n";
        assert_eq!(count_requests(metrics).unwrap(), 5);
        assert!(count_requests("up 1\n").is_err());
    }

    #[test]
    fn claims_are_read_from_the_payload() {
        let payload = Base64UrlUnpadded::encode_string(br#"{"sid":"abc"}"#);
        assert_eq!(claim(&format!("h.{payload}.s"), "sid").unwrap(), "abc");
        assert!(claim("nonsense", "sid").is_err());
    }
}
