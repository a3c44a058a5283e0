//! The plan of a forwarding, as the entry acts on it: the URL, the access log's line, then one header a line, `name` to delete
//! and `name:value` to set. It may not choose a header: the verdict did.

use shared::decide::ToUpstream;

/// Writes the plan. No part of it can hold a line end: URL and names are canonical, values are field values, the log is JSON.
pub(crate) fn write(upstream: &ToUpstream, log: &str) -> String {
    let mut plan = String::with_capacity(512);
    plan.push_str(&upstream.base);
    plan.push_str(&upstream.target);
    plan.push('\n');
    plan.push_str(log);
    for name in &upstream.delete {
        plan.push('\n');
        plan.push_str(name);
    }
    for (name, value) in &upstream.set {
        plan.push('\n');
        plan.push_str(name);
        plan.push(':');
        plan.push_str(value);
    }
    plan
}

#[cfg(test)]
mod tests {
    use shared::decide::AnswerEdits;

    use super::*;

    #[test]
    fn deletes_come_before_sets() {
        let upstream = ToUpstream {
            base: "http://notes.internal".into(),
            target: "/a?b".into(),
            delete: vec!["authorization".into(), "x_gateway_subject".into()],
            set: vec![("x-gateway-subject", "u1".into()), ("x-gateway-scopes", String::new())],
            answer: AnswerEdits::default(),
            timeout_millis: None,
            max_body_bytes: None,
            report: false,
            is_upgrade: false,
        };
        assert_eq!(
            write(&upstream, "{}"),
            "http://notes.internal/a?b\n{}\nauthorization\nx_gateway_subject\nx-gateway-subject:u1\nx-gateway-scopes:"
        );
    }
}
