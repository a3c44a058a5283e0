//! Client certificates as those who ended TLS tell of them. It may not judge who a certificate stands for.

use shared::base64url;

/// The longest certificate that is looked at, as base64.
const MAX_BASE64: usize = 16 * 1024;

/// A certificate that the caller proved to have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    /// Its DER encoding.
    Der(Vec<u8>),
    /// The SHA-256 of its DER encoding.
    Thumbprint([u8; 32]),
}

/// What Cloudflare says (`request.cf.tlsClientAuth`): `certVerified certRevoked certFingerprintSHA256`. Verified alone is not enough:
/// a revoked certificate is verified as well.
pub(crate) fn of_cloudflare(text: &str) -> Option<Presented> {
    let mut words = text.split(' ');
    let (verified, revoked, fingerprint) = (words.next()?, words.next()?, words.next()?);
    let is_good = verified == "SUCCESS" && revoked == "0" && words.next().is_none();
    is_good.then(|| thumbprint(fingerprint)).flatten().map(Presented::Thumbprint)
}

/// The value of `Client-Cert` (RFC 9440 §2.2): a byte sequence (RFC 8941 §3.3.5), base64 between colons.
pub(crate) fn of_header(value: &str) -> Option<Presented> {
    let base64 = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    if base64.is_empty() || base64.len() > MAX_BASE64 {
        return None;
    }
    // The same alphabet but for two characters, and padded.
    if base64.contains(['-', '_']) {
        return None;
    }
    let unpadded = base64.trim_end_matches('=');
    if base64.len().checked_rem(4) != Some(0) || base64.len().saturating_sub(unpadded.len()) > 2 {
        return None;
    }
    base64url::decode(&unpadded.replace('+', "-").replace('/', "_")).map(Presented::Der)
}

fn thumbprint(hexadecimal: &str) -> Option<[u8; 32]> {
    if hexadecimal.len() != 64 || !hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut thumbprint = [0; 32];
    for (index, slot) in thumbprint.iter_mut().enumerate() {
        let start = index.saturating_mul(2);
        let digits = hexadecimal.get(start..start.saturating_add(2))?;
        *slot = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(thumbprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_revoked_or_not_verified_is_none() {
        let fingerprint = "0f".repeat(32);
        assert_eq!(of_cloudflare(&format!("SUCCESS 0 {fingerprint}")), Some(Presented::Thumbprint([15; 32])));
        for text in [
            format!("SUCCESS 1 {fingerprint}"),
            format!("FAILED:self signed certificate 0 {fingerprint}"),
            format!("NONE 0 {fingerprint}"),
            format!("SUCCESS undefined {fingerprint}"),
            format!("SUCCESS 0 {fingerprint} 0"),
            "SUCCESS 0 ".to_owned(),
            format!("SUCCESS 0 +f{}", "0f".repeat(31)),
            String::new(),
        ] {
            assert_eq!(of_cloudflare(&text), None, "{text}");
        }
    }

    #[test]
    fn a_header_is_base64_between_colons() {
        assert_eq!(of_header(":AQID:"), Some(Presented::Der(vec![1, 2, 3])));
        assert_eq!(of_header(" :+/8=: "), Some(Presented::Der(vec![0xfb, 0xff])));
        for value in
            ["", ":", "::", "AQID", ":AQID", ":AQI:", ":-_8=:", ":AQID:, :AQID:", ":A===:", ":AQID====:"]
        {
            assert_eq!(of_header(value), None, "{value}");
        }
        assert_eq!(of_header(&format!(":{}:", "AAAA".repeat(5_000))), None);
    }
}
