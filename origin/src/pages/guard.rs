//! A state change must come from a page of ours (Fetch metadata, and `Origin` for browsers without it). What neither header says
//! anything about is no browser, and cannot be tricked by another site; forms of a session carry a token besides.

use axum::http::{HeaderMap, header};

/// A form that another site sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this form was sent from another site")]
pub struct ForeignForm;

/// Refuses a form that another site sent. `issuer` is the origin that browsers know the gateway by.
pub fn require_own_form(headers: &HeaderMap, issuer: &str) -> Result<(), ForeignForm> {
    // Sent twice, or not text: not what a browser does, so not ours.
    let single = |name: header::HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| ForeignForm),
            (Some(_), Some(_)) => Err(ForeignForm),
        }
    };
    let site = single(header::HeaderName::from_static("sec-fetch-site"))?;
    let origin = single(header::ORIGIN)?;
    let site_is_own = matches!(site, None | Some("same-origin" | "none"));
    let origin_is_own = origin.is_none_or(|origin| origin == issuer);
    if site_is_own && origin_is_own { Ok(()) } else { Err(ForeignForm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_may_send_forms() {
        let judge = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            require_own_form(&headers, "https://auth.test").is_ok()
        };
        assert!(judge(&[]));
        assert!(judge(&[("sec-fetch-site", "same-origin"), ("origin", "https://auth.test")]));
        assert!(judge(&[("origin", "https://auth.test")]));
        for foreign in [
            &[("sec-fetch-site", "cross-site"), ("origin", "https://auth.test")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            &[("origin", "https://auth.test.evil.test")],
            &[("origin", "http://auth.test")],
            &[("origin", "https://auth.test"), ("origin", "https://evil.test")],
        ] {
            assert!(!judge(foreign), "{foreign:?}");
        }
    }
}
