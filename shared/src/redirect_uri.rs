//! Redirect URIs: an exact string, or a loopback address on any port. It may not resolve, normalise or match by prefix
//! (RFC 9700 §4.1.3, RFC 8252 §7.3).

/// Whether `requested` is the registered URI, byte for byte, or differs from a registered loopback address in the port alone.
pub fn matches(registered: &str, requested: &str) -> bool {
    if registered == requested {
        return true;
    }
    match (loopback_parts(registered), loopback_parts(requested)) {
        (Some(registered), Some(requested)) => registered == requested,
        _ => false,
    }
}

/// Whether any port is accepted for this registered URI, so that the one that was used cannot be listed.
pub fn has_any_port(registered: &str) -> bool {
    loopback_parts(registered).is_some()
}

/// Address and rest of `http://127.0.0.1[:port]…` or `http://[::1][:port]…`; `localhost` is a name and does not count.
fn loopback_parts(uri: &str) -> Option<(&'static str, &str)> {
    let (address, rest) = ["http://127.0.0.1", "http://[::1]"]
        .into_iter()
        .find_map(|address| uri.strip_prefix(address).map(|rest| (address, rest)))?;
    let rest = match rest.strip_prefix(':') {
        Some(after_colon) => {
            let digits = after_colon.bytes().take_while(u8::is_ascii_digit).count();
            let (port, rest) = after_colon.split_at_checked(digits)?;
            port.parse::<u16>().ok()?;
            rest
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with('/') || rest.starts_with('?')).then_some((address, rest))
}

/// Whether a URI may be registered: absolute, without fragment, user information or a scheme that runs code
/// (RFC 6749 §3.1.2, RFC 9700 §4.1); plain `http` only on a loopback address.
pub fn may_be_registered(uri: &str) -> bool {
    let visible = uri.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
    if !visible || uri.contains(['#', '\\', '"', '<', '>', '*']) {
        return false;
    }
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let well_formed = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let authority = rest.strip_prefix("//").and_then(authority);
    if authority.is_some_and(|authority| authority.contains('@')) {
        return false;
    }
    match scheme.to_ascii_lowercase().as_str() {
        "https" => authority.is_some_and(|authority| !authority.is_empty()),
        "http" => loopback_parts(uri).is_some(),
        "javascript" | "data" | "vbscript" | "file" | "blob" | "about" | "view-source" => false,
        // A private-use scheme must look like a reversed domain name (RFC 8252 §7.1).
        _ => well_formed && scheme.contains('.') && !rest.is_empty(),
    }
}

fn authority(rest: &str) -> Option<&str> {
    rest.split(['/', '?']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_12_nothing_but_the_exact_string() {
        let registered = "https://app.test/cb";
        assert!(matches(registered, registered));
        for other in [
            "https://app.test/cb/",
            "https://app.test/cb?x=1",
            "https://app.test/cb#x",
            "https://app.test/CB",
            "https://app.test:443/cb",
            "https://app.test/cb/../evil",
            "https://app.test@evil.test/cb",
            "https://app.test.evil.test/cb",
            "http://app.test/cb",
            " https://app.test/cb",
            "",
        ] {
            assert!(!matches(registered, other), "{other}");
        }
    }

    #[test]
    fn a_loopback_address_takes_any_port_and_nothing_else() {
        let registered = "http://127.0.0.1/callback";
        for other in ["http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback"] {
            assert!(matches(registered, other), "{other}");
        }
        assert!(matches("http://[::1]:8000/callback", "http://[::1]:9/callback"));
        for other in [
            "http://127.0.0.1:1/other",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:1x/callback",
            "http://127.0.0.1.evil.test/callback",
            "http://127.0.0.1:80@evil.test/callback",
            "http://[::1]:80/callback",
            "http://localhost:80/callback",
            "https://127.0.0.1:80/callback",
        ] {
            assert!(!matches(registered, other), "{other}");
        }
        assert!(!matches("http://localhost/callback", "http://localhost:80/callback"));
    }

    #[test]
    fn dangerous_uris_are_not_registered() {
        for uri in ["https://app.test/cb", "http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb"] {
            assert!(may_be_registered(uri), "{uri}");
        }
        for uri in [
            "http://app.test/cb",
            "http://localhost/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://user@app.test/cb",
            "com.example.app://user@host/cb",
            "https://app.test/cb#fragment",
            "https:///cb",
            "https://app.test/\r\nx",
            "https://*.app.test/cb",
            "myapp:/cb",
            "/cb",
            "",
        ] {
            assert!(!may_be_registered(uri), "{uri}");
        }
    }
}
