//! Which request headers an upstream may believe. It may not trust a spelling: `_`, `.` and case are folded before a
//! name is judged, since servers fold them later (CVE-2026-39858, CVE-2025-64484).

use alloc::vec::Vec;

/// Prefixes that only the gateway may set.
const RESERVED_PREFIXES: [&str; 3] = ["x-gateway-", "x-forwarded-", "x-original-"];

/// Names that only the gateway may set, or that carry the gateway's own credentials.
const RESERVED_NAMES: [&str; 13] = [
    "authorization",
    "client-cert",
    "client-cert-chain",
    "connection",
    "dpop",
    "forwarded",
    "proxy-authorization",
    "true-client-ip",
    "x-client-ip",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-service-name",
];

/// What of a request's headers the origin gets; whatever else it must know is in the edge's assertion.
pub const TO_ORIGIN: [&str; 15] = [
    "accept",
    "accept-language",
    "authorization",
    "content-type",
    "cookie",
    "if-match",
    "origin",
    "referer",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "user-agent",
    "x-service-name",
    WEBHOOK_SECRET,
];

/// Carries a webhook's secret.
pub const WEBHOOK_SECRET: &str = "x-webhook-secret";

/// What the edge sets on a response of the gateway's own: no sniffing, and HTTPS only where the issuer is (RFC 6797 §7.2).
pub fn security(issuer: &str) -> Vec<(&'static str, &'static str)> {
    let mut headers = alloc::vec![("x-content-type-options", "nosniff")];
    if issuer.starts_with("https://") {
        headers.push(("strict-transport-security", "max-age=31536000"));
    }
    headers
}

/// What the edge sets on a response of the origin: besides [`security`], nothing that says nothing of caches, or brings a
/// cookie, is stored on the way (CVE-2026-71324).
pub fn of_origin_response(
    issuer: &str,
    cache_control: Option<&str>,
    sets_cookie: bool,
) -> Vec<(&'static str, &'static str)> {
    let mut headers = security(issuer);
    if sets_cookie || cache_control.is_none() {
        headers.push(("cache-control", "no-store"));
    }
    headers
}

/// Whether a header of this name that came in must be deleted before the request goes to an upstream.
///
/// `Connection` is among them, so that hop-by-hop names listed in it cannot remove what the gateway sets (CVE-2024-45410).
pub fn is_reserved(name: &str) -> bool {
    // Folded as it is compared: every header of every request comes by here.
    let folded = name.bytes().map(|byte| match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    });
    let begins_with = |text: &str| {
        name.len() >= text.len() && folded.clone().zip(text.bytes()).all(|(ours, its)| ours == its)
    };
    RESERVED_NAMES.iter().any(|reserved| reserved.len() == name.len() && begins_with(reserved))
        || RESERVED_PREFIXES.iter().any(|prefix| begins_with(prefix))
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
    fn the_origin_gets_nothing_that_an_upstream_may_not_believe() {
        for name in TO_ORIGIN {
            // Client authentication is the origin's to judge, and so is whether whoever names a service may.
            assert!(!is_reserved(name) || matches!(name, "authorization" | "x-service-name"), "{name}");
        }
    }

    #[test]
    fn attack_25_a_response_with_a_cookie_is_not_stored() {
        let cache_control = |given, sets_cookie| {
            let headers = of_origin_response("https://auth.test", given, sets_cookie);
            headers.into_iter().find(|(name, _)| *name == "cache-control").map(|(_, value)| value)
        };
        assert_eq!(cache_control(None, false), Some("no-store"));
        assert_eq!(cache_control(Some("public, max-age=60"), true), Some("no-store"));
        assert_eq!(cache_control(Some("public, max-age=60"), false), None);
        assert!(security("https://auth.test").iter().any(|(name, _)| *name == "strict-transport-security"));
        assert!(!security("http://127.0.0.1").iter().any(|(name, _)| *name == "strict-transport-security"));
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
