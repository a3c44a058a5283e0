//! Changes, revisions, comparisons and ways back, in a real Postgres.

use serde_json::{Value, json};
use uuid::Uuid;

use super::declaration::FULL;
use super::{FILE, apply_text, events};
use crate::database::{Actor, Component, Scope};
use crate::http::test_origin::TestOrigin;
use crate::projects::{self, ChangeError, Changed, Declaration, ProjectDeclaration, Terms, difference};
use crate::test_database::{self, TestDatabase, execute};

fn project(text: &str) -> ProjectDeclaration {
    Declaration::parse(text).unwrap_or_else(|faults| panic!("{faults}")).projects.swap_remove(0)
}

async fn operator(t: &TestDatabase) -> Scope {
    t.database.scope(Actor::System(Component::Operator)).await.unwrap()
}

async fn tenant(t: &TestDatabase, workspace_id: Uuid) -> Scope {
    let actor = Actor::Workspace { workspace_id, user_id: None, service_name: "deployer".to_owned() };
    t.database.scope(actor).await.unwrap()
}

async fn change(
    t: &TestDatabase,
    workspace_id: Uuid,
    proposal: &ProjectDeclaration,
    expected: Option<i64>,
) -> Result<Changed, ChangeError> {
    let mut scope = tenant(t, workspace_id).await;
    let terms = Terms { expected, dry_run: false };
    let changed = projects::change(&mut scope, workspace_id, proposal, terms).await?;
    scope.commit().await?;
    Ok(changed)
}

async fn roll_back(t: &TestDatabase, workspace_id: Uuid, revision: i64) -> Result<Changed, ChangeError> {
    let mut scope = tenant(t, workspace_id).await;
    let changed = projects::roll_back(&mut scope, "notes", revision, Terms::default()).await?;
    scope.commit().await?;
    Ok(changed)
}

async fn in_force(t: &TestDatabase) -> (i64, ProjectDeclaration) {
    let shown = projects::show(&mut operator(t).await, "notes").await.unwrap();
    (shown.revision, shown.declaration)
}

/// Revision, actor's kind and what it repeats, oldest first.
async fn history(t: &TestDatabase) -> Vec<(i64, String, Option<i64>)> {
    let revisions = projects::history(&mut operator(t).await, "notes", None).await.unwrap();
    let told = revisions.into_iter().rev().map(|revision| {
        (revision.revision, revision.actor["kind"].as_str().unwrap().to_owned(), revision.restored_from)
    });
    told.collect()
}

