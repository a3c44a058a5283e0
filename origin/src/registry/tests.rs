//! The registry against a real Postgres: what it shows, and that nothing old or foreign changes it.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use time::macros::datetime;
use uuid::Uuid;

use super::{ClientRegistry, Happened, fold};
use crate::clock::Randomness;
use crate::outbox::destination::{DeliveryFault, Destination};
use crate::outbox::{Delivery, lane_of};
use crate::projects::{self, Declaration};
use crate::test_database::{self, TestDatabase, execute};

const FILE: &str = r#"
[workspace]
slug = "demo"
[[project]]
slug = "notes"
name = "Notes"
[[project.service]]
slug = "api"
upstreams = ["http://10.0.0.7:9100"]
scopes = ["notes:read"]
credentials = ["access_token", "api_key"]
[[client]]
client_id = "demo-app"
name = "Demo app"
project = "notes"
redirect_uris = ["https://app.example.com/callback?state=secret"]
origins = ["https://app.example.com"]
scopes = ["notes:read", "notes:write"]
"#;

async fn apply(t: &TestDatabase, file: &str) {
    projects::apply(&t.database, &Declaration::parse(file).unwrap()).await.unwrap();
}

async fn table(t: &TestDatabase, name: &str) -> Vec<Value> {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT to_jsonb(t) FROM public.{name} AS t ORDER BY id")))
        .fetch_all(&mut t.registry_side().await)
        .await
        .unwrap()
}

