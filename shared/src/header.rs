//! Which request headers an upstream may believe. It may not trust a spelling: `_`, `.` and case are folded before a
//! name is judged, since servers fold them later (CVE-2026-39858, CVE-2025-64484).

use alloc::{string::String, vec::Vec};

/// Prefixes that only the gateway may set.
const RESERVED_PREFIXES: [&str; 3] = ["x-gateway-", "x-forwarded-", "x-original-"];

/// Names that only the gateway may set, or that carry the gateway's own credentials.
const RESERVED_NAMES: [&str; 12] = [
    "authorization",
    "client-cert",
    "client-cert-chain",
    "connection",
    "forwarded",
    "proxy-authorization",
    "true-client-ip",
    "x-client-ip",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-service-name",
];

/// Whether a header of this name that came in must be deleted before the request goes to an upstream.
///
/// `Connection` is among them, so that hop-by-hop names listed in it cannot remove what the gateway sets (CVE-2024-45410).
pub fn is_reserved(name: &str) -> bool {
    let folded: String = name
        .chars()
        .map(|character| match character {
            '_' | '.' => '-',
            other => other.to_ascii_lowercase(),
        })
        .collect();
    RESERVED_NAMES.contains(&folded.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
}

/// Those of `names` that must be deleted.
pub fn reserved<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.filter(|name| is_reserved(name)).collect()
}

/// Whether `value` may stand in a header: visible ASCII, spaces and tabs (RFC 9110 §5.5), so that no claim can begin a header of its own.
pub fn is_field_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attacks_3_and_4_every_spelling_is_reserved() {
        for name in [
            "X-Gateway-Subject",
            "x_gateway_subject",
            "X.Gateway.Subject",
            "x-Gateway_sCopes",
            "X-Gateway-Edge-Assertion",
            "Authorization",
            "X-Forwarded-For",
            "x_forwarded_host",
            "Forwarded",
            "X-Original-URL",
            "Connection",
            "X_Real_IP",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["accept", "content-type", "x-api-version", "cookie", "x-gatewayish", "user-agent"] {
            assert!(!is_reserved(name), "{name}");
        }
        assert_eq!(reserved(["Accept", "X_Gateway_Project"].into_iter()), ["X_Gateway_Project"]);
    }

    #[test]
    fn a_field_value_cannot_begin_a_new_line() {
        assert!(is_field_value("notes:read notes:write"));
        for value in ["a\r\nX-Gateway-Subject: root", "a\0", "é"] {
            assert!(!is_field_value(value), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_cannot_be_escaped(name in "x[-_.]gateway[-_.][a-z._-]{0,12}", upper in any::<bool>()) {
            let name = if upper { name.to_ascii_uppercase() } else { name };
            prop_assert!(is_reserved(&name));
        }
    }
}
