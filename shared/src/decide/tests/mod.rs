//! What the corpus cannot say: behaviour over several requests, and properties over all of them.

mod credentials;
mod limits;
mod upstreams;

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
};

use proptest::prelude::*;
use serde_json::json;

use super::{
    Document, Facts, Gate, LookedUp, MAX_FORM_BYTES, Memory, MetricsToken, PlatformAnswer, QuestionId,
    Refusal, RefusalForm, SignatureQuestion, Verdict, decide, decide_without_policy, may_revoke,
    origin_unavailable, sample,
};
use crate::{
    gcra::Quota,
    jwt::{KeyPhase, TokenFault},
    policy::{Policy, Upstream},
    problem::ProblemType,
    time::UnixMillis,
};

fn gateway(change: impl FnOnce(&mut Policy)) -> sample::Sample {
    let mut policy = sample::policy();
    change(&mut policy);
    sample::Sample::new(policy).unwrap()
}

fn bearer(lifetime: u64) -> String {
    let now = sample::NOW.seconds();
    let claims = json!({
        "iss": sample::ISSUER, "sub": "u1", "aud": "https://auth.test/notes", "client_id": "app", "iat": now, "exp": now + lifetime,
        "jti": "t1", "scope": "notes:read", "sid": "g1",
    });
    format!("Bearer {}", sample::signing_key().sign("at+jwt", &claims).unwrap())
}

fn call(authorization: &str) -> Facts<'_> {
    Facts {
        method: "GET",
        target: "/notes/api/x",
        address: "192.0.2.1",
        authorization: Some(authorization),
        ..Facts::default()
    }
}

fn summary(gate: &Gate<'_>, facts: &Facts<'_>, memory: &mut Memory, now: UnixMillis) -> String {
    decide(gate, facts, memory, now).summary()
}

#[test]
fn a_remembered_token_is_judged_anew_at_each_use() {
    let authorization = bearer(300);
    let facts = call(&authorization);
    let mut memory = Memory::default();
    let good = gateway(|_| ());
    assert_eq!(summary(&good.gate(), &facts, &mut memory, sample::NOW), "upstream http://notes.internal/x");
    let expired = sample::NOW.plus_millis(300_000);
    assert_eq!(summary(&good.gate(), &facts, &mut memory, expired), "refuse 401 token-expired");
    // The same version of the policy with other content, so that the memory still answers for the signature.
    let revoked = gateway(|policy| {
        policy.revocations.grants.insert("g1".into(), u64::MAX);
    });
    assert_eq!(summary(&revoked.gate(), &facts, &mut memory, sample::NOW), "refuse 401 token-revoked");
    let key_gone = gateway(|policy| policy.keys.retain(|key| key.kid != "k1"));
    assert_eq!(summary(&key_gone.gate(), &facts, &mut memory, sample::NOW), "needs key");
    let client_gone = gateway(|policy| {
        policy.clients.remove("app");
    });
    assert_eq!(summary(&client_gone.gate(), &facts, &mut memory, sample::NOW), "refuse 401 token-revoked");
}

#[test]
fn a_published_key_is_believed_before_it_signs() {
    let gateway = gateway(|policy| {
        for key in &mut policy.keys {
            key.phase = KeyPhase::Published;
        }
    });
    let authorization = bearer(300);
    assert_eq!(
        summary(&gateway.gate(), &call(&authorization), &mut Memory::default(), sample::NOW),
        "upstream http://notes.internal/x"
    );
}

#[test]
fn the_platform_has_the_word_on_its_algorithms() {
    let gateway = gateway(|_| ());
    let header = crate::base64url::encode(br#"{"alg":"ES256","kid":"p256","typ":"at+jwt"}"#);
    let payload = bearer(300).split('.').nth(1).unwrap().to_string();
    let authorization = format!("Bearer {header}.{payload}.{}", crate::base64url::encode(&[7; 64]));
    let ask = |signatures: &[(QuestionId, PlatformAnswer)]| {
        let facts =
            Facts { looked_up: LookedUp { signatures, ..LookedUp::default() }, ..call(&authorization) };
        decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW)
    };
    let Verdict::NeedsSignature(question) = ask(&[]) else { panic!("a question") };
    assert_eq!(question.message, format!("{header}.{payload}"));
    assert_eq!(question.signature, [7; 64]);
    assert_eq!(ask(&[(question.id(), PlatformAnswer::Valid)]).summary(), "upstream http://notes.internal/x");
    assert_eq!(ask(&[(question.id(), PlatformAnswer::Invalid)]).summary(), "refuse 401 token-signature");
    let other = SignatureQuestion { message: "another".into(), ..question };
    assert_eq!(ask(&[(other.id(), PlatformAnswer::Valid)]).summary(), "needs signature ES256");
}

