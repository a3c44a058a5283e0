use std::time::Duration;

use base64ct::{Base64, Encoding as _};

use super::*;
use crate::{http::test_origin::ISSUER, test_database};

#[tokio::test]
async fn a_code_gives_tokens_that_the_edges_believe() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let code = stage.code_for("app", REDIRECT, "&scope=notes%3Aread").await;
        databases.clock.advance(Duration::from_secs(5));
        let answer = stage.redeem(&code).await;
        assert_eq!(answer.status, 200);
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        let tokens = answer.json();
        assert_eq!(
            (text(&tokens, "token_type").as_str(), &tokens["expires_in"]),
            ("Bearer", &Value::from(300))
        );
        assert_eq!(text(&tokens, "scope"), "notes:read");
        let claims = stage.verify(&text(&tokens, "access_token")).await;
        let now = databases.clock.unix_seconds();
        assert_eq!(claims.iss.as_deref(), Some(ISSUER));
        assert_eq!(claims.sub, Some(PERSON.to_string()));
        assert!(claims.aud.unwrap().includes(&format!("{ISSUER}/notes")));
        assert_eq!((claims.iat, claims.exp), (now, now + 300));
        assert_eq!(
            (claims.client_id.as_deref(), claims.workspace_id),
            (Some("app"), Some(WORKSPACE.to_string()))
        );
        assert_eq!((claims.auth_time, claims.amr), (Some(now - 5), vec!["otp".to_owned()]));
        let grants: Vec<(Uuid, i64)> = sqlx::query_as("SELECT id, generation FROM auth_gateway.oauth_grants")
            .fetch_all(&mut databases.admin().await)
            .await
            .unwrap();
        assert_eq!(grants, [(claims.sid.unwrap().parse().unwrap(), 1)]);
        assert_eq!(stage.events().await, ["AuthorizationCodeIssued", "TokensIssued"]);
    })
    .await;
}

