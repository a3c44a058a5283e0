//! The decision as a whole. An input is a request as text: `METHOD target`, then `name: value` a line, an empty line, and a form.
//! `Authorization: Bearer {…}` stands for a token with this payload, signed by the sample's key.

use shared::{
    decide::{Facts, LookedUp, Memory, RefusalForm, ToUpstream, Verdict, decide, sample},
    header::{is_field_value, is_reserved},
    path::CanonicalPath,
    redirect_uri,
};
use std::sync::LazyLock;

/// The sample's services of the project `notes`.
const NOTES: &str = "http://notes.internal";
const FILES: &str = "http://files.internal/base";

static SAMPLE: LazyLock<sample::Sample> =
    LazyLock::new(|| sample::Sample::new(sample::policy()).expect("the sample is a policy"));

/// A request, read from text.
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    names: String,
    bearer: Option<String>,
    claims: Option<&'a str>,
    form: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let (head, form) = match input.windows(2).position(|pair| pair == b"\n\n") {
            Some(at) => (&input[..at], Some(&input[at + 2..])),
            None => (input, None),
        };
        let mut lines = core::str::from_utf8(head).ok()?.split('\n');
        let (method, target) = lines.next()?.split_once(' ')?;
        // The Fetch standard's header values hold none of these.
        let is_value = |value: &str| !value.contains(['\r', '\0']);
        let headers: Vec<(&str, &str)> =
            lines.filter_map(|line| line.split_once(": ")).filter(|(_, value)| is_value(value)).collect();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("\n");
        let authorization =
            headers.iter().find(|(name, _)| *name == "authorization").map(|(_, value)| *value);
        let claims = authorization
            .and_then(|value| value.strip_prefix("Bearer "))
            .filter(|text| text.starts_with('{'));
        let bearer = claims.map(|claims| {
            let header = br#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#;
            format!("Bearer {}", super::jwt::sign(header, claims.as_bytes()))
        });
        Some(Self { method, target, headers, names, bearer, claims, form })
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            method: self.method,
            target: self.target,
            address: self.header("address").unwrap_or("192.0.2.1"),
            authorization: self.bearer.as_deref().or(self.header("authorization")),
            header_names: &self.names,
            header_bytes: self.headers.iter().map(|(name, value)| name.len() + value.len()).sum(),
            request_id: "r1",
            ..Facts::of_headers(|name| self.header(name))
        }
    }
}

/// Whatever comes in, a verdict holds together; and nothing reaches an upstream but a public route or a good token.
pub fn hold(input: &[u8]) {
    let Some(request) = Request::read(input) else { return };
    let mut facts = request.facts();
    let mut memory = Memory::default();
    let mut verdict = decide(&SAMPLE.gate(), &facts, &mut memory, sample::NOW);
    assert_eq!(
        decide(&SAMPLE.gate(), &facts, &mut Memory::default(), sample::NOW),
        verdict,
        "the same each time"
    );
    if let Verdict::NeedsForm(limit) = verdict {
        let form = request.form.unwrap_or_default();
        facts.looked_up = LookedUp { form: Some(&form[..form.len().min(limit + 1)]), ..facts.looked_up };
        verdict = decide(&SAMPLE.gate(), &facts, &mut memory, sample::NOW);
        assert!(!matches!(verdict, Verdict::NeedsForm(_)), "a form is asked for once");
    }
    if verdict == Verdict::NeedsKey {
        facts.looked_up.refreshed = true;
        verdict = decide(&SAMPLE.gate(), &facts, &mut memory, sample::NOW);
        assert_ne!(verdict, Verdict::NeedsKey, "a key is asked for once");
    }
    check(&request, &facts, &verdict);
    // A second time the answer comes from memory, and is the same but for limits.
    facts.looked_up.already_charged = true;
    let again = decide(&SAMPLE.gate(), &facts, &mut memory, sample::NOW);
    if !matches!(verdict, Verdict::NeedsCharge(_)) {
        assert_eq!(kind(&again), kind(&verdict));
    }
}

/// What must be the same the second time: an upstream's turn may change.
fn kind(verdict: &Verdict) -> (&'static str, Option<&str>) {
    let target = match verdict {
        Verdict::Upstream(upstream) => Some(upstream.target.as_str()),
        Verdict::Origin(origin) => Some(origin.target.as_str()),
        _ => None,
    };
    (verdict.outcome(), target)
}

