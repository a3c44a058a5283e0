//! W3C Trace Context: the trace that a request belongs to. It may not judge a request by it: a caller can write anything there.

use alloc::{format, string::String};

/// The header that carries it.
pub const HEADER: &str = "traceparent";

/// A trace, and the edge's own span in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id: 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// The edge's span: 16 lower-case hexadecimal digits.
    pub span_id: String,
    /// The caller's flags: two hexadecimal digits; `01` says that it is recorded.
    pub flags: String,
}

impl TraceContext {
    /// The caller's trace when its `traceparent` is well formed (§3.2.2), else a new one; `request_id` is fresh and random.
    pub fn continue_or_begin(traceparent: Option<&str>, request_id: &str) -> Self {
        let mut fresh = String::with_capacity(32);
        fresh.extend(request_id.chars().filter(|character| *character != '-'));
        let fresh = if is_hex(&fresh, 32) { fresh } else { format!("{:032x}", 1) };
        let span_id = fresh.get(16..).unwrap_or_default().into();
        match traceparent.and_then(parse) {
            Some((trace_id, flags)) => Self { trace_id: trace_id.into(), span_id, flags: flags.into() },
            // Nobody asked for this trace to be recorded.
            None => Self { trace_id: fresh, span_id, flags: "00".into() },
        }
    }

    /// The `traceparent` for whoever is called next.
    pub fn traceparent(&self) -> String {
        let Self { trace_id, span_id, flags } = self;
        let mut text = String::with_capacity(55);
        for part in ["00-", trace_id, "-", span_id, "-", flags] {
            text.push_str(part);
        }
        text
    }
}

/// Trace id and flags of a `traceparent`. A later version may have more fields behind these; version `ff` is invalid.
fn parse(text: &str) -> Option<(&str, &str)> {
    let mut fields = text.split('-');
    let (version, trace_id, parent_id, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let has_more = fields.next().is_some();
    let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
    let good = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || !has_more)
        && is_hex(trace_id, 32)
        && !is_zero(trace_id)
        && is_hex(parent_id, 16)
        && !is_zero(parent_id)
        && is_hex(flags, 2);
    good.then_some((trace_id, flags))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const CALLERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_callers_trace_goes_on_with_a_span_of_our_own() {
        let context = TraceContext::continue_or_begin(Some(CALLERS), REQUEST);
        assert_eq!(context.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-a16570867728950e-01");
        let later = TraceContext::continue_or_begin(
            Some("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"),
            REQUEST,
        );
        assert_eq!(later.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn a_malformed_one_begins_a_new_trace() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y",
        ] {
            let context = TraceContext::continue_or_begin(Some(text), REQUEST);
            assert_eq!(
                context.traceparent(),
                "00-0f8fad5bd9cb469fa16570867728950e-a16570867728950e-00",
                "{text:?}"
            );
        }
        assert_eq!(TraceContext::continue_or_begin(None, "r1").trace_id.len(), 32);
    }
}
