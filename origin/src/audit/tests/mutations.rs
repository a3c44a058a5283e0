//! Everything that can be done to an exported log is caught: by somebody careless, by somebody who recomputes whatever can be
//! recomputed, and by somebody who has the key.

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::tlog::{Checkpoint, Frontier, base64, hash_from_base64};
use tokio::sync::OnceCell;

use super::*;
use crate::audit::Leaf;
use crate::audit::verify::FaultKind;
use crate::test_database;

/// A log that was really sealed, exported and published, at two moments.
struct Sample {
    /// Nine events of three aggregates, one of them of a single event.
    older: Vec<u8>,
    older_published: PublishedCheckpoint,
    /// The same and six more.
    log: Vec<u8>,
    published: PublishedCheckpoint,
}

async fn sample() -> &'static Sample {
    static SAMPLE: OnceCell<Sample> = OnceCell::const_new();
    SAMPLE
        .get_or_init(async || {
            let made = std::sync::Mutex::new(None);
            let run = test_database::run(async |t| {
                append(t, &[1, 2], 4).await;
                append_replay(t, 3).await;
                seal(t).await;
                let (older, older_published) = (exported(t, 0).await, published(t).await);
                append(t, &[1, 2], 3).await;
                seal(t).await;
                let log = exported(t, 0).await;
                let published = published(t).await;
                *made.lock().unwrap() = Some(Sample { older, older_published, log, published });
            });
            Box::pin(run).await;
            made.into_inner().unwrap().unwrap()
        })
        .await
}

fn kinds(report: &Report) -> Vec<FaultKind> {
    report.faults.iter().map(|fault| fault.kind).collect()
}

/// The lines of the sample's log, to be changed: header, two checkpoints, fifteen events.
fn lines(log: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(log).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FIRST_EVENT: usize = 3;

/// Writes lines as the exporter does: members in its order.
fn written(lines: &[Value]) -> Vec<u8> {
    const ORDER: [&str; 13] = [
        "gateward_audit_log",
        "origin",
        "from",
        "size",
        "frontier",
        "checkpoint",
        "position",
        "leaf_hash",
        "version",
        "prev_hash",
        "event_hash",
        "body",
        "row",
    ];
    let mut bytes = Vec::new();
    for line in lines {
        let members: Vec<String> = ORDER
            .iter()
            .filter_map(|name| line.get(name).map(|value| format!("{}:{value}", json!(name))))
            .collect();
        bytes.extend_from_slice(format!("{{{}}}\n", members.join(",")).as_bytes());
    }
    bytes
}

/// What a careful forger does after changing lines: positions, chains, leaf hashes and the header are made to fit, and the
/// checkpoints are signed anew by `signer`.
fn resealed(lines: &[Value], signer: &NoteSigner) -> Vec<u8> {
    let mut chains: std::collections::HashMap<String, (u64, [u8; 32])> = std::collections::HashMap::new();
    let mut tree = Frontier::new();
    let (mut checkpoints, mut events) = (Vec::new(), Vec::new());
    for line in &lines[FIRST_EVENT..] {
        let body = line["body"].as_str().unwrap().as_bytes().to_vec();
        let said: Value = serde_json::from_slice(&body).unwrap();
        let before = chains.get(&said["aggregate_id"].to_string()).copied();
        let (version, prev_hash) = before.map_or((1, None), |(version, hash)| (version + 1, Some(hash)));
        let event_hash: [u8; 32] = Sha256::new()
            .chain_update(prev_hash.map_or(vec![], |hash| hash.to_vec()))
            .chain_update(&body)
            .finalize()
            .into();
        chains.insert(said["aggregate_id"].to_string(), (version, event_hash));
        let leaf = Leaf { version, prev_hash, event_hash, body };
        events.push(json!({
            "position": tree.size(), "leaf_hash": base64(&leaf.hash()), "version": version,
            "prev_hash": prev_hash.map(|hash| base64(&hash)), "event_hash": base64(&event_hash), "body": line["body"],
        }));
        tree.push(&leaf.to_bytes());
        if tree.size() == 9 {
            let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: 9, root: tree.root() };
            checkpoints.push(json!({"checkpoint": checkpoint.sign(signer)}));
        }
    }
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
    if tree.size() != 9 {
        checkpoints.push(json!({"checkpoint": checkpoint.sign(signer)}));
    }
    let mut header = lines[0].clone();
    header["size"] = json!(tree.size());
    written(&[vec![header], checkpoints, events].concat())
}

