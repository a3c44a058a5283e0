//! The corpus: requests with the verdict that each must get, the same natively and in wasm. It may not decide anything of
//! its own: it mints what a case describes, asks [`decide`], and compares.
//!
//! A case is a JSON object: `name`, `expect` (a [`Verdict::summary`]) and the facts: `method`, `target`, `authorization`,
//! `bearer`, `code`, `headers`, `cookie`, `fetch_site`, `form`, `content_type`, `refreshed`, `set`, `delete`. In `form`, `{code}` stands for the minted code.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use crate::{
    base64url,
    code::AuthorizationCode,
    decide::{Facts, LookedUp, Memory, Verdict, decide, sample},
    pkce::CodeVerifier,
};

/// The corpus that ships with the crate.
pub const CORPUS: &str = include_str!("../corpus.json");

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
    form: Option<String>,
    #[serde(default)]
    refreshed: bool,
    /// Headers that an upstream verdict must set.
    #[serde(default)]
    set: Vec<(String, String)>,
    /// Header names that an upstream verdict must delete, all of them.
    #[serde(default)]
    delete: Option<Vec<String>>,
}

fn get() -> String {
    "GET".into()
}

/// A token to mint. `claims` is laid over the claims of a good access token; `null` removes one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mint {
    #[serde(default = "default_key")]
    key: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    claims: serde_json::Map<String, Value>,
    /// A raw header instead of the usual one.
    #[serde(default)]
    header: Option<String>,
    /// A raw payload instead of claims.
    #[serde(default)]
    payload: Option<String>,
}

fn default_key() -> String {
    "k1".into()
}

/// A code to mint, for client, redirect URI and verifier.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    client_id: String,
    redirect_uri: String,
    verifier: String,
    #[serde(default = "default_life")]
    expires_in: i64,
}

const fn default_life() -> i64 {
    60
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

fn judge(sample: &sample::Sample, case: &Case) -> Result<Verdict, String> {
    let bearer = match &case.bearer {
        Some(mint) => Some(format!(
            "Bearer {}",
            mint.token().ok_or_else(|| format!("{}: the token cannot be minted", case.name))?
        )),
        None => None,
    };
    let code = match &case.code {
        Some(code) => code.mint().ok_or_else(|| format!("{}: the code cannot be minted", case.name))?,
        None => String::new(),
    };
    let form = case.form.as_ref().map(|form| form.replace("{code}", &code));
    let header_names = case.headers.join("\n");
    let content_type =
        case.content_type.as_deref().or_else(|| form.as_ref().map(|_| "application/x-www-form-urlencoded"));
    let facts = Facts {
        method: &case.method,
        target: &case.target,
        address: "192.0.2.1",
        authorization: case.authorization.as_deref().or(bearer.as_deref()),
        content_type,
        cookie: case.cookie.as_deref(),
        fetch_site: case.fetch_site.as_deref(),
        header_names: &header_names,
        request_id: "r1",
        looked_up: LookedUp {
            form: form.as_deref().map(str::as_bytes),
            refreshed: case.refreshed,
            ..LookedUp::default()
        },
        ..Facts::default()
    };
    Ok(decide(&sample.gate(), &facts, &mut Memory::default(), sample::NOW))
}

fn header_faults(case: &Case, verdict: &Verdict) -> Vec<String> {
    let Verdict::Upstream(upstream) = verdict else { return Vec::new() };
    let mut faults: Vec<String> = case
        .set
        .iter()
        .filter(|(name, value)| !upstream.set.iter().any(|(set, to)| set == name && to == value))
        .map(|(name, value)| format!("{}: {name} is not set to {value:?}", case.name))
        .collect();
    if case.delete.as_ref().is_some_and(|delete| *delete != upstream.delete) {
        faults.push(format!("{}: deletes {:?}", case.name, upstream.delete));
    }
    faults
}

impl Mint {
    fn token(&self) -> Option<String> {
        let now = sample::NOW.seconds();
        let mut claims = serde_json::json!({
            "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now, "exp": now.checked_add(300)?,
            "jti": "t1", "scope": "notes:read", "sid": "g1", "workspace_id": "w1",
        });
        let members = claims.as_object_mut()?;
        for (name, value) in &self.claims {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        let key = match self.key.as_str() {
            "k0" => sample::retired_key(),
            _ => sample::signing_key(),
        };
        if self.key != "hs256" && self.header.is_none() && self.payload.is_none() {
            return key.sign(self.typ.as_deref().unwrap_or("at+jwt"), &claims);
        }
        let header = self.header.clone().unwrap_or_else(|| r#"{"alg":"HS256"}"#.into());
        let payload = self.payload.clone().unwrap_or_else(|| claims.to_string());
        let input =
            format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()));
        let signature = if self.key == "hs256" {
            Hmac::<Sha256>::new_from_slice(sample::SERVICE_SECRET)
                .ok()?
                .chain_update(input.as_bytes())
                .finalize()
                .into_bytes()
                .to_vec()
        } else {
            key.sign_bytes(input.as_bytes()).to_vec()
        };
        Some(format!("{input}.{}", base64url::encode(&signature)))
    }
}

impl Code {
    fn mint(&self) -> Option<String> {
        let challenge = CodeVerifier::parse(&self.verifier)?.challenge();
        let expires_at = sample::NOW.seconds().checked_add_signed(self.expires_in)?;
        let code = AuthorizationCode::issue(
            &sample::code_key(),
            [5; 16],
            expires_at,
            &self.client_id,
            &self.redirect_uri,
            &challenge,
        );
        Some(code.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_gets_its_verdict() {
        let report = run(CORPUS).unwrap();
        assert!(report.verdicts.len() >= 90, "{} cases", report.verdicts.len());
        assert!(report.failures.is_empty(), "{:#?}", report.failures);
    }
}
