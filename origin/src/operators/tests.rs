//! Tokens, good and bad, at the operators' interface.

use std::time::Duration;

use shared::jwt::{Audience, Claims, Confirmation, SigningKey, TokenType};
use shared::scope::Scopes;

use super::test_tokens::{Desk, MEMBER, OWNER};
use crate::http::test_origin::ISSUER;
use crate::test_database::{self, execute};

const PROJECTS: &str = "/v1/projects";

#[tokio::test]
async fn a_service_token_of_the_workspace_and_its_owner_are_let_in() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        for scope in ["gateward:projects", "gateward:projects:read", "notes:read gateward:projects"] {
            for authorization in [
                desk.sign(TokenType::Service, &desk.service_claims(desk.demo, scope)),
                desk.sign(TokenType::Access, &desk.access_claims(OWNER, scope)),
            ] {
                let answer = desk.send("GET", PROJECTS, &authorization, "").await;
                assert_eq!(answer.status, 200, "{scope}: {}", String::from_utf8_lossy(&answer.body));
                assert_eq!(answer.json()["projects"][0]["slug"], "notes");
                assert_eq!(answer.json()["projects"].as_array().unwrap().len(), 1);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn everybody_else_is_refused() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let service = desk.service_claims(desk.demo, "gateward:projects");
        let access = desk.access_claims(OWNER, "gateward:projects");
        let stranger = SigningKey::from_seed("stranger", &[9; 32]);
        let impostor = SigningKey::from_seed(desk.key.kid(), &[9; 32]);
        let bearer = |key: &SigningKey, claims: &Claims| {
            format!("Bearer {}", key.sign(TokenType::Service.typ(), claims).unwrap())
        };
        let of_service = |change: &dyn Fn(&mut Claims)| {
            let mut claims = service.clone();
            change(&mut claims);
            desk.sign(TokenType::Service, &claims)
        };
        let of_access = |change: &dyn Fn(&mut Claims)| {
            let mut claims = access.clone();
            change(&mut claims);
            desk.sign(TokenType::Access, &claims)
        };
        let now = service.iat;
        let good = of_service(&|_| {});
        for (what, authorization, status, problem) in [
            ("no scheme", "x".to_owned(), 401, "credential-missing"),
            ("Basic", "Basic eDp5".to_owned(), 401, "credential-missing"),
            ("DPoP", good.replace("Bearer", "DPoP"), 401, "credential-missing"),
            ("two", format!("{good}, {good}"), 400, "several-credentials"),
            ("garbage", "Bearer a.b.c".to_owned(), 401, "token-malformed"),
            ("another key", bearer(&stranger, &service), 401, "token-unknown-key"),
            ("another's signature", bearer(&impostor, &service), 401, "token-signature"),
            ("an assertion", desk.sign(TokenType::UpstreamAssertion, &service), 401, "token-wrong-type"),
            ("ended", of_service(&|claims| claims.exp = now), 401, "token-expired"),
            ("early", of_service(&|claims| claims.nbf = Some(now + 60)), 401, "token-not-yet-valid"),
            (
                "another issuer",
                of_service(&|claims| claims.iss = Some("https://x.test".to_owned())),
                401,
                "token-wrong-issuer",
            ),
            ("no issuer", of_service(&|claims| claims.iss = None), 401, "token-wrong-issuer"),
            ("no workspace", of_service(&|claims| claims.workspace_id = None), 401, "token-malformed"),
            ("no service", of_service(&|claims| claims.service = None), 401, "token-malformed"),
            ("no scope", of_service(&|claims| claims.scope = Scopes::default()), 403, "insufficient-scope"),
            (
                "a likeness of the scope",
                of_service(&|claims| {
                    claims.scope = Scopes::parse("gateward:project gateward:projectsx").unwrap();
                }),
                403,
                "insufficient-scope",
            ),
            (
                "bound",
                of_service(&|claims| {
                    claims.cnf = Some(Confirmation { jkt: Some("x".to_owned()), x5t_s256: None });
                }),
                401,
                "token-binding",
            ),
            (
                "for a project",
                of_access(&|claims| claims.aud = Some(Audience::One(format!("{ISSUER}/notes")))),
                401,
                "token-wrong-audience",
            ),
            (
                "for more than the gateway",
                of_access(&|claims| {
                    claims.aud = Some(Audience::Many(vec![ISSUER.to_owned(), format!("{ISSUER}/notes")]));
                }),
                401,
                "token-wrong-audience",
            ),
            ("for nobody", of_access(&|claims| claims.aud = None), 401, "token-wrong-audience"),
            (
                "an unknown client",
                of_access(&|claims| claims.client_id = Some("gone".to_owned())),
                401,
                "token-revoked",
            ),
            (
                "a member",
                of_access(&|claims| claims.sub = Some(MEMBER.to_string())),
                403,
                "credential-not-accepted",
            ),
            (
                "the owner of another workspace",
                of_access(&|claims| claims.workspace_id = Some(desk.other.to_string())),
                403,
                "credential-not-accepted",
            ),
        ] {
            let answer = desk.send("GET", PROJECTS, &authorization, "").await;
            assert_eq!(answer.problem(), (status, problem.to_owned()), "{what}");
        }
        let missing = desk.test.get(PROJECTS).await;
        assert_eq!(missing.problem(), (401, "credential-missing".to_owned()));
        assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"gateward\"");
    })
    .await;
}

