//! Clients in a declaration: what contradicts itself is refused with its place, and what is declared is what the row, the event and
//! the policy say.

use serde_json::Value;
use shared::client::{AuthMethod, GrantType};

use super::*;

const KEY: &str = r#"{ kty = "OKP", crv = "Ed25519", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }"#;

/// [`FILE`] without its client, and with another.
fn with_client(lines: &str) -> String {
    let (rest, _) = FILE.split_once("[[client]]").unwrap();
    format!("{rest}[[client]]\nclient_id = \"worker\"\nproject = \"notes\"\n{lines}\n")
}

#[test]
fn what_contradicts_itself_is_named() {
    let uri = "redirect_uris = [\"https://a.test/cb\"]";
    let two = format!("{{ keys = [{KEY}, {KEY}] }}");
    let table = [
        ("confidential = true".to_owned(), "client.redirect_uris"),
        (
            format!("{uri}\ntoken_endpoint_auth_method = \"tls_client_auth\""),
            "client.token_endpoint_auth_method",
        ),
        (
            format!("{uri}\nconfidential = true\ntoken_endpoint_auth_method = \"none\""),
            "client.token_endpoint_auth_method",
        ),
        (
            format!("{uri}\nconfidential = false\ntoken_endpoint_auth_method = \"client_secret_post\""),
            "client.token_endpoint_auth_method",
        ),
        (format!("{uri}\ntoken_endpoint_auth_method = \"private_key_jwt\""), "client.jwks"),
        (format!("{uri}\njwks = {{ keys = [{KEY}] }}"), "client.jwks"),
        (
            format!("{uri}\ntoken_endpoint_auth_method = \"private_key_jwt\"\njwks = {{ keys = [] }}"),
            "client.jwks",
        ),
        (
            format!("{uri}\ntoken_endpoint_auth_method = \"private_key_jwt\"\njwks = {two}"),
            "client.jwks.keys",
        ),
        (
            format!(
                "{uri}\ntoken_endpoint_auth_method = \"private_key_jwt\"\njwks = {{ keys = [{}] }}",
                KEY.replace(" }", ", d = \"AA\" }")
            ),
            "client.jwks.keys",
        ),
        (format!("{uri}\ngrant_types = []"), "client.grant_types"),
        (format!("{uri}\ngrant_types = [\"password\", \"authorization_code\"]"), "client.grant_types"),
        ("grant_types = [\"client_credentials\"]".to_owned(), "client.grant_types"),
        ("confidential = true\ngrant_types = [\"refresh_token\"]".to_owned(), "client.grant_types"),
    ];
    for (lines, field) in table {
        let faults = Declaration::parse(&with_client(&lines)).expect_err(&lines);
        let fields: Vec<&str> = faults.0.iter().map(|fault| fault.field.as_str()).collect();
        assert!(fields.contains(&field), "{lines}: {faults}");
    }
}

#[tokio::test]
async fn a_client_with_a_key_has_no_secret_and_is_as_declared_everywhere() {
    test_database::run(async |t| {
        let text = with_client(&format!(
            "token_endpoint_auth_method = \"private_key_jwt\"\ngrant_types = [\"client_credentials\"]\njwks = {{ keys = [{KEY}] }}"
        ));
        let applied = apply_text(t, &text).await.unwrap();
        assert!(applied.client_secrets.is_empty());
        assert_eq!(apply_text(t, &text).await.unwrap().updated.len(), 0, "the same file changes something");
        let payload: Value = sqlx::query_scalar(
            "SELECT payload FROM auth_gateway.events WHERE event_type = 'ClientRegistered' AND schema_version = 3",
        )
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(payload["token_endpoint_auth_method"], "private_key_jwt");
        assert_eq!(payload["grant_types"], serde_json::json!(["client_credentials"]));
        // RFC 8037 appendix A.3.
        assert_eq!(payload["keys"], serde_json::json!(["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]));

        let origin = crate::http::test_origin::TestOrigin::new(t).origin;
        let compiled = origin.policy.current(&origin.database).await.unwrap();
        let client = &compiled.policy.clients["worker"];
        assert!(client.authenticates_by(AuthMethod::PrivateKeyJwt) && client.may_use(GrantType::ClientCredentials));
        assert!(!client.authenticates_by(AuthMethod::ClientSecretBasic) && !client.may_use(GrantType::RefreshToken));

        // With another way to authenticate comes a secret, and the keys go.
        let by_secret = with_client("confidential = true\ngrant_types = [\"client_credentials\"]");
        let applied = apply_text(t, &by_secret).await.unwrap();
        assert_eq!(applied.updated, ["client worker"]);
        assert!(applied.client_secrets.contains_key("worker"));
        assert!(apply_text(t, &text).await.unwrap().client_secrets.is_empty());
        let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT secret_hash FROM auth_gateway.oauth_clients")
            .fetch_one(&mut t.admin().await)
            .await
            .unwrap();
        assert_eq!(hash, None, "a secret outlives the method that needs it");
    })
    .await;
}