fn check(request: &Request<'_>, facts: &Facts<'_>, verdict: &Verdict) {
    assert!(!verdict.summary().contains('\n'));
    match verdict {
        Verdict::Upstream(upstream) => to_upstream(request, facts, upstream),
        Verdict::Origin(origin) => {
            assert!(
                origin.target.starts_with('/') && !origin.target.starts_with("/internal"),
                "{}",
                origin.target
            );
            assert!(is_canonical(&origin.target));
        }
        Verdict::Refuse(refusal) => {
            let answer = refusal.render(sample::ISSUER, "r1");
            assert!((400..600).contains(&answer.status));
            assert!(answer.headers.iter().all(|(_, value)| is_field_value(value)), "{:?}", answer.headers);
            if let RefusalForm::Problem(..) | RefusalForm::OAuth(..) = refusal.form {
                serde_json::from_str::<serde_json::Value>(&answer.body).expect("a JSON body");
            }
        }
        Verdict::Redirect(redirect) => {
            let policy = sample::policy();
            let mut registered = policy.clients.values().flat_map(|client| &client.redirect_uris);
            assert!(registered.any(|uri| redirect_uri::matches(uri, &redirect.redirect_uri)));
            assert!(is_field_value(&redirect.location(sample::ISSUER)));
        }
        Verdict::Preflight(headers) => {
            assert_eq!(facts.method, "OPTIONS");
            assert!(headers.iter().all(|(_, value)| is_field_value(value)));
        }
        _ => {}
    }
}

fn is_canonical(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    CanonicalPath::parse(path).is_ok_and(|parsed| parsed.forwarded_after(0) == path)
}

fn to_upstream(request: &Request<'_>, facts: &Facts<'_>, upstream: &ToUpstream) {
    assert!(is_canonical(&upstream.target), "{}", upstream.target);
    let base = upstream.base.as_str();
    assert!(matches!(base, NOTES | FILES | "http://prefect.internal:4200"), "{base}");
    for (name, value) in upstream.set.iter().chain(&upstream.answer.set) {
        // What is left of the caller's own cookies is what it was.
        let is_callers = *name == "cookie" && !value.contains(['\r', '\n', '\0']);
        assert!(
            *name == name.to_ascii_lowercase() && (is_field_value(value) || is_callers),
            "{name}: {value:?}"
        );
    }
    for name in facts.header_names.split('\n').filter(|name| is_reserved(name)) {
        let is_gone = upstream.delete.iter().any(|deleted| deleted == name);
        let is_replaced = upstream.set.iter().any(|(set, _)| *set == name);
        assert!(is_gone || is_replaced, "{name:?} reaches the upstream");
    }
    let cookie = upstream.set.iter().find(|(name, _)| *name == "cookie").map(|(_, value)| value.as_str());
    let kept = cookie.or(facts.cookie.filter(|_| !upstream.delete.iter().any(|name| name == "cookie")));
    let mut pairs = kept.unwrap_or_default().split(';').map(str::trim);
    assert!(!pairs.any(|pair| pair.starts_with("__Host-gateward_")), "{kept:?}");
    if !is_public(facts) {
        let claims = request.claims.expect("nobody reaches an upstream without a token");
        assert!(matches!(base, NOTES | FILES), "{base}");
        let writes = base == FILES && matches!(facts.method, "DELETE" | "PUT");
        is_good(claims, if writes { "notes:write" } else { "notes:read" });
    }
}

/// The sample's public routes, told without the code that decides.
fn is_public(facts: &Facts<'_>) -> bool {
    let Ok(path) = CanonicalPath::parse(facts.target.split('?').next().unwrap_or_default()) else {
        return false;
    };
    let path = path.matched_after(0);
    let is_open = path == "/notes/api/health"
        || path.starts_with("/notes/api/assets/")
        || path.starts_with("/notes/files/shared/") && !path.starts_with("/notes/files/shared/private/");
    matches!(facts.method, "GET" | "HEAD") && is_open
}

/// What a token must say to be let through, read by a plain JSON parser.
fn is_good(claims: &str, needed: &str) {
    let claims: serde_json::Value = serde_json::from_str(claims).expect("claims of JSON");
    let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
    assert_eq!(text("iss"), Some(sample::ISSUER));
    assert!(claims["exp"].as_u64().is_some_and(|exp| exp > sample::NOW.seconds()));
    assert!(!matches!(text("jti"), None | Some("revoked-jti")));
    assert_ne!(text("sid"), Some("revoked-grant"));
    assert_ne!(text("sub"), None);
    assert!(matches!(text("client_id"), Some("app" | "cli" | "backend" | "worker")));
    assert!(text("scope").is_some_and(|scope| scope.split(' ').any(|scope| scope == needed)));
    assert!(matches!(text("workspace_id"), None | Some("w1")));
    let audience = claims["aud"].to_string();
    assert!(audience.contains("https://auth.test/notes"), "{audience}");
}
