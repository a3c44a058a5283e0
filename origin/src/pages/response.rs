//! The headers of a page. No script, no frame, no inline style, no cache, nothing of a third party.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use url::{Host, Url};

/// Where the forms of a page may lead, by themselves or by the redirects that answer them: Chromium holds `form-action` against
/// both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormTargets {
    /// There is no form.
    None,
    /// Forms stay here.
    Own,
    /// A form may end in a redirect to this client's redirect URI.
    OwnAnd(String),
}

impl FormTargets {
    /// Own forms, and a redirect to `redirect_uri` when there is one.
    pub fn own_and(redirect_uri: Option<&str>) -> Self {
        redirect_uri.map_or(Self::Own, |uri| Self::OwnAnd(uri.to_owned()))
    }

    fn directive(&self) -> String {
        match self {
            Self::None => "'none'".to_owned(),
            Self::Own => "'self'".to_owned(),
            Self::OwnAnd(redirect_uri) => match source_of(redirect_uri) {
                Some(source) => format!("'self' {source}"),
                None => "'self'".to_owned(),
            },
        }
    }
}

/// The CSP source expression that covers a redirect URI and as little else as the grammar can say.
fn source_of(redirect_uri: &str) -> Option<String> {
    let url = Url::parse(redirect_uri).ok()?;
    let scheme = url.scheme();
    let is_web = matches!(scheme, "http" | "https");
    let source = match (is_web, url.host()) {
        (true, Some(Host::Domain(_) | Host::Ipv4(_))) => url.origin().ascii_serialization(),
        // CSP has no IPv6 hosts, and a native app's own scheme (RFC 8252, 7.1) has no host at all.
        _ => format!("{scheme}:"),
    };
    // Nothing that could end the directive; a scheme or an origin never has it, and this keeps it so.
    source.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',')).then_some(source)
}

/// A page.
pub fn page(status: StatusCode, template: &impl Template, forms: &FormTargets) -> Response {
    let body = match template.render() {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action {}; base-uri 'none'; frame-ancestors 'none'",
        forms.directive()
    );
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // Not no-referrer: with it browsers send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = (status, fixed, body).into_response();
    let headers = response.headers_mut();
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A redirect after a form, or to the page that is next: 303, so that a POST is never repeated elsewhere (RFC 9700, 4.12).
pub fn see_other(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => (
            StatusCode::SEE_OTHER,
            [
                (header::LOCATION, location),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
                (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
                // Nothing is shown; a browser that would show it all the same finds nothing allowed.
                (
                    header::CONTENT_SECURITY_POLICY,
                    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
                ),
            ],
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_lead_to_exactly_the_origin_of_the_redirect_uri() {
        for (uri, directive) in [
            ("http://127.0.0.1:9101/callback?x=1", "'self' http://127.0.0.1:9101"),
            ("https://app.example.com/cb", "'self' https://app.example.com"),
            ("https://app.example.com:8443/cb", "'self' https://app.example.com:8443"),
            ("http://[::1]:9101/cb", "'self' http:"),
            ("com.example.app:/cb", "'self' com.example.app:"),
            ("https://b\u{fc}cher.example/cb", "'self' https://xn--bcher-kva.example"),
            ("not a uri", "'self'"),
        ] {
            assert_eq!(FormTargets::OwnAnd(uri.to_owned()).directive(), directive, "{uri}");
        }
        assert_eq!(FormTargets::Own.directive(), "'self'");
        assert_eq!(FormTargets::None.directive(), "'none'");
    }
}
