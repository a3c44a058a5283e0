//! Issue, list and revoke, against a real Postgres.

use std::time::Duration;

use shared::jwt::{TokenType, verify_own};
use shared::scope::Scopes;
use uuid::Uuid;

use super::{Revoked, ServiceTokenError, TokenRequest, issue, list, revoke};
use crate::configuration::{Issuer, KeyBytes, Source, TokenConfiguration};
use crate::projects;
use crate::signing_keys::{self, Sealer};
use crate::test_database::{self, TestDatabase};

fn issuer() -> Issuer {
    let pairs = [
        ("ISSUER", "https://auth.example.test"),
        ("DATABASE_URL", "postgres://a@localhost/b"),
        ("KEY_ENCRYPTION_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"),
    ];
    TokenConfiguration::read(&Source::of(pairs)).unwrap_or_else(|faults| panic!("{faults}")).issuer
}

fn request(project: &str) -> TokenRequest {
    TokenRequest {
        project: project.to_owned(),
        service: "worker".to_owned(),
        scopes: Scopes::parse("notes:read").unwrap(),
        lifetime: Duration::from_hours(24),
        issued_by: "ann".to_owned(),
    }
}

async fn project(t: &TestDatabase) {
    let text = "[workspace]\nslug = \"demo\"\nname = \"Demo\"\n[[project]]\nslug = \"notes\"\n[[project.service]]\nslug = \"api\"\n\
                upstreams = [\"http://127.0.0.1:9100\"]\n";
    projects::apply(&t.database, &projects::Declaration::parse(text).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_token_verifies_is_listed_and_can_be_revoked_once() {
    test_database::run(async |t| {
        project(t).await;
        let sealer = Sealer::new(&KeyBytes::new([7; 32]));
        let issued = issue(&t.database, &sealer, &issuer(), &request("notes")).await.unwrap();

        let key = signing_keys::active(&t.database, &sealer).await.unwrap();
        let claims: shared::jwt::Claims =
            verify_own(issued.token.expose(), TokenType::Service.typ(), &key.verification_key()).unwrap();
        assert_eq!(claims.iss.as_deref(), Some("https://auth.example.test"));
        assert_eq!((claims.project.as_deref(), claims.service.as_deref()), (Some("notes"), Some("worker")));
        assert_eq!(claims.jti, issued.jti.to_string());
        assert_eq!(claims.iat, t.clock.unix_seconds());
        assert_eq!(claims.exp - claims.iat, 86_400);
        assert_eq!(claims.scope, Scopes::parse("notes:read").unwrap());

        let listed = list(&t.database, Some("notes")).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].jti, listed[0].revoked_at), (issued.jti, None));
        assert!(list(&t.database, Some("other")).await.unwrap().is_empty());

        t.clock.advance(Duration::from_mins(1));
        assert_eq!(revoke(&t.database, issued.jti, "ann", "left the company").await.unwrap(), Revoked::Now);
        assert_eq!(revoke(&t.database, issued.jti, "bob", "again").await.unwrap(), Revoked::Before);
        let listed = list(&t.database, None).await.unwrap();
        assert_eq!(listed[0].revoke_reason.as_deref(), Some("left the company"));
        let revocations: Vec<(String, String, time::OffsetDateTime)> =
            sqlx::query_as("SELECT kind, value, expires_at FROM auth_gateway.revocations")
                .fetch_all(&mut t.admin().await)
                .await
                .unwrap();
        assert_eq!(revocations, [("jti".to_owned(), issued.jti.to_string(), issued.expires_at)]);
        let events: Vec<String> = sqlx::query_scalar(
            "SELECT event_type FROM auth_gateway.events WHERE aggregate_type = 'service_token' ORDER BY version",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(events, ["ServiceTokenIssued", "ServiceTokenRevoked"]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_nothing() {
    test_database::run(async |t| {
        project(t).await;
        let sealer = Sealer::new(&KeyBytes::new([7; 32]));
        let error = issue(&t.database, &sealer, &issuer(), &request("nothing")).await.err().unwrap();
        assert!(matches!(error, ServiceTokenError::NoProject { ref slug } if slug == "nothing"), "{error}");
        for (service, lifetime) in [("", 60), ("a b", 60), ("worker", 0), ("worker", 367 * 86_400)] {
            let request = TokenRequest {
                service: service.to_owned(),
                lifetime: Duration::from_secs(lifetime),
                ..request("notes")
            };
            let error = issue(&t.database, &sealer, &issuer(), &request).await.err().unwrap();
            assert!(matches!(error, ServiceTokenError::Faulty { .. }), "{error}");
        }
        let error = revoke(&t.database, Uuid::from_u128(1), "ann", "x").await.unwrap_err();
        assert!(matches!(error, ServiceTokenError::NoToken { .. }), "{error}");
        assert!(list(&t.database, None).await.unwrap().is_empty());
    })
    .await;
}