/// The change is caught when made carelessly, when everything is made to fit with another key, and when it is made to fit with the
/// very key of the log: then by what was published, and by that alone.
async fn is_caught(change: impl Fn(&mut Vec<Value>)) -> Report {
    let sample = sample().await;
    let mut changed = lines(&sample.log);
    change(&mut changed);
    let careless = check(&written(&changed), std::slice::from_ref(&sample.published));
    assert!(!careless.is_whole(), "a careless change is not caught");

    let forged = resealed(&changed, &of_seed(2));
    let report = check(&forged, std::slice::from_ref(&sample.published));
    assert!(kinds(&report).contains(&FaultKind::Checkpoint), "{report:?}");

    let with_the_key = resealed(&changed, &signer());
    let own = lines(&with_the_key);
    let (size, last) =
        (own[0]["size"].as_u64().unwrap(), own.iter().rfind(|line| line.get("checkpoint").is_some()));
    let unpublished = PublishedCheckpoint {
        place: "the forger".to_owned(),
        note: last.unwrap()["checkpoint"].as_str().unwrap().to_owned(),
    };
    let believed = check(&with_the_key, &[unpublished]);
    assert_eq!(believed.faults, [], "what the forger made is whole by itself: {size}");
    let report = check(&with_the_key, std::slice::from_ref(&sample.published));
    assert!(
        kinds(&report).iter().any(|kind| matches!(kind, FaultKind::Root | FaultKind::Truncated)),
        "a fork with the log's own key is not caught: {report:?}"
    );
    careless
}

#[tokio::test]
async fn the_log_as_it_was_exported_verifies_with_old_and_new_checkpoints() {
    let sample = sample().await;
    let both = [sample.older_published.clone(), sample.published.clone()];
    let report = check(&sample.log, &both);
    assert_eq!(report.faults, []);
    assert_eq!((report.events, report.aggregates, report.checkpoints), (15, 3, 4));
    assert_eq!((report.size, report.published_size, report.origin.as_str()), (15, 15, ORIGIN));
    let report = check(&sample.log, &both[..1]);
    assert_eq!((report.faults.len(), report.published_size), (0, 9), "later events are not published yet");
    let report = check(&sample.older, &both[..1]);
    assert_eq!((report.faults.len(), report.published_size), (0, 9));
}

#[tokio::test]
async fn a_changed_body_is_caught() {
    let report = is_caught(|lines| {
        let body = lines[FIRST_EVENT + 4]["body"].as_str().unwrap().replace("demo-app", "demo-apq");
        lines[FIRST_EVENT + 4]["body"] = json!(body);
    })
    .await;
    assert_eq!(report.faults[0].position, Some(4), "{report:?}");
    let found = kinds(&report);
    assert!(found.contains(&FaultKind::Leaf) && found.contains(&FaultKind::EventHash), "{found:?}");
    let root = report.faults.iter().find(|fault| fault.kind == FaultKind::Root).unwrap();
    assert!(root.reason.contains("up to 0 they were"), "{root:?}");
}

#[tokio::test]
async fn a_change_is_narrowed_down_to_between_two_checkpoints() {
    let sample = sample().await;
    let mut changed = lines(&sample.log);
    changed[FIRST_EVENT + 11]["version"] = json!(1);
    let report = check(&written(&changed), std::slice::from_ref(&sample.published));
    let roots: Vec<_> = report.faults.iter().filter(|fault| fault.kind == FaultKind::Root).collect();
    assert!(
        !roots.is_empty() && roots.iter().all(|fault| fault.reason.contains("up to 9 they were")),
        "{roots:?}"
    );
}