#[test]
fn limits_are_per_address_and_say_when_to_come_back() {
    let gateway = gateway(|policy| policy.limits.address = Quota { requests: 2, window_seconds: 60 });
    let mut memory = Memory::default();
    let mut ping = |address: &str, already_charged| {
        let facts = Facts {
            method: "GET",
            target: "/ping",
            address,
            looked_up: LookedUp { already_charged, ..LookedUp::default() },
            ..Facts::default()
        };
        decide(&gateway.gate(), &facts, &mut memory, sample::NOW)
    };
    assert_eq!(ping("192.0.2.1", false).summary(), "answer Ping");
    assert_eq!(ping("192.0.2.1", false).summary(), "answer Ping");
    let Verdict::Refuse(refusal) = ping("192.0.2.1", false) else { panic!("a refusal") };
    let rendered = refusal.render(sample::ISSUER, "r1");
    assert_eq!(rendered.status, 429);
    for header in [
        ("retry-after", "30"),
        ("ratelimit-policy", "\"address\";q=2;w=60;tier=isolate"),
        ("ratelimit", "\"address\";r=0;t=60"),
    ] {
        assert!(
            rendered.headers.contains(&(header.0, header.1.to_string())),
            "{header:?} in {:?}",
            rendered.headers
        );
    }
    assert_eq!(ping("192.0.2.1", true).summary(), "answer Ping");
    assert_eq!(ping("::ffff:192.0.2.1", false).summary(), "refuse 429 rate-limited");
    assert_eq!(ping("192.0.2.2", false).summary(), "answer Ping");
    // One IPv6 subscriber is one /64.
    assert_eq!(ping("2001:db8::1", false).summary(), "answer Ping");
    assert_eq!(ping("2001:db8::2", false).summary(), "answer Ping");
    assert_eq!(ping("2001:db8::ffff:1", false).summary(), "refuse 429 rate-limited");
    assert_eq!(ping("2001:db8:0:1::1", false).summary(), "answer Ping");
}

#[test]
fn credential_endpoints_have_a_limit_of_their_own() {
    let gateway = gateway(|policy| policy.limits.credential = Quota { requests: 1, window_seconds: 60 });
    let mut memory = Memory::default();
    let mut send = |method, target| {
        let facts = Facts { method, target, address: "192.0.2.1", ..Facts::default() };
        decide(&gateway.gate(), &facts, &mut memory, sample::NOW).summary()
    };
    assert_eq!(send("POST", "/sign-in/code"), "origin /sign-in/code");
    assert_eq!(send("POST", "/sign-in/code"), "refuse 429 rate-limited");
    assert_eq!(send("POST", "/oauth/token"), "refuse 429 rate-limited");
    assert_eq!(send("GET", "/sign-in/code"), "origin /sign-in/code");
}

#[test]
fn upstreams_take_turns() {
    let gateway = gateway(|policy| {
        for service in policy.projects.get_mut("notes").unwrap().services.values_mut() {
            service.upstreams =
                alloc::vec![Upstream::new("http://a.internal"), Upstream::new("http://b.internal")];
        }
    });
    let authorization = bearer(300);
    let mut memory = Memory::default();
    let mut next = || summary(&gateway.gate(), &call(&authorization), &mut memory, sample::NOW);
    let (first, second, third) = (next(), next(), next());
    assert_ne!(first, second);
    assert_eq!(first, third);
}

#[test]
fn every_refusal_of_a_token_challenges() {
    for fault in
        [TokenFault::Malformed, TokenFault::Expired, TokenFault::UnknownKey, TokenFault::WrongAudience]
    {
        let refusal = Refusal::token(fault);
        assert_eq!(refusal.status(), 401);
        assert!(refusal.challenge.unwrap().contains("error=\"invalid_token\""));
    }
    // RFC 6750 §3.1: no error code when no credential came.
    assert_eq!(Refusal::credential_missing().challenge.as_deref(), Some("Bearer realm=\"gateward\""));
}

