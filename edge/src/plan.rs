//! The plan of a forwarding, as the entry acts on it, line by line: the base URL, path and query, the access log's line, the
//! bounds, how many lines are edits of the answer, those, and then the edits of the request. It may not choose anything: the
//! verdict did.
//!
//! The bounds are `timeout_millis|max_body_bytes|flags`, or an empty line where there are none. Flags: `r` an answer that
//! is no failure must be reported too, `u` the connection is to become another protocol's. An edit is `name` to delete,
//! `name:value` to set and `:name:value` to add a value.

use core::fmt::Write as _;

use shared::decide::ToUpstream;

/// Writes the plan. No part of it can hold a line end: URL and names are canonical, values are field values, the log is JSON.
pub(crate) fn write(upstream: &ToUpstream, log: &str) -> String {
    let mut plan = String::with_capacity(512);
    for line in [upstream.base.as_str(), &upstream.target, log] {
        plan.push_str(line);
        plan.push('\n');
    }
    write_bounds(&mut plan, upstream);
    let answer = &upstream.answer;
    // Writing to a String cannot fail.
    let _ = write!(
        plan,
        "\n{}",
        answer.delete.len().saturating_add(answer.set.len()).saturating_add(answer.append.len())
    );
    write_edits(&mut plan, answer.delete.iter().copied(), &answer.set);
    for (name, value) in &answer.append {
        let _ = write!(plan, "\n:{name}:{value}");
    }
    write_edits(&mut plan, upstream.delete.iter().map(String::as_str), &upstream.set);
    plan
}

fn write_bounds(plan: &mut String, upstream: &ToUpstream) {
    let ToUpstream { timeout_millis, max_body_bytes, report, is_upgrade, .. } = upstream;
    if timeout_millis.is_none() && max_body_bytes.is_none() && !report && !is_upgrade {
        return;
    }
    if let Some(millis) = timeout_millis {
        let _ = write!(plan, "{millis}");
    }
    plan.push('|');
    if let Some(bytes) = max_body_bytes {
        let _ = write!(plan, "{bytes}");
    }
    plan.push('|');
    if *report {
        plan.push('r');
    }
    if *is_upgrade {
        plan.push('u');
    }
}

fn write_edits<'a>(plan: &mut String, delete: impl Iterator<Item = &'a str>, set: &[(&'static str, String)]) {
    for name in delete {
        plan.push('\n');
        plan.push_str(name);
    }
    for (name, value) in set {
        plan.push('\n');
        plan.push_str(name);
        plan.push(':');
        plan.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use shared::decide::AnswerEdits;

    use super::*;

    fn to_upstream() -> ToUpstream {
        ToUpstream {
            base: "http://notes.internal".into(),
            target: "/a?b".into(),
            delete: vec!["authorization".into(), "x_gateway_subject".into()],
            set: vec![("x-gateway-subject", "u1".into()), ("x-gateway-scopes", String::new())],
            answer: AnswerEdits::default(),
            timeout_millis: None,
            max_body_bytes: None,
            report: false,
            is_upgrade: false,
        }
    }

    #[test]
    fn deletes_come_before_sets() {
        assert_eq!(
            write(&to_upstream(), "{}"),
            "http://notes.internal\n/a?b\n{}\n\n0\nauthorization\nx_gateway_subject\nx-gateway-subject:u1\nx-gateway-scopes:"
        );
    }

    #[test]
    fn edits_of_the_answer_come_before_those_of_the_request() {
        let answer = AnswerEdits {
            delete: vec!["server"],
            set: vec![("access-control-allow-origin", "*".into())],
            append: vec![("vary", "Origin".into())],
        };
        let upstream = ToUpstream { answer, set: Vec::new(), ..to_upstream() };
        assert_eq!(
            write(&upstream, ""),
            "http://notes.internal\n/a?b\n\n\n3\nserver\naccess-control-allow-origin:*\n:vary:Origin\nauthorization\nx_gateway_subject"
        );
    }

    #[test]
    fn bounds_stand_in_one_line() {
        let bounds =
            |upstream: ToUpstream| write(&upstream, "").lines().nth(3).unwrap_or_default().to_owned();
        assert_eq!(bounds(ToUpstream { timeout_millis: Some(1500), ..to_upstream() }), "1500||");
        assert_eq!(bounds(ToUpstream { max_body_bytes: Some(0), ..to_upstream() }), "|0|");
        assert_eq!(bounds(ToUpstream { report: true, is_upgrade: true, ..to_upstream() }), "||ru");
        assert_eq!(bounds(to_upstream()), "");
    }
}
