//! Limits of projects, services and routes, over several requests.

use alloc::{format, string::String, vec, vec::Vec};

use super::{bearer, call, gateway, summary};
use crate::{
    decide::{Charge, ChargeAnswer, Facts, Gate, LookedUp, Memory, Verdict, decide, sample},
    gcra::Quota,
    policy::{Limit, LimitBy, Policy, Route, Tier},
};

fn limit(by: LimitBy, requests: u32, tier: Tier) -> Limit {
    Limit { by, quota: Quota { requests, window_seconds: 60 }, tier }
}

fn limited(change: impl FnOnce(&mut Policy)) -> sample::Sample {
    gateway(change)
}

const PASSED: &str = "upstream http://notes.internal/x";
const LIMITED: &str = "refuse 429 rate-limited";

#[test]
fn each_limit_counts_what_it_names_apart() {
    let token = |subject: &str, client: &str, jti: &str| {
        let now = sample::NOW.seconds();
        let claims = serde_json::json!({
            "iss": sample::ISSUER, "sub": subject, "aud": "https://auth.test/notes", "client_id": client, "iat": now, "exp": now + 300,
            "jti": jti, "scope": "notes:read",
        });
        format!("Bearer {}", sample::signing_key().sign("at+jwt", &claims).unwrap())
    };
    // By what; a request that differs in it, and one that does not.
    let first = ("192.0.2.1", token("u1", "app", "t1"));
    for (by, other, same) in [
        (LimitBy::Address, ("192.0.2.2", token("u1", "app", "t1")), ("192.0.2.1", token("u2", "app", "t2"))),
        (
            LimitBy::Address,
            ("2001:db8:0:1::1", token("u1", "app", "t1")),
            ("192.0.2.1", token("u1", "app", "t1")),
        ),
        (LimitBy::Subject, ("192.0.2.1", token("u2", "app", "t1")), ("192.0.2.2", token("u1", "app", "t2"))),
        (LimitBy::Key, ("192.0.2.1", token("u1", "app", "t2")), ("192.0.2.2", token("u1", "app", "t1"))),
    ] {
        let gateway = limited(|policy| {
            policy.projects.get_mut("notes").unwrap().limits = vec![limit(by, 1, Tier::Isolate)];
        });
        let mut memory = Memory::default();
        let mut send = |(address, authorization): &(&'static str, String)| {
            let facts = Facts { address, ..call(authorization) };
            summary(&gateway.gate(), &facts, &mut memory, sample::NOW)
        };
        assert_eq!(send(&first), PASSED, "{by:?}");
        assert_eq!(send(&same), LIMITED, "{by:?}");
        assert_eq!(send(&other), PASSED, "{by:?}");
        assert_eq!(send(&other), LIMITED, "{by:?}");
    }
}

#[test]
fn two_addresses_of_one_ipv6_subscriber_are_one() {
    let gateway = limited(|policy| {
        policy.projects.get_mut("notes").unwrap().limits = vec![limit(LimitBy::Address, 1, Tier::Isolate)];
    });
    let authorization = bearer(300);
    let mut memory = Memory::default();
    let mut send = |address| {
        summary(&gateway.gate(), &Facts { address, ..call(&authorization) }, &mut memory, sample::NOW)
    };
    assert_eq!(send("2001:db8:0:1::1"), PASSED);
    assert_eq!(send("2001:db8:0:1:ffff::2"), LIMITED);
    assert_eq!(send("2001:db8:0:2::1"), PASSED);
    assert_eq!(send("::ffff:192.0.2.1"), PASSED);
    assert_eq!(send("192.0.2.1"), LIMITED);
}

#[test]
fn project_service_and_route_have_counts_of_their_own() {
    let gateway = limited(|policy| {
        let notes = policy.projects.get_mut("notes").unwrap();
        notes.limits = vec![limit(LimitBy::Project, 3, Tier::Isolate)];
        let api = notes.services.get_mut("api").unwrap();
        api.limits = vec![limit(LimitBy::Service, 2, Tier::Isolate)];
        api.routes = vec![Route {
            path: "/dear".into(),
            limits: vec![limit(LimitBy::Subject, 1, Tier::Isolate)],
            ..Route::default()
        }];
    });
    let authorization = bearer(300);
    let mut memory = Memory::default();
    let mut send = |target| {
        let facts = Facts { target, ..call(&authorization) };
        match decide(&gateway.gate(), &facts, &mut memory, sample::NOW) {
            Verdict::Upstream(upstream) => upstream
                .answer
                .set
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect::<Vec<_>>()
                .join("; "),
            Verdict::Refuse(refusal) => refusal.quota.unwrap().name.into_owned(),
            other => other.summary(),
        }
    };
    assert_eq!(
        send("/notes/api/dear"),
        "ratelimit-policy: \"project-project\";q=3;w=60;tier=isolate, \"service-service\";q=2;w=60;tier=isolate, \"route-subject\";q=1;w=60;tier=isolate; \
         ratelimit: \"project-project\";r=2;t=20, \"service-service\";r=1;t=30, \"route-subject\";r=0;t=60"
    );
    assert!(send("/notes/api/dear").ends_with("route-subject"));
    // What the last limit refused was counted by those before it: a refused request is a request.
    assert_eq!(send("/notes/api/x"), "service-service");
    assert_eq!(send("/notes/api/x"), "project-project");
}