#[test]
fn a_page_shows_nothing_that_the_caller_could_choose() {
    let rendered = Refusal::page("Text.").render(sample::ISSUER, "<script>alert(1)</script>");
    assert!(!rendered.body.contains("<script"));
    assert!(
        rendered
            .headers
            .iter()
            .any(|(name, value)| *name == "content-security-policy"
                && value.contains("frame-ancestors 'none'"))
    );
}

proptest! {
    /// Whatever comes, there is a verdict, and without a good token it is never an upstream beyond the public routes.
    #[test]
    fn garbage_never_reaches_an_upstream(
        method in "(GET|POST|PUT|HEAD|[A-Za-z]{0,8})",
        target in "(/notes/api/|/captionacc/prefect/|/oauth/(token|authorize|revoke)|/)?[ -~]{0,60}",
        authorization in proptest::option::of("(Bearer |Basic |bearer )?[ -~]{0,80}"),
        form in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80)),
        content_type in proptest::option::of("(application/x-www-form-urlencoded|[ -~]{0,20})"),
        cookie in proptest::option::of("[ -~]{0,40}"),
    ) {
        let gateway = gateway(|_| ());
        let facts = Facts {
            method: &method,
            target: &target,
            address: "192.0.2.1",
            authorization: authorization.as_deref(),
            looked_up: LookedUp { form: form.as_deref(), ..LookedUp::default() },
            content_type: content_type.as_deref(),
            cookie: cookie.as_deref(),
            ..Facts::default()
        };
        let verdict = decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW);
        if let Verdict::Upstream(upstream) = &verdict {
            let public = upstream.target.starts_with("/health") || upstream.target.starts_with("/assets/");
            prop_assert!(public && method == "GET", "{}", upstream.target);
        }
        if let Verdict::Refuse(refusal) = &verdict {
            let rendered = refusal.render(sample::ISSUER, "r1");
            prop_assert!((400..=503).contains(&rendered.status));
            prop_assert!(!matches!(refusal.form, RefusalForm::Problem(ProblemType::Internal, _)));
        }
    }

    /// Only a redirect URI that is registered, or differs from a loopback one in its port, is ever redirected to.
    #[test]
    fn attack_12_errors_go_to_registered_uris_alone(uri in "(https://app\\.test/cb|http://127\\.0\\.0\\.1(:[0-9]{1,6})?/callback)?[ -~]{0,12}", client in "(app|cli|backend)", rest in "[a-z_=&]{0,40}") {
        let gateway = gateway(|_| ());
        let mut target = format!("/oauth/authorize?client_id={client}&{rest}&redirect_uri=");
        crate::form::encode_into(&mut target, &uri);
        let facts = Facts { method: "GET", target: &target, address: "192.0.2.1", ..Facts::default() };
        if let Verdict::Redirect(redirect) = decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW) {
            let registered = &gateway.gate().active.policy.clients[&client].redirect_uris;
            prop_assert!(
                registered.iter().any(|one| crate::redirect_uri::matches(one, &redirect.redirect_uri)),
                "{}",
                redirect.redirect_uri
            );
        }
    }
}

#[test]
fn without_a_policy_only_the_edge_itself_answers() {
    let decide = |method: &str, target: &str| {
        decide_without_policy(&Facts { method, target, ..Facts::default() }, None).summary()
    };
    assert_eq!(decide("GET", "/ping"), "answer Ping");
    assert_eq!(decide("POST", "/ping"), "refuse 405 method-not-allowed");
    assert_eq!(decide("GET", "/metrics"), "answer Metrics");
    assert_eq!(decide("POST", "/oauth/token"), "refuse 503 temporarily_unavailable");
    for target in ["/notes/api/x", "/.well-known/jwks.json", "/sign-in", "/a/../ping", "", "/internal/policy"]
    {
        assert_eq!(decide("GET", target), "refuse 503 policy-unavailable", "{target}");
    }
}

