//! The plan of a forwarding, as the entry acts on it, line by line: `f` and flags, the base URL, path and query, the access log's line,
//! the bounds, how many lines are edits of the answer, those, and then the edits of the request. It may not choose anything: the
//! verdict did.
//!
//! Flags: `c` the answer's cookies must be looked at, `r` an answer that is no failure must be reported too, `u` the connection is to
//! become another protocol's. The bounds are `timeout_millis|max_body_bytes`, or an empty line where there are none. An edit of the
//! answer is `name` to delete, `name:value` to set and `:name:value` to add a value. The edits of the request are a line
//! with a letter for each header to set ([`names`]), their values, a line each, and then the names to delete, which is done first.

use core::fmt::Write as _;

use shared::decide::ToUpstream;

/// The headers that a plan may set, in the order of their letters, from `A`. That a name is not written out saves the entry from
/// cutting it out of a line, for every header of every request.
const NAMES: [&str; 12] = [
    "x-gateway-project",
    "x-gateway-service",
    "x-gateway-request-id",
    "x-forwarded-for",
    "traceparent",
    "x-gateway-scopes",
    "x-gateway-workspace",
    "x-gateway-token-id",
    "x-gateway-subject",
    "x-gateway-client",
    "x-gateway-assertion",
    "cookie",
];

/// The names of the letters, a line each.
pub(crate) fn names() -> String {
    NAMES.join("\n")
}

/// Writes the plan; `None` when it would set a header that has no letter. No part of it can hold a line end: URL and names are canonical,
/// values are field values, the log is JSON.
pub(crate) fn write(upstream: &ToUpstream, log: &str) -> Option<String> {
    let mut plan = String::with_capacity(768);
    plan.push('f');
    for (flag, is_set) in
        [('c', upstream.may_set_cookies), ('r', upstream.report), ('u', upstream.is_upgrade)]
    {
        if is_set {
            plan.push(flag);
        }
    }
    for line in [upstream.base.as_str(), &upstream.target, log] {
        plan.push('\n');
        plan.push_str(line);
    }
    plan.push('\n');
    write_bounds(&mut plan, upstream);
    let answer = &upstream.answer;
    // Writing to a String cannot fail.
    let _ = write!(
        plan,
        "\n{}",
        answer.delete.len().saturating_add(answer.set.len()).saturating_add(answer.append.len())
    );
    for name in &answer.delete {
        let _ = write!(plan, "\n{name}");
    }
    for (name, value) in &answer.set {
        let _ = write!(plan, "\n{name}:{value}");
    }
    for (name, value) in &answer.append {
        let _ = write!(plan, "\n:{name}:{value}");
    }
    plan.push('\n');
    for (name, _) in &upstream.set {
        let (_, letter) = NAMES.iter().zip('A'..).find(|(known, _)| *known == name)?;
        plan.push(letter);
    }
    for line in upstream.set.iter().map(|(_, value)| value).chain(&upstream.delete) {
        plan.push('\n');
        plan.push_str(line);
    }
    Some(plan)
}

fn write_bounds(plan: &mut String, upstream: &ToUpstream) {
    let ToUpstream { timeout_millis, max_body_bytes, .. } = upstream;
    if timeout_millis.is_none() && max_body_bytes.is_none() {
        return;
    }
    if let Some(millis) = timeout_millis {
        let _ = write!(plan, "{millis}");
    }
    plan.push('|');
    if let Some(bytes) = max_body_bytes {
        let _ = write!(plan, "{bytes}");
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
            may_set_cookies: false,
        }
    }

    #[test]
    fn headers_to_set_stand_as_letters_before_their_values() {
        assert_eq!(
            write(&to_upstream(), "{}").unwrap(),
            "f\nhttp://notes.internal\n/a?b\n{}\n\n0\nIF\nu1\n\nauthorization\nx_gateway_subject"
        );
        assert_eq!(names().split('\n').nth(8), Some("x-gateway-subject"));
        let set = vec![("x-unheard-of", String::new())];
        assert_eq!(write(&ToUpstream { set, ..to_upstream() }, ""), None);
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
            write(&upstream, "").unwrap(),
            "f\nhttp://notes.internal\n/a?b\n\n\n3\nserver\naccess-control-allow-origin:*\n:vary:Origin\n\nauthorization\nx_gateway_subject"
        );
    }

    #[test]
    fn bounds_stand_in_one_line_and_flags_in_the_first() {
        let line = |upstream: ToUpstream, at| {
            write(&upstream, "").unwrap().lines().nth(at).unwrap_or_default().to_owned()
        };
        assert_eq!(line(ToUpstream { timeout_millis: Some(1500), ..to_upstream() }, 4), "1500|");
        assert_eq!(line(ToUpstream { max_body_bytes: Some(0), ..to_upstream() }, 4), "|0");
        assert_eq!(line(to_upstream(), 4), "");
        let flagged = ToUpstream { report: true, is_upgrade: true, may_set_cookies: true, ..to_upstream() };
        assert_eq!(line(flagged, 0), "fcru");
    }
}
