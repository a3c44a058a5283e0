//! A witness as the protocol describes it: it remembers one checkpoint, and cosigns what provably follows from it.

use std::sync::{Arc, Mutex};

use shared::tlog::{
    Checkpoint, CheckpointError, Hash, NoteError, cosign, empty_root, hash_from_base64, verify_consistency,
};

use super::*;
use crate::audit::verify::published_checkpoints;
use crate::configuration::WitnessConfiguration;
use crate::egress::test_server::{Behaviour, Received, TestServer, answer};
use crate::test_database::{self, execute};

const TIME: u64 = 1_700_000_000;

fn witness_signer() -> NoteSigner {
    NoteSigner::new("w.test/1", Algorithm::CosignatureV1, &Zeroizing::new([5; 32])).unwrap()
}

/// What the witness saw last.
type Seen = Arc<Mutex<(u64, Hash)>>;

/// c2sp.org/tlog-witness, add-checkpoint.
fn add_checkpoint(request: &Received, seen: &Seen, keys: &[VerifierKey]) -> String {
    assert!(request.head.starts_with("POST /w/add-checkpoint HTTP/1.1\r\n"), "{}", request.head);
    let body = std::str::from_utf8(&request.body).unwrap();
    let (head, note) = body.split_once("\n\n").unwrap();
    let mut lines = head.split('\n');
    let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
    let proof: Vec<Hash> = lines.map(|line| hash_from_base64(line).unwrap()).collect();
    let plain = |status| answer(status, "", "");
    let checkpoint = match Checkpoint::verified(note, keys) {
        Ok((checkpoint, _)) => checkpoint,
        Err(CheckpointError::Origin) => return plain("404 Not Found"),
        Err(CheckpointError::Note(NoteError::Unknown)) => return plain("403 Forbidden"),
        Err(error) => panic!("{error}"),
    };
    let mut seen = seen.lock().unwrap();
    if old > checkpoint.size {
        return plain("400 Bad Request");
    }
    if old != seen.0 || (old == checkpoint.size && seen.1 != checkpoint.root) {
        return answer("409 Conflict", "Content-Type: text/x.tlog.size\r\n", &format!("{}\n", seen.0));
    }
    let root = if old == 0 { empty_root() } else { seen.1 };
    if verify_consistency(old, &root, checkpoint.size, &checkpoint.root, &proof).is_err() {
        return plain("422 Unprocessable Content");
    }
    *seen = (checkpoint.size, checkpoint.root);
    let stranger = NoteSigner::new("w.test/2", Algorithm::CosignatureV1, &Zeroizing::new([6; 32])).unwrap();
    let lines =
        [&stranger, &witness_signer()].map(|signer| cosign(signer, TIME, &checkpoint.text()).to_string());
    answer("200 OK", "", &lines.concat())
}

async fn start(keys: Vec<VerifierKey>) -> (TestServer, Seen) {
    let seen: Seen = Arc::new(Mutex::new((0, empty_root())));
    let of_server = Arc::clone(&seen);
    let server =
        TestServer::start(Behaviour::answer(move |request| add_checkpoint(request, &of_server, &keys))).await;
    (server, seen)
}

/// A keeper that publishes to this witness and nowhere else, as a process has it that just started.
fn fresh_keeper(t: &TestDatabase, server: &TestServer) -> Keeper {
    let key = witness_signer().verifier().clone();
    let configuration = AuditConfiguration {
        witness: Some(WitnessConfiguration { url: server.http("/w").parse().unwrap(), key }),
        ..configuration()
    };
    keeper(t, Publisher::all(&configuration, &t.forwarder))
}

async fn grow(t: &TestDatabase) {
    append(t, &[1, 2], 3).await;
    assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
}

