//! Scopes as people say them. Only their form is known here (`resource:action`); what does not have it is shown as it is.

/// "Read your notes" for `notes:read`.
pub fn in_words(scope: &str) -> String {
    match scope {
        "openid" => return "Know who you are".to_owned(),
        "email" => return "See your e-mail address".to_owned(),
        "profile" => return "See your name".to_owned(),
        "gateward:projects" => return "Change how your projects are reached".to_owned(),
        "gateward:projects:read" => return "See how your projects are reached".to_owned(),
        "offline_access" => return "Stay connected when you are away".to_owned(),
        _ => {}
    }
    let Some((resource, action)) = scope.rsplit_once([':', '.']) else { return format!("Use “{scope}”") };
    let verb = match action {
        "read" | "list" | "view" => "Read",
        "write" | "edit" | "update" => "Add to and change",
        "create" => "Add to",
        "delete" => "Delete from",
        "admin" | "manage" => "Manage",
        "*" => "Do everything with",
        _ => return format!("Use “{scope}”"),
    };
    let resource = resource.replace([':', '.', '_', '-', '/'], " ");
    format!("{verb} your {resource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_known_form_is_said_in_words_and_the_rest_as_it_is() {
        for (scope, words) in [
            ("notes:read", "Read your notes"),
            ("notes:write", "Add to and change your notes"),
            ("photo_albums:delete", "Delete from your photo albums"),
            ("team.calendar.read", "Read your team calendar"),
            ("offline_access", "Stay connected when you are away"),
            ("deploy", "Use “deploy”"),
            ("notes:frobnicate", "Use “notes:frobnicate”"),
        ] {
            assert_eq!(in_words(scope), words);
        }
    }
}