#[tokio::test]
async fn a_change_in_any_field_of_the_chain_is_caught() {
    let other = json!(base64(&[7; 32]));
    for (field, value, kind) in [
        ("version", json!(9), FaultKind::Chain),
        ("prev_hash", other.clone(), FaultKind::Chain),
        ("prev_hash", json!(null), FaultKind::Chain),
        ("event_hash", other.clone(), FaultKind::EventHash),
        ("leaf_hash", other.clone(), FaultKind::Leaf),
        ("position", json!(99), FaultKind::Position),
        ("row", json!("{}"), FaultKind::Row),
    ] {
        let sample = sample().await;
        let mut changed = lines(&sample.log);
        // The second event of an aggregate: it has one before it.
        let at = changed.iter().position(|line| line["version"] == 2).unwrap();
        changed[at][field] = value;
        let report = check(&written(&changed), std::slice::from_ref(&sample.published));
        assert!(kinds(&report).contains(&kind), "{field}: {report:?}");
    }
}

#[tokio::test]
async fn a_dropped_tail_is_caught() {
    let report = is_caught(|lines| lines.truncate(lines.len() - 2)).await;
    assert!(kinds(&report).contains(&FaultKind::Truncated), "{report:?}");
}

#[tokio::test]
async fn a_dropped_aggregate_is_caught() {
    for grant in [1_u128, 2, 3] {
        let id = Uuid::from_u128(grant).to_string();
        is_caught(|lines| lines.retain(|line| !line["body"].as_str().is_some_and(|body| body.contains(&id))))
            .await;
    }
}

#[tokio::test]
async fn a_dropped_middle_is_caught() {
    let report = is_caught(|lines| {
        lines.remove(FIRST_EVENT + 5);
    })
    .await;
    let fault = report.faults.iter().find(|fault| fault.kind == FaultKind::Position).unwrap();
    assert!(fault.reason.contains("events 5 to 5 are not in the file"), "{fault:?}");
}

#[tokio::test]
async fn a_dropped_beginning_is_caught() {
    is_caught(|lines| {
        lines.remove(FIRST_EVENT);
    })
    .await;
}

#[tokio::test]
async fn other_order_is_caught() {
    // Of two aggregates, so that no chain is broken by it.
    let report = is_caught(|lines| {
        let bodies: Vec<String> =
            lines.iter().map(|line| line["body"].as_str().unwrap_or_default().to_owned()).collect();
        let id = |number: u128| Uuid::from_u128(number).to_string();
        let one = bodies.iter().position(|body| body.contains(&id(1))).unwrap();
        let other = bodies.iter().position(|body| body.contains(&id(2))).unwrap();
        lines.swap(one, other);
    })
    .await;
    assert!(kinds(&report).contains(&FaultKind::Position), "{report:?}");
}

#[tokio::test]
async fn an_inserted_event_is_caught() {
    is_caught(|lines| {
        let mut event = lines[FIRST_EVENT + 2].clone();
        let body = event["body"].as_str().unwrap().replace("demo-app", "evil-app");
        event["body"] = json!(body);
        lines.insert(FIRST_EVENT + 3, event);
    })
    .await;
}

#[tokio::test]
async fn a_doubled_event_is_caught() {
    let report = is_caught(|lines| lines.insert(FIRST_EVENT + 3, lines[FIRST_EVENT + 2].clone())).await;
    assert!(kinds(&report).contains(&FaultKind::Position), "{report:?}");
}

#[tokio::test]
async fn an_event_that_was_appended_is_caught() {
    let sample = sample().await;
    let mut changed = lines(&sample.log);
    changed.push(changed[FIRST_EVENT + 14].clone());
    assert!(!check(&written(&changed), std::slice::from_ref(&sample.published)).is_whole());
    // With the log's own key it is a log that grew: what is new is vouched for by that key, and by nobody else.
    let grown = resealed(&changed, &signer());
    let report = check(&grown, std::slice::from_ref(&sample.published));
    assert_eq!((report.faults.len(), report.size, report.published_size), (0, 16, 15));
}