async fn latest(t: &TestDatabase) -> crate::audit::StoredCheckpoint {
    let mut scope = t.database.scope(Actor::System(Component::Auditor)).await.unwrap();
    latest_checkpoint(&mut scope).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_witness_cosigns_a_log_that_grows_and_its_line_is_kept() {
    test_database::run(async |t| {
        let (server, seen) = start(vec![key()]).await;
        let keeper = fresh_keeper(t, &server);
        for size in [6, 12, 18] {
            grow(t).await;
            keeper.once().await.unwrap();
            assert_eq!(seen.lock().unwrap().0, size);
            let latest = latest(t).await;
            assert_eq!(latest.cosignatures.len(), 1, "its own line alone, not a stranger's");
            let witness = witness_signer();
            let read = published_checkpoints("w", &latest.cosigned(), Some(witness.verifier())).unwrap();
            assert_eq!(check(&exported(t, 0).await, &read).faults, []);
        }
        assert_eq!(server.asked(), 3, "it remembers how far the witness is");
        // A process that starts does not know, and learns it.
        grow(t).await;
        fresh_keeper(t, &server).once().await.unwrap();
        assert_eq!((server.asked(), seen.lock().unwrap().0), (5, 24));
        // One that comes late changes nothing.
        fresh_keeper(t, &server).once().await.unwrap();
        assert_eq!((latest(t).await.cosignatures.len(), seen.lock().unwrap().0), (1, 24));
        // What is not cosigned does not count where a witness is asked for.
        let witness = witness_signer();
        assert!(published_checkpoints("w", &latest(t).await.note, Some(witness.verifier())).is_err());
    })
    .await;
}

#[tokio::test]
async fn a_witness_that_refuses_or_is_away_says_why_and_is_asked_again() {
    test_database::run(async |t| {
        grow(t).await;
        for (keys, expected) in [(vec![], "404"), (vec![of_seed(2).verifier().clone()], "403")] {
            let (server, _) = start(keys).await;
            let said = fresh_keeper(t, &server).once().await.unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("gateward audit key"), "{said}");
        }
        for (behaviour, expected) in [
            (Behaviour::status("500 Internal Server Error", "", ""), "500"),
            (Behaviour::status("200 OK", "", "hello\n"), "signature lines"),
            (
                Behaviour::status(
                    "200 OK",
                    "",
                    &cosign(&witness_signer(), TIME, "another\n1\nx\n").to_string(),
                ),
                "no cosignature",
            ),
            (Behaviour::status("409 Conflict", "", "no number\n"), "was changed"),
        ] {
            let server = TestServer::start(behaviour).await;
            let said = fresh_keeper(t, &server).once().await.unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        assert!(latest(t).await.cosignatures.is_empty());
        let (server, _) = start(vec![key()]).await;
        fresh_keeper(t, &server).once().await.unwrap();
        assert_eq!(latest(t).await.cosignatures.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_witness_does_not_cosign_a_log_that_was_changed_or_set_back() {
    test_database::run_leaving_work(async |t| {
        let (server, seen) = start(vec![key()]).await;
        grow(t).await;
        fresh_keeper(t, &server).once().await.unwrap();
        let before = *seen.lock().unwrap();
        execute(
            &mut t.admin().await,
            "DELETE FROM auth_gateway.event_log; DELETE FROM auth_gateway.audit_checkpoints;
             DELETE FROM auth_gateway.events; UPDATE auth_gateway.audit_log_state SET size = 0, frontier = ''"
                .to_owned(),
        )
        .await;
        append(t, &[1], 2).await;
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        let said = fresh_keeper(t, &server).once().await.unwrap_err().to_string();
        assert!(said.contains("set back"), "{said}");
        append(t, &[1], 4).await;
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        let said = fresh_keeper(t, &server).once().await.unwrap_err().to_string();
        assert!(said.contains("another root"), "{said}");
        append(t, &[1], 4).await;
        assert!(forwarder(t, "a").drain().await.unwrap().is_complete());
        let said = fresh_keeper(t, &server).once().await.unwrap_err().to_string();
        assert!(said.contains("422"), "{said}");
        assert_eq!(*seen.lock().unwrap(), before);
    })
    .await;
}
