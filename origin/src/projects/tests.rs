//! Files, faulty and good, and what they come to in a real Postgres.

mod api;
mod change;
mod clients;
mod declaration;

use super::{Applied, ApplyError, ChangeError, Declaration, apply};
use crate::test_database::{self, TestDatabase};

pub(super) const FILE: &str = r#"[workspace]
slug = "demo"
name = "Demo"
[[project]]
slug = "notes"
[[project.service]]
slug = "web"
upstreams = ["http://127.0.0.1:9101"]
[[project.service]]
slug = "api"
upstreams = ["http://127.0.0.1:9100"]
scopes = ["notes:read"]
public = [{ method = "GET", path = "/health" }]
credentials = ["access_token", "service_token"]
[[client]]
client_id = "demo-app"
name = "Demo app"
project = "notes"
redirect_uris = ["http://127.0.0.1:9101/callback"]
scopes = ["notes:read", "notes:write"]
"#;

async fn apply_text(t: &TestDatabase, text: &str) -> Result<Applied, ApplyError> {
    apply(&t.database, &Declaration::parse(text).unwrap_or_else(|faults| panic!("{faults}"))).await
}

async fn events(t: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar("SELECT event_type FROM auth_gateway.events ORDER BY ctid")
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn it_creates_then_leaves_alone_then_updates_what_differs() {
    test_database::run(async |t| {
        let applied = apply_text(t, FILE).await.unwrap();
        assert_eq!(applied.created, ["workspace demo", "project notes", "client demo-app"]);
        assert_eq!(events(t).await, ["WorkspaceCreated", "ProjectCreated", "ClientRegistered"]);

        let again = apply_text(t, FILE).await.unwrap();
        assert_eq!((again.created.len(), again.updated.len(), again.unchanged.len()), (0, 0, 3));
        assert_eq!(events(t).await.len(), 3, "applying again recorded something");

        let changed = FILE.replace("9100", "9200").replace("slug = \"web\"", "slug = \"site\"");
        let applied = apply_text(t, &changed).await.unwrap();
        assert_eq!(applied.updated, ["project notes"]);
        let services: Vec<(String, Vec<String>)> =
            sqlx::query_as("SELECT slug, upstreams FROM auth_gateway.services ORDER BY slug")
                .fetch_all(&mut t.admin().await)
                .await
                .unwrap();
        let upstream = |port: u16| vec![format!("http://127.0.0.1:{port}")];
        assert_eq!(services, [("api".to_owned(), upstream(9200)), ("site".to_owned(), upstream(9101))]);
        assert_eq!(events(t).await.last().unwrap(), "ProjectUpdated");
    })
    .await;
}

#[tokio::test]
async fn a_confidential_client_gets_a_secret_once_and_keeps_it() {
    test_database::run(async |t| {
        let confidential = format!("{FILE}confidential = true\n");
        let hash = async || -> Option<Vec<u8>> {
            sqlx::query_scalar("SELECT secret_hash FROM auth_gateway.oauth_clients")
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap()
        };
        let applied = apply_text(t, &confidential).await.unwrap();
        let first = &applied.client_secrets["demo-app"];
        assert!(first.expose().starts_with("gw_cs_"));
        assert!(!format!("{applied:?}").contains(first.expose()), "a secret is printed");
        assert_eq!(hash().await.as_deref(), Some(&first.hash()[..]));

        // Neither the same file nor a change of something else makes another.
        for text in [confidential.clone(), confidential.replace("Demo app", "The app")] {
            assert!(apply_text(t, &text).await.unwrap().client_secrets.is_empty());
            assert_eq!(hash().await.as_deref(), Some(&first.hash()[..]));
        }
        let public = apply_text(t, FILE).await.unwrap();
        assert_eq!((public.updated, hash().await), (vec!["client demo-app".to_owned()], None));
        let again = apply_text(t, &confidential).await.unwrap();
        assert_ne!(again.client_secrets["demo-app"].hash(), first.hash());
    })
    .await;
}

#[tokio::test]
async fn two_that_apply_at_once_come_to_one_result() {
    test_database::run(async |t| {
        let both = tokio::join!(apply_text(t, FILE), apply_text(t, FILE));
        let (one, other) = (both.0.unwrap(), both.1.unwrap());
        assert_eq!(one.workspace_id, other.workspace_id);
        assert_eq!(one.created.len() + other.created.len(), 3);
        assert_eq!(events(t).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_another_workspace_is_refused_whole() {
    test_database::run(async |t| {
        apply_text(t, FILE).await.unwrap();
        let thief = FILE.replace("\"demo\"", "\"thief\"");
        let error = apply_text(t, &thief).await.unwrap_err();
        assert!(
            matches!(error, ApplyError::Project(ChangeError::Taken { ref slug }) if slug == "notes"),
            "{error}"
        );
        let thief = thief.replace("\"notes\"", "\"other\"");
        let error = apply_text(t, &thief).await.unwrap_err();
        assert!(
            matches!(error, ApplyError::ClientTaken { ref client_id } if client_id == "demo-app"),
            "{error}"
        );
        let lost = FILE.replace("project = \"notes\"", "project = \"nowhere\"");
        let error = apply_text(t, &lost).await.unwrap_err();
        assert!(matches!(error, ApplyError::NoProject { .. }), "{error}");
        let workspaces: i64 =
            sqlx::query_scalar("SELECT count(*) FROM auth_gateway.workspaces WHERE slug = 'thief'")
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap();
        assert_eq!((workspaces, events(t).await.len()), (0, 3), "something was half applied");
    })
    .await;
}
