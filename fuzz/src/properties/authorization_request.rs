//! Authorization requests and redirect URIs. An input is a query; or two URIs, one a line.

use shared::{
    authorization_request::{AuthorizationFault, AuthorizationRequest},
    decide::sample,
    form::Parameters,
    policy::Policy,
    redirect_uri,
};
use std::sync::LazyLock;
use url::{Host, Url};

static POLICY: LazyLock<Policy> = LazyLock::new(sample::policy);

/// Nobody is sent anywhere but to an address that is registered for the client.
pub fn hold(input: &[u8]) {
    if let Some((registered, requested)) = super::split_line(input)
        && let Ok(requested) = core::str::from_utf8(requested)
    {
        uris(registered, requested);
    }
    let Ok(parameters) = Parameters::parse(input) else { return };
    match AuthorizationRequest::read(&POLICY, &parameters) {
        Ok(request) => {
            let client = &POLICY.clients[&request.client_id];
            assert_eq!(parameters.get("client_id"), Some(request.client_id.as_str()));
            assert!(is_registered(&request.redirect_uri));
            assert!(client.redirect_uris.iter().any(|uri| redirect_uri::matches(uri, &request.redirect_uri)));
            assert!(client.scopes.contains_all(&request.scopes));
            let project = format!("{}/{}", sample::ISSUER, client.project);
            assert!(request.audience == project || request.audience.starts_with(&format!("{project}/")));
            assert_eq!(request.state.as_deref(), parameters.get("state"));
            assert_eq!(Some(request.code_challenge.to_text().as_str()), parameters.get("code_challenge"));
            assert_eq!(parameters.get("code_challenge_method"), Some("S256"));
        }
        Err(AuthorizationFault::Redirect(redirect)) => {
            assert!(is_registered(&redirect.redirect_uri));
            let location = redirect.location(sample::ISSUER);
            assert!(location.starts_with(&redirect.redirect_uri));
            assert!(location.bytes().all(|byte| matches!(byte, b'!'..=b'~')), "{location:?}");
            let url = Url::parse(&location).expect("a location is a URL");
            let sent: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let value =
                |name: &str| sent.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            assert_eq!(value("error"), Some(redirect.error.code()));
            assert_eq!(value("iss"), Some(sample::ISSUER));
            assert_eq!(value("state"), redirect.state.as_deref());
        }
        Err(AuthorizationFault::Page(_)) => {}
    }
}

fn is_registered(uri: &str) -> bool {
    let mut registered = POLICY.clients.values().flat_map(|client| &client.redirect_uris);
    registered.any(|registered| redirect_uri::matches(registered, uri))
}

/// Matching is the exact string or a loopback port; what may be registered cannot run code or lead elsewhere.
fn uris(left: &str, right: &str) {
    assert!(redirect_uri::matches(left, left));
    assert_eq!(redirect_uri::matches(left, right), redirect_uri::matches(right, left));
    if left != right && redirect_uri::matches(left, right) {
        assert!(redirect_uri::has_any_port(left) && redirect_uri::has_any_port(right));
        for uri in [left, right] {
            // An address with a fragment or a stray character is never registered, so only its prefix counts.
            if let Ok(url) = Url::parse(uri) {
                assert_eq!(url.scheme(), "http");
                assert!(is_loopback(&url), "{uri:?}");
                assert!(url.username().is_empty() && url.password().is_none());
            }
        }
    }
    for uri in [left, right] {
        if redirect_uri::may_be_registered(uri) {
            registrable(uri);
        }
    }
}

fn registrable(uri: &str) {
    assert!(uri.bytes().all(|byte| matches!(byte, b'!'..=b'~')));
    let Ok(url) = Url::parse(uri) else { return };
    assert_eq!(url.fragment(), None);
    assert!(url.username().is_empty() && url.password().is_none(), "{uri:?}");
    match url.scheme() {
        "https" => assert!(url.host().is_some()),
        "http" => assert!(is_loopback(&url), "{uri:?}"),
        scheme => assert!(scheme.contains('.'), "{uri:?}"),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    }
}