#[test]
fn an_outage_is_said_in_the_callers_terms_with_a_time_to_come_back() {
    let browser = Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    for (method, target, accept, content_type) in [
        ("POST", "/oauth/token", browser, "application/json"),
        ("POST", "/oauth/revoke", None, "application/json"),
        ("GET", "/oauth/authorize", browser, "text/html; charset=utf-8"),
        ("POST", "/sign-in", browser, "text/html; charset=utf-8"),
        ("POST", "/sign-in", Some("*/*"), "application/problem+json"),
        ("GET", "/account", None, "application/problem+json"),
    ] {
        let facts = Facts { method, target, accept, ..Facts::default() };
        let rendered = origin_unavailable(&facts).render("https://auth.test", "r1");
        let header = |name: &str| {
            rendered.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(rendered.status, 503, "{target}");
        assert_eq!(header("content-type"), Some(content_type), "{target}");
        assert_eq!(header("cache-control"), Some("no-store"));
        assert_eq!(header("x-content-type-options"), Some("nosniff"));
        assert!(
            header("retry-after")
                .is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0))
        );
    }
}

#[test]
fn metrics_want_their_token_where_one_is_set() {
    let gateway = gateway(|_| {});
    let token = MetricsToken::new("scrape-me");
    let gate = Gate { metrics_token: Some(&token), ..gateway.gate() };
    let mut memory = Memory::default();
    let mut ask = |authorization| {
        let facts = Facts { method: "GET", target: "/metrics", authorization, ..Facts::default() };
        decide(&gate, &facts, &mut memory, sample::NOW)
    };
    assert_eq!(ask(Some("Bearer scrape-me")), Verdict::Answer(Document::Metrics));
    assert_eq!(ask(None).summary(), "refuse 401 credential-missing");
    assert_eq!(ask(Some("Bearer other")).summary(), "refuse 401 credential-missing");
}

#[test]
fn a_client_is_counted_once_its_form_was_read() {
    let gateway = gateway(|policy| policy.limits.client = Quota { requests: 2, window_seconds: 60 });
    let mut memory = Memory::default();
    let mut ask = |form, already_charged| {
        let facts = Facts {
            method: "POST",
            target: "/oauth/revoke",
            content_type: Some("application/x-www-form-urlencoded"),
            looked_up: LookedUp { form, already_charged, ..LookedUp::default() },
            ..Facts::default()
        };
        decide(&gateway.gate(), &facts, &mut memory, sample::NOW).summary()
    };
    let form: Option<&[u8]> = Some(b"client_id=app&token=x");
    for expected in ["origin /oauth/revoke", "origin /oauth/revoke", "refuse 429 rate-limited"] {
        assert_eq!(ask(None, false), "needs form");
        assert_eq!(ask(form, true), expected);
    }
}

#[test]
fn a_get_has_no_body_and_a_trace_no_answer() {
    let gateway = gateway(|_| {});
    let decide = |method, content_length, transfer_encoding| {
        let facts = Facts { method, target: "/ping", content_length, transfer_encoding, ..Facts::default() };
        decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW).summary()
    };
    assert_eq!(decide("GET", None, None), "answer Ping");
    assert_eq!(decide("GET", Some("0"), None), "answer Ping");
    assert_eq!(decide("GET", Some("3"), None), "refuse 400 request-malformed");
    assert_eq!(decide("HEAD", Some("0, 3"), None), "refuse 400 request-malformed");
    assert_eq!(decide("GET", None, Some("chunked")), "refuse 400 request-malformed");
    assert_eq!(decide("TRACE", None, None), "refuse 405 method-not-allowed");
}

#[test]
fn every_oauth_form_is_bounded() {
    let gateway = gateway(|_| {});
    for target in ["/oauth/authorize", "/oauth/token", "/oauth/revoke"] {
        let ask = |length: usize| {
            let form = [b"a=".as_slice(), &vec![b'x'; length - 2]].concat();
            let facts = Facts {
                method: "POST",
                target,
                content_type: Some("application/x-www-form-urlencoded"),
                looked_up: LookedUp { form: Some(&form), ..LookedUp::default() },
                ..Facts::default()
            };
            decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW).summary()
        };
        assert_eq!(ask(MAX_FORM_BYTES + 1), "refuse 413 body-too-large", "{target}");
        assert_ne!(ask(MAX_FORM_BYTES), "refuse 413 body-too-large", "{target}");
    }
}