/// All events of projects and clients as they would be delivered, in order.
async fn deliveries(t: &TestDatabase) -> Vec<Delivery> {
    sqlx::query_as(
        "SELECT 0::smallint AS lane, 0::bigint AS id, 0::smallint AS attempts, false AS parked, event_id, workspace_id,
                aggregate_type, aggregate_id, version, event_type, schema_version, payload, metadata, occurred_at
         FROM auth_gateway.events WHERE aggregate_type IN ('project', 'client')
         ORDER BY aggregate_type, aggregate_id, version",
    )
    .fetch_all(&mut t.admin().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn it_shows_projects_and_clients_as_they_are_and_nothing_of_where_their_upstreams_are() {
    test_database::run(async |t| {
        apply(t, FILE).await;
        t.clock.advance(std::time::Duration::from_mins(1));
        apply(t, &FILE.replace("Demo app", "Our app").replace("\"notes:write\"", "\"notes:admin\"")).await;
        apply(t, &FILE.replace("name = \"Notes\"", "name = \"Our notes\"").replace("Demo app", "Our app"))
            .await;
        let drained = t.registry_forwarder("one").drain().await.unwrap();
        assert_eq!((drained.delivered, drained.is_complete()), (5, true));

        let [client] = table(t, "oauth_clients").await.try_into().unwrap();
        let said = |name: &str| client[name].clone();
        assert_eq!(said("client_id"), "demo-app");
        assert_eq!(said("name"), "Our app");
        assert_eq!(said("kind"), "public");
        assert_eq!(said("redirect_uris"), json!(["https://app.example.com/callback"]));
        assert_eq!(said("origins"), json!(["https://app.example.com"]));
        assert_eq!(said("scopes"), json!(["notes:read", "notes:write"]));
        assert_eq!((said("enabled"), said("version")), (json!(true), json!(3)));
        assert_eq!(said("created_at"), "2026-11-21T10:00:00+00:00");
        assert_eq!(said("updated_at"), "2026-11-21T10:01:00+00:00");

        let [project] = table(t, "projects").await.try_into().unwrap();
        assert_eq!(said("project_id"), project["id"]);
        assert_eq!((&project["slug"], &project["name"]), (&json!("notes"), &json!("Our notes")));
        assert_eq!((&project["revision"], &project["version"]), (&json!(2), &json!(2)));
        assert_eq!(
            project["services"],
            json!([{"slug": "api", "scopes": ["notes:read"], "credentials": ["access_token", "api_key"]}])
        );
        assert!(!project.to_string().contains("10.0.0.7") && !client.to_string().contains("secret"));
    })
    .await;
}

#[tokio::test]
async fn whatever_comes_again_or_late_the_newest_version_stays() {
    test_database::run(async |t| {
        apply(t, FILE).await;
        for name in ["A", "B", "C", "D", "E"] {
            apply(
                t,
                &FILE.replace("Demo app", name).replace("name = \"Notes\"", &format!("name = \"{name}\"")),
            )
            .await;
        }
        let all = deliveries(t).await;
        let registry = ClientRegistry::new(t.registry.clone());
        let randomness = Randomness::seeded(7);
        let below = |most: usize| usize::from(u16::from_be_bytes(randomness.bytes())) % (most + 1);
        let mut seen = 0;
        // A forwarder brings what is new in order; others, who lost their leases, bring parts of what was there before.
        while seen < all.len() {
            let next = (seen + 1 + below(2)).min(all.len());
            registry.deliver(&all[seen..next]).await.unwrap();
            seen = next;
            let (one, other) = (below(seen), below(seen));
            registry.deliver(&all[one.min(other)..one.max(other)]).await.unwrap();
            let expected = fold(all[..seen].iter().map(Happened::from)).unwrap();
            let mut versions: Vec<(Uuid, i64)> = Vec::new();
            for name in ["oauth_clients", "projects"] {
                for row in table(t, name).await {
                    versions.push((
                        serde_json::from_value(row["id"].clone()).unwrap(),
                        row["version"].as_i64().unwrap(),
                    ));
                }
            }
            versions.sort_unstable();
            assert_eq!(versions, expected.into_iter().map(|(id, row)| (id, row.version)).collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test]
async fn events_of_earlier_shapes_are_read_and_what_cannot_be_read_is_the_rows_own_fault() {
    test_database::run(async |t| {
        let (id, workspace_id) = (Uuid::from_u128(5), Uuid::from_u128(6));
        let of = |version: i64, event_type: &str, schema_version: i16, payload: Value| Delivery {
            lane: 0,
            id: version,
            attempts: 0,
            parked: false,
            event_id: Uuid::from_u128(u128::try_from(version).unwrap()),
            workspace_id,
            aggregate_type: "project".to_owned(),
            aggregate_id: id,
            version,
            event_type: event_type.to_owned(),
            schema_version,
            payload,
            metadata: json!({}),
            occurred_at: datetime!(2026-01-01 00:00 UTC) + time::Duration::days(version),
        };
        let services = json!([{"slug": "api", "upstreams": [], "scopes": "", "credentials": ["access_token"], "public_routes": 0}]);
        let events = [
            of(1, "ProjectCreated", 1, json!({"slug": "notes", "name": "Notes", "services": services})),
            of(2, "ProjectUpdated", 2, json!({"name": "New", "services": [], "revision": 2, "restored_from": null})),
            of(3, "ExternalIssuerKeysChanged", 1, json!({"issuer": "https://a.example/", "keys": []})),
        ];
        let registry = ClientRegistry::new(t.registry.clone());
        for event in &events {
            registry.deliver(std::slice::from_ref(event)).await.unwrap();
        }
        let [project] = table(t, "projects").await.try_into().unwrap();
        assert_eq!(
            (&project["slug"], &project["name"], &project["revision"], &project["version"]),
            (&json!("notes"), &json!("New"), &json!(2), &json!(2))
        );
        assert_eq!((&project["created_at"], &project["updated_at"]), (&json!("2026-01-02T00:00:00+00:00"), &json!("2026-01-03T00:00:00+00:00")));

        let fault = registry.deliver(&[of(4, "ProjectUpdated", 3, json!({"name": 7}))]).await.unwrap_err().fault;
        assert!(matches!(&fault, DeliveryFault::Refused(reason) if reason.contains("version 4")), "{fault}");
        let mut admin = t.registry_side().await;
        execute(&mut admin, "ALTER TABLE public.projects RENAME TO elsewhere".to_owned()).await;
        let next = of(4, "ProjectUpdated", 3, json!({"slug": "notes", "name": "N", "services": [], "revision": 3}));
        let fault = registry.deliver(&[next]).await.unwrap_err().fault;
        assert!(matches!(fault, DeliveryFault::Outage { .. }), "a missing table is no row's fault: {fault}");
        execute(&mut admin, "ALTER TABLE public.elsewhere RENAME TO projects; DELETE FROM public.projects".to_owned()).await;
    })
    .await;
}

#[tokio::test]
async fn what_happened_before_there_was_a_registry_is_queued_for_it_in_order() {
    test_database::run(async |t| {
        apply(t, FILE).await;
        apply(t, &FILE.replace("Demo app", "Our app")).await;
        let mut admin = t.admin().await;
        // As if the migration had not been there yet.
        execute(
            &mut admin,
            "DELETE FROM auth_gateway.outbox WHERE destination_id = 3;
             DELETE FROM auth_gateway.outbox_lanes WHERE destination_id = 3;
             DELETE FROM auth_gateway.outbox_destinations WHERE id = 3"
                .to_owned(),
        )
        .await;
        execute(&mut admin, include_str!("../../../migrations/command/0015_client_registry.sql").to_owned()).await;
        let queued: Vec<(i16, Uuid, String, Uuid, i64)> = sqlx::query_as(
            "SELECT o.lane, e.workspace_id, e.aggregate_type, e.aggregate_id, e.version
             FROM auth_gateway.outbox AS o JOIN auth_gateway.events AS e USING (event_id)
             WHERE o.destination_id = 3 ORDER BY o.id",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert_eq!(queued.len(), 3);
        for (lane, workspace_id, aggregate_type, aggregate_id, _) in &queued {
            assert_eq!(*lane, lane_of(*workspace_id, aggregate_type, *aggregate_id));
        }
        let clients: Vec<i64> = queued.iter().filter(|row| row.2 == "client").map(|row| row.4).collect();
        assert_eq!(clients, [1, 2]);
        assert_eq!(t.registry_forwarder("one").drain().await.unwrap().delivered, 3);
        let forced: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_class WHERE relname IN ('events', 'outbox', 'outbox_lanes', 'outbox_destinations')
             AND relrowsecurity AND relforcerowsecurity",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        assert_eq!(forced, 4, "the migration left a table unforced");
    })
    .await;
}
