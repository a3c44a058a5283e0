//! The CORS protocol (Fetch standard §3.2): which pages of other origins may call what. It may not open anything by itself: a
//! request that a page may send is judged like any other.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};

use super::{AnswerEdits, Facts, Refusal, Verdict};
use crate::policy::{ActivePolicy, Client, Cors};

/// Methods that need no mention (CORS-safelisted methods).
const SIMPLE_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// Headers that need no mention (CORS-safelisted request-headers); the content type does when it is not a form's.
const SIMPLE_HEADERS: [&str; 3] = ["accept", "accept-language", "content-language"];
/// What an upstream may have said itself: the gateway's word stands in its place.
const OWNED: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers",
    "access-control-max-age",
];
/// Headers that pages may send to the token and revocation endpoints.
const TOKEN_HEADERS: &str = "authorization, content-type, dpop";
/// How long a browser may remember what it may send there, in seconds.
const TOKEN_MAX_AGE: &str = "600";

/// What the answer to one request says of CORS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    edits: AnswerEdits,
}

impl Grant {
    /// Puts it on an upstream's answer.
    pub(super) fn apply(self, answer: &mut AnswerEdits) {
        answer.delete.extend(self.edits.delete);
        answer.set.extend(self.edits.set);
        answer.append.extend(self.edits.append);
    }

    /// The headers for an answer of the gateway's own.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        self.edits.set.iter().chain(&self.edits.append).cloned().collect()
    }
}

/// Whether this is a CORS-preflight request.
pub(super) fn is_preflight(facts: &Facts<'_>) -> bool {
    facts.method == "OPTIONS" && facts.origin.is_some() && facts.cors_method.is_some()
}

/// What a project says to this request.
pub(super) fn of_project(cors: Option<&Cors>, facts: &Facts<'_>) -> Grant {
    let Some(cors) = cors else { return Grant::default() };
    let mut edits = AnswerEdits { delete: OWNED.to_vec(), ..AnswerEdits::default() };
    let is_open = cors.origins.iter().any(|origin| origin == "*");
    if !is_open {
        // A cache must not give one origin's answer to another, nor one without a word on CORS to a page.
        edits.append.push(("vary", "Origin".into()));
    }
    if let Some(allowed) = allowed(cors, facts) {
        edits.set.push(("access-control-allow-origin", allowed));
        if cors.credentials && !is_open {
            edits.set.push(("access-control-allow-credentials", "true".into()));
        }
        if !cors.expose.is_empty() {
            edits.set.push(("access-control-expose-headers", cors.expose.join(", ")));
        }
    }
    Grant { edits }
}

/// The answer to a preflight for a project; `None` when the project leaves CORS to its upstreams.
pub(super) fn project_preflight(cors: Option<&Cors>, facts: &Facts<'_>) -> Option<Result<Verdict, Refusal>> {
    let cors = cors.filter(|_| is_preflight(facts))?;
    let Some(origin) = allowed(cors, facts) else { return Some(Err(Refusal::origin_not_allowed())) };
    let mut answer = alloc::vec![("access-control-allow-origin", origin)];
    let mut methods: Vec<&str> = cors.methods.iter().map(String::as_str).collect();
    methods.extend(SIMPLE_METHODS.iter().filter(|method| !cors.methods.iter().any(|one| one == *method)));
    answer.push(("access-control-allow-methods", methods.join(", ")));
    // Named one by one: `*` does not cover Authorization.
    let asked =
        facts.cors_headers.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let granted: Vec<String> = asked
        .map(str::to_ascii_lowercase)
        .filter(|name| cors.headers.iter().any(|one| one == name) || SIMPLE_HEADERS.contains(&name.as_str()))
        .collect();
    if !granted.is_empty() {
        answer.push(("access-control-allow-headers", granted.join(", ")));
    }
    if cors.credentials && !cors.origins.iter().any(|origin| origin == "*") {
        answer.push(("access-control-allow-credentials", "true".into()));
    }
    answer.push(("access-control-max-age", cors.max_age_seconds.to_string()));
    answer.push(("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers".into()));
    Some(Ok(Verdict::Preflight(answer)))
}

/// Whether a page of this origin may open a connection of another protocol: browsers ask nobody before they do (RFC 6455 §10.2).
pub(super) fn may_upgrade(cors: Option<&Cors>, issuer: &str, facts: &Facts<'_>) -> bool {
    match (cors, facts.origin) {
        // The issuer is the origin that projects are served under.
        (Some(cors), Some(origin)) => origin == issuer || allowed(cors, facts).is_some(),
        _ => true,
    }
}

/// The answer to a preflight for the token or revocation endpoint: which client is calling stands in a body that is not there yet.
pub(super) fn client_preflight(active: &ActivePolicy, facts: &Facts<'_>) -> Option<Result<Verdict, Refusal>> {
    let origin = facts.origin.filter(|_| is_preflight(facts))?;
    if !active.is_client_origin(origin) {
        return Some(Err(Refusal::origin_not_allowed()));
    }
    Some(Ok(Verdict::Preflight(alloc::vec![
        ("access-control-allow-origin", origin.into()),
        ("access-control-allow-methods", "POST".into()),
        ("access-control-allow-headers", TOKEN_HEADERS.into()),
        ("access-control-max-age", TOKEN_MAX_AGE.into()),
        ("vary", "Origin".into()),
    ])))
}

/// What an answer for this client says.
pub(super) fn of_client(client: &Client, facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    if client.origins.is_empty() {
        return Vec::new();
    }
    let mut headers = alloc::vec![("vary", "Origin".to_string())];
    if let Some(origin) = facts.origin.filter(|origin| client.origins.iter().any(|one| one == origin)) {
        headers.push(("access-control-allow-origin", origin.into()));
    }
    headers
}

/// The value of `Access-Control-Allow-Origin` for this request's origin, byte for byte.
fn allowed(cors: &Cors, facts: &Facts<'_>) -> Option<String> {
    let origin = facts.origin?;
    if cors.origins.iter().any(|one| one == "*") {
        return Some("*".into());
    }
    cors.origins.iter().find(|one| *one == origin).cloned()
}