#[tokio::test]
async fn everything_that_is_declared_is_stored_and_reaches_the_policy() {
    test_database::run(async |t| {
        let applied = apply_text(t, FULL).await.unwrap();
        let again = apply_text(t, FULL).await.unwrap();
        assert_eq!(again.unchanged.len(), 3, "{again:?}");
        let declared = project(FULL);
        assert_eq!(in_force(t).await, (1, declared.clone()));

        let jwk = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                         "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
        let mut admin = t.admin().await;
        for (kid, jwk) in [("k1", jwk), ("broken", json!({"kty": "oct"}))] {
            sqlx::query(
                "INSERT INTO auth_gateway.external_issuer_keys (workspace_id, issuer_id, kid, alg, jwk, fetched_at)
                 SELECT workspace_id, id, $1, 'ES256', $2, now() FROM auth_gateway.external_issuers",
            )
            .bind(kid)
            .bind(jwk)
            .execute(&mut admin)
            .await
            .unwrap();
        }
        let test = TestOrigin::new(t);
        let compiled = test.origin.policy.current(&t.database).await.unwrap();
        let policy = &compiled.policy;
        let notes = &policy.projects["notes"];
        assert_eq!(notes.workspace_id, applied.workspace_id.to_string());
        assert_eq!(notes.services["api"], declared.services[0].settings);
        assert_eq!((&notes.cors, &notes.limits), (&declared.cors, &declared.limits));
        let (thumbprint, identity) = notes.certificates.first_key_value().unwrap();
        assert_eq!(thumbprint, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
        assert_eq!(identity, &declared.certificates[0].identity);
        let issuer = &notes.issuers["https://id.example.com/"];
        assert_eq!((issuer.audiences.len(), issuer.scope_claim.as_str()), (1, "permissions"));
        let kids: Vec<_> = issuer.keys.iter().map(|key| key.kid.as_str()).collect();
        assert_eq!(kids, ["k1"], "a key that cannot verify is left out");
        assert_eq!(policy.clients["demo-app"].origins, ["https://app.example.com"]);

        // Another address of the keys: what came from the old one is not believed any more.
        let moved = FULL.replace("/keys?x=1", "/other-keys");
        apply_text(t, &moved).await.unwrap();
        let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM auth_gateway.external_issuer_keys")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert_eq!(keys, 0);
    })
    .await;
}

#[tokio::test]
async fn a_thumbprint_may_move_from_one_id_to_another() {
    test_database::run(async |t| {
        let certificate = |id: &str, byte: &str| {
            format!(
                "[[project.certificate]]\nid = \"{id}\"\nthumbprint = \"{}\"\nservice = \"s\"\n",
                byte.repeat(32)
            )
        };
        let head = "[workspace]\nslug = \"demo\"\n[[project]]\nslug = \"notes\"\n";
        let both = format!("{head}{}{}", certificate("a", "01"), certificate("b", "02"));
        apply_text(t, &both).await.unwrap();
        let swapped = format!("{head}{}{}", certificate("a", "02"), certificate("b", "01"));
        apply_text(t, &swapped).await.unwrap();
        assert_eq!(in_force(t).await.1, project(&swapped));
    })
    .await;
}

#[tokio::test]
async fn every_change_is_a_revision_and_an_earlier_one_can_be_in_force_again() {
    test_database::run(async |t| {
        let workspace_id = apply_text(t, FILE).await.unwrap().workspace_id;
        let first = project(FILE);
        let second = project(&FILE.replace("9100", "9200"));
        let changed = change(t, workspace_id, &second, Some(1)).await.unwrap();
        assert_eq!((changed.revision, changed.created, changed.changes.len()), (2, false, 1));
        assert_eq!(changed.changes[0].path, "service[api].upstreams");
        assert_eq!(changed.changes[0].before, json!(["http://127.0.0.1:9100"]));

        // What changes nothing is no revision.
        assert_eq!(change(t, workspace_id, &second, None).await.unwrap().revision, 2);

        let restored = roll_back(t, workspace_id, 1).await.unwrap();
        assert_eq!((restored.revision, restored.changes.len()), (3, 1));
        assert_eq!(in_force(t).await, (3, first.clone()));
        let system = ("system".to_owned(), "workspace".to_owned());
        assert_eq!(
            history(t).await,
            [(1, system.0.clone(), None), (2, system.1.clone(), None), (3, system.1.clone(), Some(1))]
        );
        let seen = projects::revision(&mut operator(t).await, "notes", 2).await.unwrap();
        assert_eq!(seen.declaration, second.to_json());
        assert_eq!(seen.revision.actor["service_name"], "deployer");
        let newest: Vec<Value> = sqlx::query_scalar(
            "SELECT payload FROM auth_gateway.events WHERE event_type = 'ProjectUpdated' ORDER BY version",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(newest[1]["revision"], 3);
        assert_eq!(newest[1]["restored_from"], 1);

        let missing = roll_back(t, workspace_id, 9).await.unwrap_err();
        assert!(matches!(missing, ChangeError::NoRevision { revision: 9, .. }), "{missing}");
        // The client stayed as it was all the while.
        assert_eq!(events(t).await.iter().filter(|event| event.starts_with("Client")).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_the_version_before_wrote_becomes_a_revision_before_it_is_changed() {
    test_database::run(async |t| {
        let workspace_id = apply_text(t, FULL).await.unwrap().workspace_id;
        // As it writes: the columns that it knows, no revision.
        execute(
            &mut t.admin().await,
            "UPDATE auth_gateway.services SET upstreams = '{http://127.0.0.1:9300,https://b.example.com/base}'".to_owned(),
        )
        .await;
        let (revision, declaration) = in_force(t).await;
        let upstreams = &declaration.services[0].settings.upstreams;
        assert_eq!((revision, upstreams[0].url.as_str(), upstreams[1].weight), (1, "http://127.0.0.1:9300", 3));
        let changed = change(t, workspace_id, &project(FILE), None).await.unwrap();
        assert_eq!(changed.revision, 3);
        let kinds: Vec<_> = history(t).await.into_iter().map(|(_, kind, _)| kind).collect();
        assert_eq!(kinds, ["system", "unrecorded", "workspace"]);
        roll_back(t, workspace_id, 2).await.unwrap();
        assert_eq!(in_force(t).await.1, declaration);
    })
    .await;
}

#[tokio::test]
async fn of_changes_at_once_from_one_revision_exactly_one_is_made() {
    test_database::run(async |t| {
        let workspace_id = apply_text(t, FILE).await.unwrap().workspace_id;
        let proposals: Vec<_> =
            (0..4).map(|n| project(&FILE.replace("9100", &format!("92{n:02}")))).collect();
        let (a, b, c, d) = tokio::join!(
            change(t, workspace_id, &proposals[0], Some(1)),
            change(t, workspace_id, &proposals[1], Some(1)),
            change(t, workspace_id, &proposals[2], Some(1)),
            change(t, workspace_id, &proposals[3], Some(1))
        );
        let outcomes = [a, b, c, d];
        let made: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(made.len(), 1, "{outcomes:?}");
        for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(refused, ChangeError::OtherRevision { expected: 1, actual: 2 }), "{refused}");
        }
        assert_eq!(history(t).await.len(), 2);

        // Without a revision named, each comes after the other, and there is no gap.
        let (small, full) = (project(FILE), project(FULL));
        let (one, other) =
            tokio::join!(change(t, workspace_id, &small, None), change(t, workspace_id, &full, None));
        let mut revisions = [one.unwrap().revision, other.unwrap().revision];
        revisions.sort_unstable();
        assert_eq!(revisions, [3, 4]);
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_tells_and_writes_nothing() {
    test_database::run(async |t| {
        let workspace_id = apply_text(t, FILE).await.unwrap().workspace_id;
        let before = events(t).await.len();
        let mut scope = tenant(t, workspace_id).await;
        let terms = Terms { expected: None, dry_run: true };
        let told = projects::change(&mut scope, workspace_id, &project(FULL), terms).await.unwrap();
        let back = projects::roll_back(&mut scope, "notes", 1, terms).await.unwrap();
        scope.commit().await.unwrap();
        assert_eq!((told.revision, back.changes.len()), (1, 0));
        let paths: Vec<_> = told.changes.iter().map(|change| change.path.as_str()).collect();
        assert!(paths.contains(&"service[web]") && paths.contains(&"cors"), "{paths:?}");
        assert_eq!((in_force(t).await, events(t).await.len()), ((1, project(FILE)), before));
    })
    .await;
}

#[tokio::test]
async fn a_workspace_neither_sees_nor_changes_what_is_anothers() {
    test_database::run(async |t| {
        apply_text(t, FILE).await.unwrap();
        let text =
            FILE.replace("\"demo\"", "\"other\"").replace("notes", "theirs").replace("demo-app", "their-app");
        let other = apply_text(t, &text).await.unwrap().workspace_id;

        let mut scope = tenant(t, other).await;
        let listed = projects::list(&mut scope).await.unwrap();
        assert_eq!(listed.iter().map(|project| project.slug.as_str()).collect::<Vec<_>>(), ["theirs"]);
        for error in [
            projects::show(&mut scope, "notes").await.unwrap_err(),
            projects::history(&mut scope, "notes", None).await.unwrap_err(),
            projects::revision(&mut scope, "notes", 1).await.unwrap_err(),
            projects::roll_back(&mut scope, "notes", 1, Terms::default()).await.unwrap_err(),
        ] {
            assert!(matches!(error, ChangeError::NoProject { .. }), "{error}");
        }
        drop(scope);
        let taken = change(t, other, &project(FILE), None).await.unwrap_err();
        assert!(matches!(taken, ChangeError::Taken { .. }), "{taken}");
        assert_eq!(in_force(t).await, (1, project(FILE)));

        let mut connection = tenant(t, other).await;
        for statement in [
            "UPDATE project_revisions SET declaration = '{}'",
            "DELETE FROM project_revisions",
            "INSERT INTO external_issuer_keys (workspace_id, issuer_id, kid, alg, jwk, fetched_at)
             SELECT workspace_id, gen_random_uuid(), 'k', 'ES256', '{}', now() FROM projects",
        ] {
            let denied = sqlx::query(statement).execute(connection.connection()).await.unwrap_err();
            assert!(denied.to_string().contains("permission denied"), "{statement}: {denied}");
            connection = tenant(t, other).await;
        }
    })
    .await;
}

#[test]
fn a_difference_names_each_place() {
    let (before, after) = (project(FULL), {
        let text = FULL
            .replace("weight = 3", "weight = 4")
            .replace("scopes = [\"notes:admin\"]\n", "")
            .replace(
                "[[project.certificate]]\nid = \"worker-1\"",
                "[[project.certificate]]\nid = \"worker-2\"",
            )
            .replace("max_age = \"10m\"", "max_age = 5")
            .replace("[[project.limit]]\nby = \"project\"\nrequests = 10000\nwindow = \"60s\"\n", "");
        project(&text)
    });
    let changes = difference(Some(&before), &after);
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "certificate[worker-1]",
            "certificate[worker-2]",
            "cors.max_age",
            "limit",
            "service[api].route[POST,PUT /admin/*].scopes",
            "service[api].upstreams",
        ]
    );
    assert_eq!((&changes[2].before, &changes[2].after), (&json!(null), &json!("5s")));
    assert!(difference(Some(&before), &before).is_empty());
    assert!(
        difference(None, &before).iter().all(|change| change.before.is_null() || change.before == json!([]))
    );
}

#[test]
fn routes_in_another_order_are_a_difference() {
    let mut other = project(FULL);
    other.services[0].settings.routes.reverse();
    let changes = difference(Some(&project(FULL)), &other);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].path, "service[api].route (order)");
}
