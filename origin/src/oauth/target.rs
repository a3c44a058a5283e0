//! `resource` at the token endpoint (RFC 8707 §2.2): it only narrows what was granted.

use shared::{authorization_request::audience_of, policy::Policy};

use super::token::TokenError;

/// A `resource`, and the policy that says what it is a part of.
pub(super) struct Target<'a> {
    pub(super) resource: &'a str,
    pub(super) policy: &'a Policy,
}

/// The audience of the next access token: what was granted, or the part of it that was asked for.
pub(super) fn narrow(granted: &[String], target: Option<&Target<'_>>) -> Result<Vec<String>, TokenError> {
    let Some(Target { resource, policy }) = target else { return Ok(granted.to_vec()) };
    let is_granted = granted.iter().any(|audience| audience == resource);
    // Or it is a service of a project that was granted whole.
    let is_part = policy.projects.iter().any(|(slug, project)| {
        let whole = audience_of(&policy.issuer, slug);
        granted.contains(&whole)
            && resource
                .strip_prefix(whole.as_str())
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|service| project.services.contains_key(service))
    });
    if is_granted || is_part { Ok(vec![(*resource).to_owned()]) } else { Err(TokenError::UnknownTarget) }
}

#[cfg(test)]
mod tests {
    use shared::decide::sample::{self, ISSUER};

    use super::*;

    #[test]
    fn it_only_narrows() {
        let policy = sample::policy();
        let narrow = |granted: &str, resource: &str| {
            let target = Target { resource: &format!("{ISSUER}{resource}"), policy: &policy };
            super::narrow(&[format!("{ISSUER}{granted}")], Some(&target)).is_ok()
        };
        assert!(narrow("/notes", "/notes"));
        assert!(narrow("/notes", "/notes/api"));
        assert!(narrow("/notes/api", "/notes/api"));
        for (granted, resource) in [
            ("/notes/api", "/notes"),
            ("/notes", "/notes/other"),
            ("/notes", "/notes/"),
            ("/notes", "/notesx/api"),
            ("/notes", "/captionacc"),
            ("/notes", "/captionacc/prefect"),
            ("/notes", ""),
        ] {
            assert!(!narrow(granted, resource), "{granted} {resource}");
        }
    }
}
