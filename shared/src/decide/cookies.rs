//! Cookies on an upstream's answer: whether they may reach a browser, which would keep them. It may not take a browser for a program; the
//! other way round costs a look at the answer and nothing else.

use super::{Facts, credential::Caller};
use crate::policy::Credential;

/// What the user agents of browsers say (all of them since 1994 the first, some of the oldest only the second), in lower case.
const BROWSERS: [&str; 2] = ["mozilla", "opera"];

/// Whether a browser may be asking, so that no upstream may set a cookie of the gateway's own with its answer.
///
/// A program is one that leaves no doubt: it sends a credential in a header, which a browser does for a script alone, names itself as
/// no browser does, and has nothing about it that browsers add by themselves. They add `Sec-Fetch-*` to every request to a
/// trustworthy URL, the only kind that a `Secure` cookie can come from (Fetch Metadata; all of them since 2023), and `Origin` to whatever a
/// script of another origin sends. What could pass for a program is a script of this very origin in an older browser, and
/// such a script can set the cookie without help.
pub(super) fn may_be_kept(facts: &Facts<'_>, caller: Option<&Caller>) -> bool {
    let is_sent_by_program = caller.is_some_and(|caller| caller.kind != Credential::ClientCertificate);
    let names_itself = facts.user_agent.is_some_and(|agent| !agent.is_empty() && !is_browser(agent));
    let is_program = is_sent_by_program
        && names_itself
        && facts.cookie.is_none()
        && facts.origin.is_none()
        && facts.upgrade.is_none()
        && !facts.header_names.split('\n').any(is_browsers_own);
    !is_program
}

fn is_browser(agent: &str) -> bool {
    BROWSERS.iter().any(|name| {
        agent.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// Whether browsers alone send a header of this name.
fn is_browsers_own(name: &str) -> bool {
    let begins =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins("sec-") || name.eq_ignore_ascii_case("referer")
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::jwt::Claims;

    fn program() -> Facts<'static> {
        Facts {
            user_agent: Some("curl/8.5.0"),
            header_names: "accept\nauthorization\nuser-agent",
            ..Facts::default()
        }
    }

    fn caller(kind: Credential) -> Caller {
        Caller { kind, claims: Arc::new(Claims::default()) }
    }

    #[test]
    fn only_what_leaves_no_doubt_is_a_program() {
        for kind in Credential::ALL {
            let kept = may_be_kept(&program(), Some(&caller(kind)));
            assert_eq!(kept, kind == Credential::ClientCertificate, "{kind:?}");
        }
        assert!(may_be_kept(&program(), None));
        let doubtful = [
            Facts { user_agent: None, ..program() },
            Facts { user_agent: Some(""), ..program() },
            Facts { user_agent: Some("Mozilla/5.0 (iPhone; CPU iPhone OS 15_0 like Mac OS X)"), ..program() },
            Facts { user_agent: Some("An app (like mOZILLA)"), ..program() },
            Facts { user_agent: Some("Opera/9.80 (X11; Linux x86_64) Presto/2.12"), ..program() },
            Facts { cookie: Some(""), ..program() },
            Facts { origin: Some("null"), ..program() },
            Facts { upgrade: Some("websocket"), ..program() },
            Facts { header_names: "authorization\nsec-fetch-mode", ..program() },
            Facts { header_names: "authorization\nSec-CH-UA\naccept", ..program() },
            Facts { header_names: "referer\nauthorization", ..program() },
        ];
        for facts in doubtful {
            assert!(may_be_kept(&facts, Some(&caller(Credential::AccessToken))), "{facts:?}");
        }
    }
}
