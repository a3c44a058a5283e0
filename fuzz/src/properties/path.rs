//! Paths (`shared::path`). An input is a path; or a URL and a `Host`, one a line.

use shared::path::{CanonicalPath, target_of_url};
use url::Url;

/// A canonical path has one reading, also to a parser of another make, and forwarding changes nothing of it.
pub fn hold(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    if let Some((url, host)) = text.split_once('\n') {
        target_begins_after_the_host(url, host);
    }
    let Ok(path) = CanonicalPath::parse(text) else { return };
    let forwarded = path.forwarded_after(0);
    let again = CanonicalPath::parse(&forwarded).expect("what is forwarded is canonical");
    assert_eq!(again, path, "what is forwarded reads as what was matched");
    assert_eq!(again.forwarded_after(0), forwarded, "one encoding");

    let matched = path.matched_after(0);
    assert!(matched.starts_with('/') && !matched.contains("//") && !matched.contains('\\'), "{matched:?}");
    assert!(matched.split('/').all(|segment| segment != "." && segment != ".."), "{matched:?}");
    assert!(matched.bytes().all(|byte| byte >= 0x20 && byte != 0x7f), "{matched:?}");
    assert!(forwarded.bytes().all(|byte| matches!(byte, b'!'..=b'~')), "{forwarded:?}");

    // What `fetch` makes of it: the URL standard's parser must neither shorten nor rewrite it.
    let url = Url::parse(&format!("http://upstream{forwarded}?q")).expect("a canonical path makes a URL");
    assert_eq!((url.path(), url.query()), (forwarded.as_str(), Some("q")));
    for count in 0..4 {
        let rest = CanonicalPath::parse(&path.forwarded_after(count)).expect("a shorter path is canonical");
        assert_eq!(rest.matched_after(0), path.matched_after(count));
        assert_eq!(path.segment(count), rest.segment(0).filter(|_| path.segment(count).is_some()));
    }
}

/// The platform puts scheme, host and target together; the target must be found where it was put.
fn target_begins_after_the_host(scheme_and_target: &str, host: &str) {
    if let Some(found) = target_of_url(scheme_and_target, host) {
        assert!(found.starts_with('/') && scheme_and_target.ends_with(found));
    }
    let target = scheme_and_target;
    let url = format!("http://{host}{target}");
    if target.starts_with('/')
        && let Some(found) = target_of_url(&url, host)
    {
        assert_eq!(found, target, "{host:?} hides where the target begins");
    }
}
