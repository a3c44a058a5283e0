//! A proof of one event stands by itself.

use shared::tlog::{ProofFile, cosign};

use super::*;
use crate::audit::{ProofFault, ProveError, prove, verify_proof};
use crate::test_database::{self, execute};

#[tokio::test]
async fn every_event_can_be_proved_to_be_in_the_log() {
    test_database::run(async |t| {
        let mut ids = append(t, &[1, 2, 3], 3).await;
        assert!(matches!(prove(&t.database, ids[0]).await, Err(ProveError::Unknown(_))));
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        assert!(matches!(prove(&t.database, ids[0]).await, Err(ProveError::Unsigned(..))));
        seal(t).await;
        ids.extend(append(t, &[1], 2).await);
        seal(t).await;
        for id in &ids {
            let proof = prove(&t.database, *id).await.unwrap();
            let proved = verify_proof(&proof.to_string(), &[key()], None).unwrap();
            assert_eq!(proved.event["event_id"], id.to_string());
            assert_eq!((proved.size, proved.origin.as_str()), (11, ORIGIN));
        }
        let unknown = Uuid::from_u128(1);
        assert!(matches!(prove(&t.database, unknown).await, Err(ProveError::Unknown(_))));
    })
    .await;
}

#[tokio::test]
async fn a_proof_holds_for_its_event_key_and_witness_only() {
    test_database::run(async |t| {
        let ids = append(t, &[1, 2], 3).await;
        seal(t).await;
        let proof = prove(&t.database, ids[1]).await.unwrap();
        let other = prove(&t.database, ids[2]).await.unwrap();
        let forged = ProofFile { leaf: other.leaf, ..proof.clone() };
        assert!(matches!(verify_proof(&forged.to_string(), &[key()], None), Err(ProofFault::Proof(_))));
        let stranger = of_seed(2).verifier().clone();
        assert!(verify_proof(&proof.to_string(), &[stranger], None).is_err());

        let witness = NoteSigner::new("w.test", Algorithm::CosignatureV1, &Zeroizing::new([5; 32])).unwrap();
        let asked = Some(witness.verifier());
        assert!(matches!(verify_proof(&proof.to_string(), &[key()], asked), Err(ProofFault::Witness(..))));
        let text = proof.checkpoint.split_once("\n\n").unwrap().0.to_owned() + "\n";
        let line = cosign(&witness, 1_700_000_000, &text);
        let cosigned = ProofFile { checkpoint: format!("{}{line}", proof.checkpoint), ..proof };
        let proved = verify_proof(&cosigned.to_string(), &[key()], asked).unwrap();
        assert_eq!(proved.cosigned_at, Some(1_700_000_000));
    })
    .await;
}

#[tokio::test]
async fn a_changed_event_has_no_proof() {
    test_database::run_leaving_work(async |t| {
        let ids = append(t, &[1, 2], 3).await;
        seal(t).await;
        let change = format!("UPDATE auth_gateway.events SET body = '{{}}' WHERE event_id = '{}'", ids[1]);
        execute(&mut t.admin().await, change).await;
        assert!(matches!(prove(&t.database, ids[1]).await, Err(ProveError::Changed(..))));
        assert!(prove(&t.database, ids[2]).await.is_ok());
        let change = format!("DELETE FROM auth_gateway.events WHERE event_id = '{}'", ids[1]);
        execute(&mut t.admin().await, change).await;
        assert!(matches!(prove(&t.database, ids[1]).await, Err(ProveError::Changed(..))));
    })
    .await;
}