#[test]
fn headers_are_bounded_in_number_and_length() {
    let gateway = gateway(|_| {});
    let decide = |count: usize, header_bytes| {
        let header_names =
            (0..count).map(|index| format!("x-{index}")).collect::<alloc::vec::Vec<_>>().join("\n");
        let facts = Facts {
            method: "GET",
            target: "/ping",
            header_names: &header_names,
            header_bytes,
            ..Facts::default()
        };
        decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW).summary()
    };
    assert_eq!(decide(0, 0), "answer Ping");
    assert_eq!(decide(128, 32_768), "answer Ping");
    assert_eq!(decide(129, 1_000), "refuse 431 headers-too-large");
    assert_eq!(decide(1, 32_769), "refuse 431 headers-too-large");
}

#[test]
fn only_where_something_can_be_ended_is_a_newer_policy_looked_for() {
    for target in ["/oauth/revoke", "/api/v1/oauth/revoke", "/sign-out", "/account", "/account?x=1"] {
        assert!(may_revoke("POST", target), "{target}");
        assert!(!may_revoke("GET", target), "{target}");
    }
    for method in ["PUT", "POST", "DELETE"] {
        assert!(may_revoke(method, "/v1/projects/notes"), "{method}");
    }
    assert!(!may_revoke("GET", "/v1/projects/notes") && !may_revoke("PUT", "/v1/projectsx"));
    for target in ["/v1/sync/user", "/v1/sync/api-key", "/v1/sync/backfill-api-keys?after=7"] {
        assert!(may_revoke("POST", target) && !may_revoke("GET", target), "{target}");
    }
    for target in
        ["/sign-in", "/sign-in/code", "/oauth/token", "/consent", "/notes/api/account", "/a/../account"]
    {
        assert!(!may_revoke("POST", target), "{target}");
    }
}

#[test]
fn a_backfill_streams_and_nothing_else_does() {
    let gateway = sample::Sample::new(sample::policy()).unwrap();
    let decide = |target, content_length| {
        let facts = Facts {
            method: "POST",
            target,
            content_length,
            header_names: "content-type\nX-Webhook-Secret",
            ..Facts::default()
        };
        decide(&gateway.gate(), &facts, &mut Memory::default(), sample::NOW)
    };
    let most = |target| match decide(target, None) {
        Verdict::Origin(to_origin) => (to_origin.target, to_origin.max_streamed_bytes),
        other => panic!("{other:?}"),
    };
    let bytes = Some(crate::assertion::MAX_STREAMED_BYTES);
    assert_eq!(most("/v1/sync/backfill-api-keys"), ("/v1/sync/backfill-api-keys".into(), bytes));
    assert_eq!(most("/v1/sync/backfill-api-keys?after=7").1, bytes);
    assert_eq!(most("/v1/sync/api-key").1, None);
    assert_eq!(most("/v1/sync/user").1, None);
    let summary = |length| decide("/v1/sync/backfill-api-keys", Some(length)).summary();
    assert_eq!(summary("104857600"), "origin /v1/sync/backfill-api-keys");
    assert_eq!(summary("104857601"), "refuse 413 body-too-large");
}

#[test]
fn guesses_at_the_secret_of_webhooks_are_counted_by_address() {
    let mut policy = sample::policy();
    policy.limits.credential = crate::gcra::Quota { requests: 3, window_seconds: 60 };
    let gateway = sample::Sample::new(policy).unwrap();
    let mut memory = Memory::default();
    let mut send = |target, address| {
        let facts =
            Facts { method: "POST", target, address, header_names: "x-webhook-secret", ..Facts::default() };
        decide(&gateway.gate(), &facts, &mut memory, sample::NOW).summary()
    };
    for target in ["/v1/sync/user", "/v1/sync/api-key", "/v1/sync/backfill-api-keys"] {
        assert_eq!(send(target, "192.0.2.1"), std::format!("origin {target}"));
    }
    assert_eq!(send("/v1/sync/user", "192.0.2.1"), "refuse 429 rate-limited");
    assert_eq!(send("/v1/sync/user", "192.0.2.2"), "origin /v1/sync/user");
}
