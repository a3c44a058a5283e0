//! Personal data stands in the log as salted commitments: with the salt one can be checked, and without it the log still verifies.

use serde_json::json;

use super::*;
use crate::events::field::{CommitmentSalt, Pseudonym};
use crate::events::payload::{SignInMethod, UserRegistered};
use crate::retention::{Person, erase};
use crate::test_database::{self, execute};

const PERSON: Uuid = Uuid::from_u128(0xA);
const EMAIL: &str = "ann@example.test";

#[tokio::test]
async fn a_commitment_can_be_checked_while_there_is_a_salt_and_the_log_verifies_after_it() {
    test_database::run(async |t| {
        let salt = CommitmentSalt([9; 16]);
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            format!(
                "INSERT INTO auth_gateway.user_accounts (id, email, email_salt, created_at, updated_at)
                 VALUES ('{PERSON}', '{EMAIL}', decode(repeat('09', 16), 'hex'), now(), now())"
            ),
        )
        .await;
        let registered =
            UserRegistered { email: Pseudonym::commit(salt, EMAIL), method: SignInMethod::EmailCode };
        let mut scope = t.database.scope(Actor::System(Component::Authenticator)).await.unwrap();
        scope.append(NewEvent::of_platform(PERSON, &registered)).await.unwrap();
        scope.commit().await.unwrap();
        seal(t).await;
        let (before, published) = (exported(t, 0).await, published(t).await);
        let text = String::from_utf8(before.clone()).unwrap();
        assert!(!text.contains("ann") && !text.contains("example.test"), "the address is in the log");

        // Whoever has salt and address finds the commitment in the log; with another address nobody does.
        let stored: Vec<u8> =
            sqlx::query_scalar("SELECT email_salt FROM auth_gateway.user_accounts WHERE id = $1")
                .bind(PERSON)
                .fetch_one(&mut admin)
                .await
                .unwrap();
        let stored = CommitmentSalt(stored.try_into().unwrap());
        let opens = |address: &str, text: &str| {
            let commitment = json!(Pseudonym::commit(stored, address));
            text.contains(commitment.as_str().unwrap())
        };
        assert!(opens(EMAIL, &text) && !opens("bob@example.test", &text));

        erase(&t.database, &Person::Id(PERSON)).await.unwrap();
        let left: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT email_salt FROM auth_gateway.user_accounts WHERE id = $1")
                .bind(PERSON)
                .fetch_one(&mut admin)
                .await
                .unwrap();
        assert_ne!(left, Some(vec![9; 16]), "the salt is still there");
        seal(t).await;
        let after = exported(t, 0).await;
        assert_eq!(
            check(&after, &[published]).faults,
            [],
            "what was published before the erasure still holds"
        );
    })
    .await;
}