#[tokio::test]
async fn attack_14_a_code_is_good_for_its_client_redirect_and_verifier_only() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let code = stage.code().await;
        let other_code = stage.code_for("other", "https://other.test/cb", "").await;
        let with = |name: &'static str, value: &'static str| {
            let mut form = redemption(&code);
            form.retain(|(known, _)| *known != name);
            form.push((name, value));
            form
        };
        let wrong_verifier = "a".repeat(43);
        let flipped = format!("{}A", code.get(..code.len() - 1).unwrap());
        let mut forms = vec![
            with("client_id", "other"),
            with("redirect_uri", "https://other.test/cb"),
            with("redirect_uri", "https://app.test/cb/"),
            redemption(&other_code),
        ];
        let mut form = redemption(&code);
        form.retain(|(name, _)| *name != "code_verifier");
        form.push(("code_verifier", &wrong_verifier));
        forms.push(form);
        if flipped != code {
            forms.push(redemption(&flipped));
        }
        for form in forms {
            assert_error(&stage.token(&form).await, 400, "invalid_grant");
        }
        for missing in ["code", "code_verifier"] {
            let mut form = redemption(&code);
            form.retain(|(name, _)| *name != missing);
            assert_error(&stage.token(&form).await, 400, "invalid_request");
        }
        // None of it used the code up, and none of it revoked anything.
        assert_eq!(stage.redeem(&code).await.status, 200);
        assert_eq!(stage.revoked().await, (vec![], vec![]));
        // OAuth 2.1 §4.1.3 leaves redirect_uri out.
        let code = stage.code().await;
        let mut form = redemption(&code);
        form.retain(|(name, _)| *name != "redirect_uri");
        assert_eq!(stage.token(&form).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn attack_24_a_replay_revokes_what_the_code_gave_once() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let code = stage.code().await;
        let tokens = stage.redeem(&code).await.json();
        // Who has the code but not the verifier can end nothing.
        let wrong = "a".repeat(43);
        let mut form = redemption(&code);
        form.retain(|(name, _)| *name != "code_verifier");
        form.push(("code_verifier", &wrong));
        assert_error(&stage.token(&form).await, 400, "invalid_grant");
        assert_eq!(stage.revoked().await.1.len(), 0);

        for _ in 0..2 {
            assert_error(&stage.redeem(&code).await, 400, "invalid_grant");
        }
        let sid = stage.verify(&text(&tokens, "access_token")).await.sid.unwrap();
        assert_eq!(stage.revoked().await, (vec![], vec![sid]));
        let refresh = text(&tokens, "refresh_token");
        assert_error(&stage.refresh_as("app", &refresh, &[]).await, 400, "invalid_grant");
        let events = ["AuthorizationCodeIssued", "TokensIssued", "AuthorizationCodeReplayed", "GrantRevoked"];
        assert_eq!(stage.events().await, events);
        // The entry is kept as long as the access token could live, and a minute.
        databases.clock.advance(Duration::from_secs(359));
        assert_eq!(stage.revoked().await.1.len(), 1);
        databases.clock.advance(Duration::from_secs(1));
        assert_eq!(stage.revoked().await.1.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn attack_16_who_is_gone_gets_nothing() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        for (change, undo, error) in [
            (
                format!("UPDATE user_accounts SET status = 'suspended' WHERE id = '{PERSON}'"),
                format!("UPDATE user_accounts SET status = 'active' WHERE id = '{PERSON}'"),
                (400, "invalid_grant"),
            ),
            (
                format!("UPDATE sessions SET ended_at = now() WHERE id = '{SESSION}'"),
                format!("UPDATE sessions SET ended_at = NULL WHERE id = '{SESSION}'"),
                (400, "invalid_grant"),
            ),
            (
                "UPDATE oauth_clients SET enabled = false WHERE client_id = 'app'".to_owned(),
                "UPDATE oauth_clients SET enabled = true WHERE client_id = 'app'".to_owned(),
                (401, "invalid_client"),
            ),
            (
                "UPDATE projects SET enabled = false WHERE slug = 'notes'".to_owned(),
                "UPDATE projects SET enabled = true WHERE slug = 'notes'".to_owned(),
                (401, "invalid_client"),
            ),
        ] {
            let refresh = text(&stage.tokens().await, "refresh_token");
            let code = stage.code().await;
            stage.sql(&change).await;
            assert_error(&stage.redeem(&code).await, error.0, error.1);
            assert_error(&stage.refresh_as("app", &refresh, &[]).await, error.0, error.1);
            stage.sql(&undo).await;
            assert_eq!(stage.redeem(&code).await.status, 200, "{change}");
            stage.refreshed(&refresh).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_code_expires_in_the_second_it_says() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let (early, late) = (stage.code().await, stage.code().await);
        databases.clock.advance(Duration::from_secs(59));
        assert_eq!(stage.redeem(&early).await.status, 200);
        databases.clock.advance(Duration::from_secs(1));
        assert_error(&stage.redeem(&late).await, 400, "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a_confidential_client_proves_itself_one_way() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let uri = "https://b.test/b";
        let basic =
            |secret: &str| format!("Basic {}", Base64::encode_string(format!("backend:{secret}").as_bytes()));
        let send = async |headers: &[(&str, &str)], more: &[(&str, &str)]| {
            let code = stage.code_for("backend", uri, "").await;
            let mut form = vec![
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", uri),
                ("code_verifier", VERIFIER),
            ];
            form.extend_from_slice(more);
            stage.test.post("/oauth/token", headers, &encode(&form)).await
        };
        let secret = stage.secret.expose();
        let good = basic(secret);
        assert_eq!(send(&[("authorization", &good)], &[]).await.status, 200);
        assert_eq!(send(&[], &[("client_id", "backend"), ("client_secret", secret)]).await.status, 200);

        let wrong = basic("gw_cs_wrong");
        for (headers, more, status, code, challenged) in [
            (vec![("authorization", wrong.as_str())], vec![], 401, "invalid_client", true),
            (vec![], vec![("client_id", "backend"), ("client_secret", "x")], 401, "invalid_client", false),
            (vec![], vec![("client_id", "backend")], 401, "invalid_client", false),
            (vec![], vec![], 401, "invalid_client", false),
            (vec![("authorization", "Bearer x")], vec![], 401, "invalid_client", true),
            (
                vec![("authorization", good.as_str())],
                vec![("client_secret", secret)],
                400,
                "invalid_request",
                false,
            ),
            (
                vec![("authorization", good.as_str())],
                vec![("client_id", "app")],
                400,
                "invalid_request",
                false,
            ),
            (vec![("authorization", good.as_str()); 2], vec![], 400, "invalid_request", false),
            // A public client has no secret to send.
            (vec![], vec![("client_id", "app"), ("client_secret", secret)], 401, "invalid_client", false),
        ] {
            let answer = send(&headers, &more).await;
            assert_error(&answer, status, code);
            assert_eq!(!answer.header("www-authenticate").is_empty(), challenged, "{headers:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_malformed_request_says_what_is_wrong() {
    test_database::run(async |databases| {
        let stage = Stage::set(databases).await;
        let code = stage.code().await;
        let good = encode(&redemption(&code));
        for (form, error) in [
            (String::new(), "invalid_request"),
            (good.replace("grant_type=", "grant="), "invalid_request"),
            (good.clone() + "&code=x", "invalid_request"),
            (good.clone() + "&client_id=app", "invalid_request"),
            (good.replace("authorization_code", "password"), "unsupported_grant_type"),
            (good.replace(VERIFIER, "short"), "invalid_request"),
            (good.clone() + "&resource=https%3A%2F%2Fauth.test%2Fcaptions", "invalid_target"),
            ("%ff".to_owned(), "invalid_request"),
        ] {
            assert_error(&stage.test.post("/oauth/token", &[], &form).await, 400, error);
        }
        let json =
            stage.test.send("POST", "/oauth/token", &[("content-type", "application/json")], "{}").await;
        assert_error(&json, 400, "invalid_request");
        let large = good.clone() + "&x=" + &"a".repeat(16 * 1024);
        assert_eq!(stage.test.post("/oauth/token", &[], &large).await.status, 413);
        assert_eq!(stage.test.get("/oauth/token").await.problem(), (405, "method-not-allowed".to_owned()));
        // A parameter that nobody knows is ignored (RFC 6749 §3.2), and a resource narrows.
        let narrowed = good + "&unknown=1&unknown=2&resource=https%3A%2F%2Fauth.test%2Fnotes%2Fapi";
        let tokens = stage.test.post("/oauth/token", &[], &narrowed).await.json();
        let claims = stage.verify(&text(&tokens, "access_token")).await;
        assert!(claims.aud.unwrap().includes("https://auth.test/notes/api"));
    })
    .await;
}
