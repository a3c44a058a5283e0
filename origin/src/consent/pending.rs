//! An authorization request that waits for a person, as the pages show it.

use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

use crate::database::{DatabaseError, Scope};
use crate::egress::is_on_loopback;

/// A request that has been neither answered nor let expire, of a client that is still enabled.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PendingRequest {
    /// Its id.
    pub id: Uuid,
    /// The client.
    pub client_id: String,
    /// What the client calls itself.
    pub client_name: String,
    /// Whether it authenticates (RFC 6749, 2.1).
    pub is_confidential: bool,
    /// The project it works for.
    pub project_name: String,
    /// Whose project that is.
    pub workspace_id: Uuid,
    /// Its name.
    pub workspace_name: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Since when the person must have proved who they are.
    pub authenticated_since: Option<OffsetDateTime>,
    /// `none` or `consent`.
    pub prompt: Option<String>,
    /// The address that the person may be known by.
    pub login_hint: Option<String>,
}

impl PendingRequest {
    /// The request of this id, if it is open. Needs a scope of a system component: the request belongs to nobody yet.
    pub async fn find(scope: &mut Scope, id: Uuid) -> Result<Option<Self>, DatabaseError> {
        let now = scope.clock().now();
        let found = sqlx::query_as(
            "SELECT authorization_requests.id, oauth_clients.client_id, oauth_clients.name AS client_name,
                    oauth_clients.kind = 'confidential' AS is_confidential, projects.name AS project_name,
                    workspaces.id AS workspace_id, workspaces.name AS workspace_name,
                    authorization_requests.redirect_uri, authorization_requests.scopes,
                    authorization_requests.authenticated_since, authorization_requests.prompt,
                    authorization_requests.login_hint
             FROM authorization_requests
             JOIN oauth_clients ON oauth_clients.client_id = authorization_requests.client_id
             JOIN projects ON projects.id = oauth_clients.project_id
             JOIN workspaces ON workspaces.id = oauth_clients.workspace_id
             WHERE authorization_requests.id = $1 AND authorization_requests.used_at IS NULL
               AND authorization_requests.expires_at > $2 AND oauth_clients.enabled AND projects.enabled",
        )
        .bind(id)
        .bind(now)
        .fetch_optional(scope.connection())
        .await?;
        Ok(found)
    }

    /// Whether nothing may be asked.
    pub fn is_silent(&self) -> bool {
        self.prompt.as_deref() == Some("none")
    }

    /// Whether a person who proved who they are at `auth_time` must do so again.
    pub fn wants_sign_in(&self, auth_time: OffsetDateTime) -> bool {
        self.authenticated_since.is_some_and(|since| auth_time < since)
    }

    /// Whether an earlier yes may stand for this one. Never where the client wants the person asked, nor for a public client on the person's own machine: any
    /// program there can claim to be it (RFC 8252, 8.6).
    pub fn may_be_remembered(&self) -> bool {
        let is_remote =
            Url::parse(&self.redirect_uri).is_ok_and(|url| url.scheme() == "https" && !is_on_loopback(&url));
        self.prompt.as_deref() != Some("consent") && (self.is_confidential || is_remote)
    }

    /// Where the person goes afterwards, as they would say it.
    pub fn return_host(&self) -> String {
        let Ok(url) = Url::parse(&self.redirect_uri) else { return self.client_name.clone() };
        match (url.scheme(), url.host_str(), url.port()) {
            ("http" | "https", Some(host), Some(port)) => format!("{host}:{port}"),
            ("http" | "https", Some(host), None) => host.to_owned(),
            (scheme, _, _) => format!("an app on this device ({scheme})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(redirect_uri: &str, is_confidential: bool) -> PendingRequest {
        PendingRequest {
            id: Uuid::nil(),
            client_id: "demo-app".to_owned(),
            client_name: "Demo app".to_owned(),
            is_confidential,
            project_name: "Notes".to_owned(),
            workspace_id: Uuid::nil(),
            workspace_name: "Demo".to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            scopes: Vec::new(),
            authenticated_since: None,
            prompt: None,
            login_hint: None,
        }
    }

    #[test]
    fn consent_is_not_skipped_for_public_native_clients() {
        for (uri, remembered, host) in [
            ("https://app.example.com/cb", true, "app.example.com"),
            ("https://app.example.com:8443/cb", true, "app.example.com:8443"),
            ("http://127.0.0.1:9101/callback", false, "127.0.0.1:9101"),
            ("http://[::1]:9101/callback", false, "[::1]:9101"),
            ("https://localhost/cb", false, "localhost"),
            ("com.example.app:/cb", false, "an app on this device (com.example.app)"),
        ] {
            assert_eq!(request(uri, false).may_be_remembered(), remembered, "{uri}");
            assert!(request(uri, true).may_be_remembered(), "{uri}");
            assert_eq!(request(uri, false).return_host(), host);
        }
    }
}
