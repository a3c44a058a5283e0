//! The limit of a location, which only some platforms have: which requests are counted there, and how one beyond it is refused.
//! It may not count: the platform does.

use super::{Refusal, path_of};
use crate::{decide::Endpoint, problem::ProblemType};

/// After how many seconds a refused request may come again: the shortest period that such a limit can have.
const RETRY_SECONDS: u64 = 10;

/// Whether a request presents a secret that could be guessed, so that its location counts it.
pub fn is_counted_by_location(method: &str, target: &str) -> bool {
    path_of(target).is_some_and(|path| Endpoint::of(&path).takes_credentials(method))
}

/// The refusal of such a request; `None` when the location `allowed` it. These endpoints fail closed: no word is a refusal too.
pub fn refused_by_location(allowed: Option<bool>) -> Option<Refusal> {
    let detail = match allowed {
        Some(true) => return None,
        Some(false) => "Too many requests that present credentials came from this address. Try again later.",
        None => "The limit on requests that present credentials could not be asked. Try again in a moment.",
    };
    let mut refusal = Refusal::problem(ProblemType::RateLimited, detail);
    refusal.retry_after = Some(RETRY_SECONDS);
    Some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_credentials_is_counted() {
        for (method, target, counted) in [
            ("POST", "/oauth/token", true),
            ("POST", "/oauth/revoke?x=1", true),
            ("POST", "/sign-in", true),
            ("POST", "/v1/sync/user", true),
            ("POST", "/v1/sync/api-key", true),
            ("POST", "/v1/sync/backfill-api-keys?after=1", true),
            ("POST", "/v1/sync/nothing", false),
            ("POST", "/sign-in/code", true),
            ("GET", "/sign-in", false),
            ("GET", "/oauth/authorize?a=b", false),
            ("POST", "/notes/api/x", false),
            ("POST", "/oauth//token", false),
            ("GET", "/ping", false),
        ] {
            assert_eq!(is_counted_by_location(method, target), counted, "{method} {target}");
        }
    }

    #[test]
    fn no_word_is_a_refusal() {
        assert!(refused_by_location(Some(true)).is_none());
        for allowed in [Some(false), None] {
            let refusal = refused_by_location(allowed).unwrap();
            assert_eq!((refusal.kind(), refusal.retry_after), ("rate-limited", Some(RETRY_SECONDS)));
        }
    }
}
