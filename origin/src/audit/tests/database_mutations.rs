//! What an owner of the database does to it shows in a fresh export, held to a checkpoint that was published before.

use super::*;
use crate::audit::verify::FaultKind;
use crate::test_database::{self, execute};

/// Seals and publishes nine events, lets the owner do something, and judges a fresh export.
async fn after(change: &str) -> Report {
    let report = std::sync::Mutex::new(None);
    let run = test_database::run_leaving_work(async |t| {
        append(t, &[1, 2], 4).await;
        append_replay(t, 3).await;
        seal(t).await;
        let published = published(t).await;
        execute(&mut t.admin().await, change.to_owned()).await;
        *report.lock().unwrap() = Some(check(&exported(t, 0).await, &[published]));
    });
    Box::pin(run).await;
    report.into_inner().unwrap().unwrap()
}

async fn is_caught(change: &str, kind: FaultKind, position: Option<u64>) {
    let report = after(change).await;
    let found = report.faults.iter().find(|fault| fault.kind == kind);
    let found = found.unwrap_or_else(|| panic!("{change}: {report:?}"));
    assert!(position.is_none() || found.position == position, "{change}: {report:?}");
}

/// The event at a position.
const AT_4: &str = "event_id = (SELECT event_id FROM auth_gateway.event_log WHERE position = 4)";

#[tokio::test]
async fn nothing_done_nothing_found() {
    assert_eq!(after("SELECT").await.faults, []);
}

#[tokio::test]
async fn a_changed_column_is_caught() {
    for assignment in [
        "payload = jsonb_set(payload, '{client_id}', '\"evil-app\"')",
        "payload = '{}'",
        "metadata = jsonb_set(metadata, '{service_name}', '\"nobody\"')",
        "occurred_at = occurred_at + interval '1 microsecond'",
        "event_type = 'GrantRevoked'",
        "workspace_id = gen_random_uuid()",
        "schema_version = 2",
    ] {
        let change = format!("UPDATE auth_gateway.events SET {assignment} WHERE {AT_4}");
        is_caught(&change, FaultKind::Row, Some(4)).await;
    }
}

#[tokio::test]
async fn a_changed_body_or_chain_is_caught() {
    for (assignment, kind) in [
        ("body = set_byte(body, 40, get_byte(body, 40) # 1)", FaultKind::Leaf),
        ("body = '\\xff'", FaultKind::Leaf),
        ("event_hash = sha256('')", FaultKind::EventHash),
        ("version = version + 10, prev_hash = sha256('')", FaultKind::Chain),
    ] {
        let change = format!("UPDATE auth_gateway.events SET {assignment} WHERE {AT_4}");
        is_caught(&change, kind, Some(4)).await;
    }
}

#[tokio::test]
async fn a_change_that_was_made_to_fit_is_caught() {
    // The only event of its aggregate, with hash and leaf hash as they would be: only the root tells.
    let report = after(
        "UPDATE auth_gateway.events SET body = convert_to(replace(convert_from(body, 'UTF8'), 'demo-app', 'evil-app'), 'UTF8'),
                payload = jsonb_set(payload, '{client_id}', '\"evil-app\"')
         WHERE aggregate_id = '00000000-0000-0000-0000-000000000003';
         UPDATE auth_gateway.events SET event_hash = sha256(body) WHERE aggregate_id = '00000000-0000-0000-0000-000000000003';
         UPDATE auth_gateway.event_log SET leaf_hash = sha256('\\x00'::bytea || convert_to(
                'gateward-event/v1' || chr(10) || 'version 1' || chr(10) || 'prev none' || chr(10)
                || 'hash ' || encode(event_hash, 'base64') || chr(10), 'UTF8') || body)
         FROM auth_gateway.events
         WHERE events.event_id = event_log.event_id AND aggregate_id = '00000000-0000-0000-0000-000000000003'",
    )
    .await;
    let kinds: Vec<_> = report.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Root, FaultKind::Root], "the published one and the log's own: {report:?}");
}

#[tokio::test]
async fn a_deleted_event_is_caught() {
    is_caught(&format!("DELETE FROM auth_gateway.events WHERE {AT_4}"), FaultKind::Missing, Some(4)).await;
}

#[tokio::test]
async fn a_deleted_position_is_caught() {
    is_caught("DELETE FROM auth_gateway.event_log WHERE position = 4", FaultKind::Position, Some(5)).await;
    is_caught("DELETE FROM auth_gateway.event_log WHERE position = 8", FaultKind::Truncated, None).await;
}

#[tokio::test]
async fn positions_that_were_exchanged_are_caught() {
    is_caught(
        "UPDATE auth_gateway.event_log SET position = 100 WHERE position = 3;
         UPDATE auth_gateway.event_log SET position = 3 WHERE position = 4;
         UPDATE auth_gateway.event_log SET position = 4 WHERE position = 100",
        FaultKind::Root,
        None,
    )
    .await;
}

#[tokio::test]
async fn a_deleted_checkpoint_is_caught() {
    // Without the last checkpoint the export would end earlier; without any there is none.
    test_database::run_leaving_work(async |t| {
        append(t, &[1, 2], 4).await;
        seal(t).await;
        append(t, &[1, 2], 1).await;
        seal(t).await;
        let published = published(t).await;
        let mut admin = t.admin().await;
        execute(&mut admin, "DELETE FROM auth_gateway.audit_checkpoints WHERE size = 10".to_owned()).await;
        let report = check(&exported(t, 0).await, std::slice::from_ref(&published));
        assert_eq!(report.faults[0].kind, FaultKind::Truncated, "{report:?}");
        execute(&mut admin, "DELETE FROM auth_gateway.audit_checkpoints".to_owned()).await;
        assert!(export(&t.database, 0, &mut Vec::new()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_database_that_was_set_back_is_caught() {
    // Events, log, state and checkpoints as they were after the first four.
    test_database::run_leaving_work(async |t| {
        append(t, &[1, 2], 2).await;
        seal(t).await;
        let mut admin = t.admin().await;
        execute(
            &mut admin,
            "CREATE TABLE public.before AS SELECT size, frontier FROM auth_gateway.audit_log_state".to_owned(),
        )
        .await;
        append(t, &[1, 2], 3).await;
        seal(t).await;
        let published = published(t).await;
        execute(
            &mut admin,
            "DELETE FROM auth_gateway.events WHERE event_id IN (
                 SELECT event_id FROM auth_gateway.event_log WHERE position >= 4);
             DELETE FROM auth_gateway.event_log WHERE position >= 4;
             DELETE FROM auth_gateway.audit_checkpoints WHERE size > 4;
             UPDATE auth_gateway.audit_log_state SET size = before.size, frontier = before.frontier FROM public.before"
                .to_owned(),
        )
        .await;
        let report = check(&exported(t, 0).await, &[published]);
        assert_eq!(report.faults.len(), 1, "{report:?}");
        assert_eq!(report.faults[0].kind, FaultKind::Truncated);
    })
    .await;
}