#[tokio::test]
async fn a_reader_changes_nothing() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let reader = desk.sign(TokenType::Service, &desk.service_claims(desk.demo, "gateward:projects:read"));
        for (method, target) in [("PUT", "/v1/projects/notes"), ("POST", "/v1/projects/notes/rollback")] {
            let answer = desk.send(method, target, &reader, "{}").await;
            assert_eq!(answer.problem(), (403, "insufficient-scope".to_owned()), "{target}");
            assert!(answer.header("www-authenticate").contains("scope=\"gateward:projects\""));
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_revoked_is_refused_at_once() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let service = desk.deployer(desk.demo);
        let access = desk.sign(TokenType::Access, &desk.access_claims(OWNER, "gateward:projects"));
        for authorization in [&service, &access] {
            assert_eq!(desk.send("GET", PROJECTS, authorization, "").await.status, 200);
        }
        let claims = desk.access_claims(OWNER, "gateward:projects");
        let mut admin = t.admin().await;
        for (kind, value, authorization) in [
            ("jti", claims.jti.clone(), &service),
            ("grant", claims.sid.unwrap(), &access),
            ("subject", OWNER.to_string(), &access),
            ("client", "demo-console".to_owned(), &access),
        ] {
            let insert = format!(
                "INSERT INTO auth_gateway.revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
                 VALUES ('{kind}', '{value}', '{}', timestamptz '2026-11-21 10:00:00.4Z', timestamptz '2026-11-21 11:00Z', 'test', '{{}}', now())",
                desk.demo
            );
            execute(&mut admin, insert).await;
            let answer = desk.send("GET", PROJECTS, authorization, "").await;
            assert_eq!(answer.problem(), (401, "token-revoked".to_owned()), "{kind}");
            execute(&mut admin, "DELETE FROM auth_gateway.revocations".to_owned()).await;
            assert_eq!(desk.send("GET", PROJECTS, authorization, "").await.status, 200, "{kind}");
        }
        execute(&mut admin, "UPDATE auth_gateway.user_accounts SET status = 'suspended'".to_owned()).await;
        assert_eq!(desk.send("GET", PROJECTS, &access, "").await.status, 403);
        t.clock.advance(Duration::from_mins(5));
        let answer = desk.send("GET", PROJECTS, &service, "").await;
        assert_eq!(answer.problem(), (401, "token-expired".to_owned()));
    })
    .await;
}