#[test]
fn a_limit_by_something_that_a_request_has_not_does_not_count_it() {
    let gateway = limited(|policy| {
        policy.projects.get_mut("notes").unwrap().limits = vec![limit(LimitBy::Subject, 0, Tier::Isolate)];
    });
    let public = Facts { target: "/notes/api/health", authorization: None, ..call("") };
    assert_eq!(
        summary(&gateway.gate(), &public, &mut Memory::default(), sample::NOW),
        "upstream http://notes.internal/health"
    );
    let authorization = bearer(300);
    assert_eq!(summary(&gateway.gate(), &call(&authorization), &mut Memory::default(), sample::NOW), LIMITED);
}

#[test]
fn the_exact_limiter_is_asked_last_and_has_the_word() {
    let gateway = limited(|policy| {
        policy.projects.get_mut("notes").unwrap().limits =
            vec![limit(LimitBy::Subject, 5, Tier::Exact), limit(LimitBy::Address, 5, Tier::Isolate)];
    });
    let bad = "Bearer a.b.c";
    let mut memory = Memory::default();
    assert_eq!(summary(&gateway.gate(), &call(bad), &mut memory, sample::NOW), "refuse 401 token-malformed");
    let authorization = bearer(300);
    let Verdict::NeedsCharge(charges) =
        decide(&gateway.gate(), &call(&authorization), &mut memory, sample::NOW)
    else {
        panic!("a question")
    };
    let [Charge { key, quota }] = charges[..] else { panic!("one charge") };
    assert_eq!(quota.requests, 5);
    let mut told = |outcome| {
        let charges = [ChargeAnswer { key, outcome }];
        let facts = Facts {
            looked_up: LookedUp { charges: &charges, already_charged: true, ..LookedUp::default() },
            ..call(&authorization)
        };
        decide(&gateway.gate(), &facts, &mut memory, sample::NOW)
    };
    let field = |verdict: &Verdict| match verdict {
        Verdict::Upstream(upstream) => upstream.answer.set[0].1.clone(),
        other => other.summary(),
    };
    let within = quota.check(None, sample::NOW);
    assert_eq!(
        field(&told(Some(within))),
        "\"project-subject\";q=5;w=60;tier=exact, \"project-address\";q=5;w=60;tier=isolate"
    );
    let beyond = Quota { requests: 0, ..quota }.check(None, sample::NOW);
    assert_eq!(told(Some(beyond)).summary(), LIMITED);
    // Not to be asked: the isolate counts, and says so.
    assert_eq!(
        field(&told(None)),
        "\"project-subject\";q=5;w=60;tier=isolate, \"project-address\";q=5;w=60;tier=isolate"
    );
    // Another request's answer is none.
    let charges = [ChargeAnswer { key: [0; 16], outcome: Some(within) }];
    let facts =
        Facts { looked_up: LookedUp { charges: &charges, ..LookedUp::default() }, ..call(&authorization) };
    assert_eq!(summary(&gateway.gate(), &facts, &mut memory, sample::NOW), "needs charge 1");
    // A door without such a limiter counts for itself.
    let alone = Gate { has_exact_limits: false, ..gateway.gate() };
    assert_eq!(summary(&alone, &call(&authorization), &mut Memory::default(), sample::NOW), PASSED);
}

#[test]
fn a_changed_limit_holds_from_the_next_request() {
    let of = |requests| {
        limited(move |policy| {
            policy.projects.get_mut("notes").unwrap().limits =
                vec![limit(LimitBy::Subject, requests, Tier::Isolate)];
        })
    };
    let authorization = bearer(300);
    let mut memory = Memory::default();
    assert_eq!(summary(&of(100).gate(), &call(&authorization), &mut memory, sample::NOW), PASSED);
    assert_eq!(summary(&of(0).gate(), &call(&authorization), &mut memory, sample::NOW), LIMITED);
    assert_eq!(summary(&of(100).gate(), &call(&authorization), &mut memory, sample::NOW), PASSED);
}