#[tokio::test]
async fn another_key_is_caught() {
    let sample = sample().await;
    // The whole log, unchanged, with checkpoints of another key of the same name.
    let report = check(&resealed(&lines(&sample.log), &of_seed(2)), std::slice::from_ref(&sample.published));
    assert!(kinds(&report).contains(&FaultKind::Checkpoint), "{report:?}");
    // And a published checkpoint of that key.
    let root = Checkpoint::unverified(&sample.published.note).unwrap().0;
    let resigned = PublishedCheckpoint { place: "elsewhere".to_owned(), note: root.sign(&of_seed(2)) };
    let report = check(&sample.log, &[resigned]);
    assert!(kinds(&report).contains(&FaultKind::Checkpoint), "{report:?}");
    assert!(!check(&sample.log, &[]).is_whole(), "nothing published, nothing proved");
}

#[tokio::test]
async fn an_older_state_is_caught() {
    // Log and checkpoints of yesterday, every signature genuine: what was published today tells.
    let sample = sample().await;
    let report = check(&sample.older, std::slice::from_ref(&sample.published));
    assert_eq!(kinds(&report), [FaultKind::Truncated], "{report:?}");
    assert!(report.faults[0].reason.contains("the log ends after 9 events"), "{report:?}");
    let both = [sample.older_published.clone(), sample.published.clone()];
    assert!(!check(&sample.older, &both).is_whole());
}

#[tokio::test]
async fn a_fork_is_caught() {
    // After the older checkpoint the operator goes on with another history, and signs it with the right key.
    let sample = sample().await;
    let mut forked = lines(&sample.log);
    let body = forked[FIRST_EVENT + 10]["body"].as_str().unwrap().replace("demo-app", "evil-app");
    forked[FIRST_EVENT + 10]["body"] = json!(body);
    let forked = resealed(&forked, &signer());
    let before = check(&forked, std::slice::from_ref(&sample.older_published));
    assert_eq!((before.faults.len(), before.published_size), (0, 9), "it agrees up to where it forks");
    let report = check(&forked, std::slice::from_ref(&sample.published));
    assert_eq!(kinds(&report), [FaultKind::Root], "{report:?}");
    assert!(report.faults[0].reason.contains("up to 9 they were"), "{report:?}");
}

#[tokio::test]
async fn a_log_of_another_name_is_caught() {
    let sample = sample().await;
    let other = NoteSigner::new("other.test", Algorithm::Ed25519, &Zeroizing::new([1; 32])).unwrap();
    let log =
        verify(&mut &sample.log[..], &[other.verifier().clone()], std::slice::from_ref(&sample.published));
    let found = kinds(&log.unwrap());
    assert!(found.contains(&FaultKind::Origin) && found.contains(&FaultKind::Checkpoint), "{found:?}");
}

#[tokio::test]
async fn after_a_change_of_keys_both_are_needed() {
    let sample = sample().await;
    let mut renewed = lines(&sample.log);
    let last = Checkpoint::unverified(&sample.published.note).unwrap().0;
    renewed[2]["checkpoint"] = json!(last.sign(&of_seed(2)));
    let (old, new) = (key(), of_seed(2).verifier().clone());
    let published = [PublishedCheckpoint { place: "elsewhere".to_owned(), note: last.sign(&of_seed(2)) }];
    let log = written(&renewed);
    assert!(verify(&mut &log[..], &[old.clone(), new.clone()], &published).unwrap().is_whole());
    assert!(!verify(&mut &log[..], &[new], &published).unwrap().is_whole());
    assert!(!verify(&mut &log[..], &[old], &published).unwrap().is_whole());
}

