//! Which upstream takes a request, what it is told, and what happens when it does not answer.

use alloc::{string::String, vec, vec::Vec};

use super::{bearer, call, gateway};
use crate::{
    decide::{Facts, LookedUp, Memory, ToUpstream, Verdict, decide, sample},
    policy::{Policy, Upstream},
    upstream_assertion::{ReceivedRequest, UpstreamAssertion},
};

fn two(policy: &mut Policy) {
    let api = policy.projects.get_mut("notes").unwrap().services.get_mut("api").unwrap();
    api.upstreams = vec![Upstream::new("http://a.internal"), Upstream::new("http://b.internal")];
}

fn sent(gateway: &sample::Sample, facts: &Facts<'_>, memory: &mut Memory) -> Result<ToUpstream, String> {
    match decide(&gateway.gate(), facts, memory, sample::NOW) {
        Verdict::Upstream(upstream) => Ok(upstream),
        other => Err(other.summary()),
    }
}

#[test]
fn a_safe_request_goes_to_another_upstream_and_no_other_request_does() {
    let gateway = gateway(two);
    let authorization = bearer(300);
    let after = |method, failed: &[&str], timed_out, content_length| {
        let looked_up =
            LookedUp { failed_upstreams: failed, upstream_timed_out: timed_out, ..LookedUp::default() };
        let facts = Facts { method, content_length, looked_up, ..call(&authorization) };
        sent(&gateway, &facts, &mut Memory::default()).map(|upstream| upstream.base)
    };
    assert_eq!(after("GET", &["http://a.internal"], false, None), Ok("http://b.internal".into()));
    assert_eq!(after("HEAD", &["http://b.internal"], true, None), Ok("http://a.internal".into()));
    assert_eq!(
        after("POST", &["http://a.internal"], false, None),
        Err("refuse 502 upstream-unavailable".into())
    );
    assert_eq!(
        after("DELETE", &["http://a.internal"], true, None),
        Err("refuse 504 upstream-timeout".into())
    );
    assert_eq!(
        after("OPTIONS", &["http://a.internal"], false, Some("5")),
        Err("refuse 502 upstream-unavailable".into())
    );
    let both = ["http://a.internal", "http://b.internal"];
    assert_eq!(after("GET", &both, false, None), Err("refuse 502 upstream-unavailable".into()));
}

#[test]
fn an_upstream_that_fails_is_left_alone_until_a_probe() {
    let gateway = gateway(two);
    let authorization = bearer(300);
    let mut memory = Memory::default();
    for _ in 0..3 {
        memory.upstream_failed("http://a.internal", sample::NOW);
    }
    assert_eq!(memory.ejected_upstreams(), 1);
    let mut bases: Vec<String> =
        (0..50).map(|_| sent(&gateway, &call(&authorization), &mut memory).unwrap().base).collect();
    bases.dedup();
    assert_eq!(bases, ["http://b.internal"]);
    let Verdict::Upstream(probe) =
        decide(&gateway.gate(), &call(&authorization), &mut memory, sample::NOW.plus_millis(2_000))
    else {
        panic!("a probe")
    };
    assert!(probe.report && probe.base == "http://a.internal");
    memory.upstream_answered("http://a.internal");
    assert_eq!(memory.ejected_upstreams(), 0);
}

#[test]
fn an_upstream_can_check_who_called_and_what() {
    let gateway = gateway(|_| ());
    let authorization = bearer(300);
    let facts = Facts { target: "/notes/files/v1/a?b=c", request_id: "r1", ..call(&authorization) };
    let upstream = sent(&gateway, &facts, &mut Memory::default()).unwrap();
    let (_, assertion) = upstream.set.iter().find(|(name, _)| *name == "x-gateway-assertion").unwrap();
    let received =
        ReceivedRequest { base: "http://files.internal/base", method: "GET", target: "/base/api/v1/a?b=c" };
    let key = sample::edge_key().verification_key();
    let verify =
        |received| UpstreamAssertion::verify(assertion, &key, sample::ISSUER, &received, sample::NOW);
    let claims = verify(received).unwrap();
    assert_eq!(
        (claims.sub.as_deref(), claims.token_id.as_deref(), claims.jti.as_str()),
        (Some("u1"), Some("t1"), "r1")
    );
    assert_eq!((claims.project.as_str(), claims.service.as_str()), ("notes", "files"));
    assert!(verify(ReceivedRequest { method: "POST", ..received }).is_err());
    assert!(verify(ReceivedRequest { target: "/base/api/v1/a", ..received }).is_err());
    assert!(verify(ReceivedRequest { base: "http://notes.internal", ..received }).is_err());
    // Nobody calls on a public route, and the upstream is told so.
    let public = Facts { target: "/notes/files/shared/a", authorization: None, ..facts };
    let upstream = sent(&gateway, &public, &mut Memory::default()).unwrap();
    let (_, assertion) = upstream.set.iter().find(|(name, _)| *name == "x-gateway-assertion").unwrap();
    let received = ReceivedRequest { target: "/base/shared/a", ..received };
    let claims = UpstreamAssertion::verify(assertion, &key, sample::ISSUER, &received, sample::NOW).unwrap();
    assert_eq!((claims.sub, claims.token_id), (None, None));
    // A service that did not ask for one gets none.
    let plain = sent(&gateway, &call(&authorization), &mut Memory::default()).unwrap();
    assert!(plain.set.iter().all(|(name, _)| *name != "x-gateway-assertion"));
}