#[tokio::test]
async fn what_is_written_otherwise_is_caught() {
    let sample = sample().await;
    let text = String::from_utf8(sample.log.clone()).unwrap();
    let first = text.lines().nth(FIRST_EVENT).unwrap();
    for changed in [
        text.replacen("{\"position\"", "{ \"position\"", 1),
        text.replacen("\"position\":0", "\"position\":00", 1),
        text.replacen("\"position\":0", "\"position\":0,\"position\":0", 1),
        text.replacen("\"position\":0", "\"position\":0,\"more\":0", 1),
        text.replacen("demo", "\\u0064emo", 1),
        text.replacen('\n', "\r\n", 1),
        text.replacen('\n', "\n\n", 1),
        format!("{text}\n"),
        format!("{text}{first}"),
        text.trim_end().to_owned(),
        text.replacen("\"prev_hash\":null,", "", 1),
        String::new(),
        text.lines().next().unwrap().to_owned() + "\n",
    ] {
        assert_ne!(changed, text);
        let report = check(changed.as_bytes(), std::slice::from_ref(&sample.published));
        assert!(!report.is_whole(), "{changed}");
    }
}

#[tokio::test]
async fn a_part_of_the_log_verifies_against_later_checkpoints_alone() {
    test_database::run(async |t| {
        append(t, &[1, 2], 4).await;
        seal(t).await;
        let older = published(t).await;
        append(t, &[1, 2], 4).await;
        seal(t).await;
        let published = published(t).await;
        for from in [1, 7, 8, 9, 15] {
            let part = exported(t, from).await;
            let report = check(&part, std::slice::from_ref(&published));
            assert_eq!((report.faults.len(), report.from, report.events), (0, from, 16 - from), "{report:?}");
            let with_older = check(&part, std::slice::from_ref(&older));
            assert_eq!(with_older.is_whole(), from <= 8, "{from}: {with_older:?}");
            for at in 0..part.len() {
                let mut changed = part.clone();
                changed[at] ^= 1;
                let report = check(&changed, std::slice::from_ref(&published));
                assert!(!report.is_whole(), "byte {at} of {from}");
                if from != 15 && at > 700 {
                    break;
                }
            }
        }
        let mut nothing = Vec::new();
        assert!(export(&t.database, 16, &mut nothing).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn every_byte_counts() {
    test_database::run(async |t| {
        append(t, &[1], 2).await;
        append_replay(t, 2).await;
        seal(t).await;
        let (log, published) = (exported(t, 0).await, [published(t).await]);
        assert!(check(&log, &published).is_whole());
        for at in 0..log.len() {
            let mut changed = log.clone();
            changed[at] ^= 1 << (at % 8);
            let report = check(&changed, &published);
            assert!(!report.is_whole(), "byte {at} can be another: {}", String::from_utf8_lossy(&changed));
        }
    })
    .await;
}

#[test]
fn any_byte_anywhere_changed_inserted_or_removed_is_caught() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sample = runtime.block_on(sample());
    proptest!(ProptestConfig::with_cases(256), |(at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3_u8)| {
        let at = at.index(sample.log.len());
        let mut changed = sample.log.clone();
        match how {
            0 => changed[at] = byte,
            1 => changed.insert(at, byte),
            _ => { changed.remove(at); }
        }
        if changed != sample.log {
            let report = check(&changed, std::slice::from_ref(&sample.published));
            prop_assert!(!report.is_whole(), "byte {} -> {}, how {}", at, byte, how);
        }
    });
}

#[tokio::test]
async fn a_published_checkpoint_is_believed_whole_or_not_at_all() {
    let sample = sample().await;
    for at in 0..sample.published.note.len() {
        let mut changed = sample.published.note.clone().into_bytes();
        changed[at] ^= 1 << (at % 7);
        let Ok(note) = String::from_utf8(changed) else { continue };
        let report = check(&sample.log, &[PublishedCheckpoint { place: "elsewhere".to_owned(), note }]);
        assert!(!report.is_whole(), "byte {at}");
    }
    assert!(hash_from_base64("AAAA").is_none());
}
