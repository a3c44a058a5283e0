use std::{sync::Arc, time::Duration};

use serde_json::json;
use shared::{
    jwt::SigningKey,
    policy::{ActivePolicy, FILTER_HEADER, Judgement, Revocable, STATEMENT_HEADER, entry_hash},
    revocation_statement::{RevocationStatement, TARGET},
};
use sqlx::{Connection as _, PgConnection};

use super::{super::filter, revoke};
use crate::{
    database::{Actor, Component},
    http::test_origin::{ISSUER, TestOrigin},
    policy::{Compiled, PolicyError},
    test_database::{self, TestDatabase, execute},
};

const LIST: u32 = 20;

fn origin(databases: &TestDatabase) -> TestOrigin {
    TestOrigin::with(databases, databases.database.clone(), &[("POLICY_REVOCATION_LIST", "20")])
}

/// Revokes tokens `PREFIX-FROM` to before `PREFIX-TO`, for so many seconds.
async fn revoke_many(admin: &mut PgConnection, prefix: &str, from: u32, to: u32, seconds: u32) {
    execute(
        admin,
        format!(
            "INSERT INTO auth_gateway.revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
             SELECT 'jti', '{prefix}-' || number, '00000000-0000-0000-0000-000000000000', '2026-11-21 10:00Z',
                    timestamptz '2026-11-21 10:00Z' + make_interval(secs => {seconds}), 'test', '{{}}', now()
             FROM generate_series({from}, {to} - 1) AS number"
        ),
    )
    .await;
}

fn judge(policy: &ActivePolicy, token: &str) -> Judgement {
    policy.revocation_of(&Revocable { token, grant: None, subject: None, client: None, issued_at: 0 })
}

/// Compiles anew.
async fn compile(test: &TestOrigin) -> Arc<Compiled> {
    test.origin.policy.mark_changed();
    test.origin.policy.current(&test.origin.database).await.unwrap()
}

/// Waits for what is built beside.
async fn compile_until(test: &TestOrigin, is_right: impl Fn(&Compiled) -> bool) -> Arc<Compiled> {
    for _ in 0..600 {
        test.origin.policy.mark_changed();
        match test.origin.policy.current(&test.origin.database).await {
            Ok(compiled) if is_right(&compiled) => return compiled,
            Ok(_) | Err(PolicyError::FilterPending) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute");
}

#[tokio::test]
async fn beyond_the_bound_the_bulk_travels_as_a_filter_once_and_what_comes_later_in_a_list() {
    test_database::run(async |databases| {
        let test = origin(databases);
        let key = SigningKey::from_seed("policy", &[1; 32]).verification_key();
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "t", 0, LIST, 600).await;
        let listed = compile(&test).await;
        assert_eq!((listed.policy.revocations.tokens.len(), listed.filter_name()), (20, None));
        revoke(&mut admin, "grant", "g", 600).await;
        revoke(&mut admin, "subject", "s", 600).await;
        // Everything is in it at once; the filter is built beside.
        let listed = compile(&test).await;
        assert_eq!(listed.policy.revocations.exact_entries(), 22);
        let filtered = compile_until(&test, |compiled| compiled.filter().is_some()).await;
        let revocations = &filtered.policy.revocations;
        assert_eq!(
            (revocations.tokens.len(), revocations.grants.len(), revocations.subjects.len()),
            (0, 0, 1)
        );
        for number in 0..LIST {
            assert_eq!(
                judge(&filtered, &format!("t-{number}")),
                Judgement::Ask(vec![format!("jti:t-{number}")])
            );
        }

        let whole = test.get("/internal/policy").await;
        let filter = filtered.filter().unwrap();
        let accept = |answer: &crate::http::test_origin::Answer, current: Option<&ActivePolicy>| {
            ActivePolicy::accept(answer.header(STATEMENT_HEADER), &answer.body, &key, ISSUER, current)
        };
        let first = accept(&whole, None).unwrap();
        assert_eq!(first.filter(), Some(filter));
        revoke(&mut admin, "jti", "later", 600).await;
        let changed = compile(&test).await;
        assert_eq!(changed.version, filtered.version + 1);
        let held = [(FILTER_HEADER, filter.sha256())];
        let small = test.send("GET", "/internal/policy", &held, "").await;
        assert_eq!(small.body, changed.content, "the filter is not sent again");
        let second = accept(&small, Some(&first)).unwrap();
        assert_eq!(judge(&second, "later"), Judgement::Covered);
        assert_eq!(judge(&second, "t-1"), Judgement::Ask(vec!["jti:t-1".into()]));
        let other = test.send("GET", "/internal/policy", &[(FILTER_HEADER, "another")], "").await;
        assert_eq!(other.body.len(), changed.content.len() + 1 + filter.bytes().len());
    })
    .await;
}

#[tokio::test]
async fn origins_that_build_side_by_side_give_out_the_same_bytes() {
    test_database::run(async |databases| {
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "t", 0, 500, 600).await;
        let building: Vec<_> = (0..4)
            .map(|_| {
                let database = databases.database.clone();
                tokio::spawn(async move { filter::build(&database, LIST).await.unwrap() })
            })
            .collect();
        let mut built = 0;
        for building in building {
            match building.await.unwrap() {
                filter::Built::Filter { entries, .. } => {
                    assert_eq!(entries, 500);
                    built += 1;
                }
                filter::Built::Elsewhere => {}
                filter::Built::List => panic!("500 are no list of 20"),
            }
        }
        assert!(built > 0);
        let (one, other) = (origin(databases), origin(databases));
        let (first, second) = (one.get("/internal/policy").await, other.get("/internal/policy").await);
        assert_eq!(first.status.as_u16(), 200);
        assert_eq!(first.body, second.body);
        assert_eq!(first.header("etag"), second.header("etag"));
    })
    .await;
}

#[tokio::test]
async fn what_is_committed_late_is_listed() {
    test_database::run(async |databases| {
        let test = origin(databases);
        let (mut admin, mut late) = (databases.admin().await, databases.admin().await);
        revoke_many(&mut admin, "t", 0, 100, 600).await;
        let mut open = late.begin().await.unwrap();
        revoke_many(&mut open, "late", 0, 1, 600).await;
        let built = filter::build(&databases.database, LIST).await.unwrap();
        assert!(matches!(built, filter::Built::Filter { entries: 100, .. }), "{built:?}");
        open.commit().await.unwrap();
        let compiled = compile(&test).await;
        assert_eq!(judge(&compiled, "late-0"), Judgement::Covered);
        assert_eq!(compiled.policy.revocations.exact_entries(), 1);
    })
    .await;
}

#[tokio::test]
async fn while_filters_are_built_no_policy_lacks_what_was_committed_before_it() {
    test_database::run(async |databases| {
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "t", 0, 100, 600).await;
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let builder = {
            let (database, done) = (databases.database.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut built = 0;
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    filter::build(&database, LIST).await.unwrap();
                    built += 1;
                }
                built
            })
        };
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (test, options) = (origin(databases), databases.command_admin.clone());
                tokio::spawn(async move {
                    let mut connection = PgConnection::connect_with(&options).await.unwrap();
                    for turn in 0..40 {
                        let name = format!("w{writer}-{turn}");
                        revoke(&mut connection, "jti", &name, 600).await;
                        let compiled = compile(&test).await;
                        assert_ne!(judge(&compiled, &name), Judgement::Clear, "{name}");
                        assert_ne!(judge(&compiled, "t-7"), Judgement::Clear);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(builder.await.unwrap() > 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_valid_when_a_filter_is_built_is_never_asked_about() {
    test_database::run(async |databases| {
        let test = origin(databases);
        super::seed(databases).await;
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "t", 0, 2_000, 600).await;
        execute(
            &mut admin,
            "INSERT INTO auth_gateway.gateway_tokens (jti, workspace_id, project_id, service, issued_by, issued_at, expires_at)
             SELECT gen_random_uuid(), '00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b', 's', 'test',
                    now(), 'infinity' FROM generate_series(1, 3000)"
                .to_owned(),
        )
        .await;
        let built = filter::build(&databases.database, LIST).await.unwrap();
        let filter::Built::Filter { entries: 2_000, exceptions } = built else { panic!("{built:?}") };
        assert!((1..100).contains(&exceptions), "{exceptions}");
        let compiled = compile(&test).await;
        let valid: Vec<String> = sqlx::query_scalar("SELECT jti::text FROM auth_gateway.gateway_tokens")
            .fetch_all(&mut admin)
            .await
            .unwrap();
        for token in valid {
            assert_eq!(judge(&compiled, &token), Judgement::Clear, "{token}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_filter_that_has_mostly_expired_is_built_anew_and_a_small_rest_is_listed() {
    test_database::run(async |databases| {
        let test = origin(databases);
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "short", 0, 60, 60).await;
        revoke_many(&mut admin, "long", 0, 40, 600).await;
        revoke_many(&mut admin, "longest", 0, 5, 6_000).await;
        filter::build(&databases.database, LIST).await.unwrap();
        let first = compile(&test).await;
        assert_eq!(first.filter().unwrap().entries(), 105);
        databases.clock.advance(Duration::from_mins(1));
        let second = compile_until(&test, |compiled| compiled.filter_name() != first.filter_name()).await;
        assert_eq!(second.filter().unwrap().entries(), 45);
        databases.clock.advance(Duration::from_mins(9));
        let third = compile_until(&test, |compiled| compiled.filter().is_none()).await;
        assert_eq!(third.policy.revocations.exact_entries(), 5);
        assert_eq!(judge(&third, "longest-4"), Judgement::Covered);
    })
    .await;
}

#[tokio::test]
async fn more_than_a_policy_can_list_wait_for_their_filter() {
    test_database::run(async |databases| {
        let test = origin(databases);
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "t", 0, 10 * LIST + 1, 600).await;
        let answer = test.get("/internal/policy").await;
        assert_eq!(answer.problem(), (503, "origin-unavailable".to_owned()));
        assert_eq!(answer.header("retry-after"), "1");
        let compiled = compile_until(&test, |_| true).await;
        assert_eq!(compiled.filter().unwrap().entries(), 201);
    })
    .await;
}

#[tokio::test]
async fn a_hit_is_confirmed_by_the_rows_themselves() {
    test_database::run(async |databases| {
        let test = origin(databases);
        let key = SigningKey::from_seed("policy", &[1; 32]).verification_key();
        let mut admin = databases.admin().await;
        revoke(&mut admin, "jti", "t", 60).await;
        revoke(&mut admin, "grant", "g", 60).await;
        let ask =
            async |body: &str| test.send("POST", TARGET, &[("content-type", "application/json")], body).await;
        let question =
            json!({"filter": "f", "entries": ["jti:t", "grant:t", "grant:g", "jti:other"]}).to_string();
        let answer = ask(&question).await;
        assert_eq!(answer.status.as_u16(), 200);
        let statement =
            RevocationStatement::verify(answer.json()["statement"].as_str().unwrap(), &key).unwrap();
        assert_eq!((statement.iss.as_str(), statement.filter.as_str()), (ISSUER, "f"));
        assert_eq!(statement.revoked, ["grant:g", "jti:t"]);
        assert_eq!(statement.says("jti:t"), Some(true));
        assert_eq!(statement.says("jti:other"), Some(false));
        assert_eq!(statement.says("jti:never asked"), None);
        let many = json!({"filter": "f", "entries": vec!["jti:t"; 17]}).to_string();
        for malformed in
            ["", "{}", r#"{"filter":"f","entries":[]}"#, r#"{"filter":"f","entries":["x:t"]}"#, &many]
        {
            assert_eq!(ask(malformed).await.problem(), (400, "request-malformed".to_owned()), "{malformed}");
        }
        databases.database.close().await;
        assert_eq!(ask(&question).await.problem(), (503, "origin-unavailable".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_million_revocations_are_a_policy_of_two_megabytes_that_is_compiled_without_reading_them() {
    test_database::run_leaving_work(async |databases| {
        const REVOKED: u32 = 1_000_000;
        let test = TestOrigin::new(databases);
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "0190b6d0-0000-7000-8000-00000000", 0, REVOKED, 6_000).await;
        let clock = &test.origin.clock;
        let began = clock.instant();
        let built = filter::build(&databases.database, 10_000).await.unwrap();
        let took = began.elapsed();
        assert!(matches!(built, filter::Built::Filter { entries: 1_000_000, .. }), "{built:?}");
        revoke_many(&mut admin, "since", 0, 10_000, 6_000).await;
        compile(&test).await;
        let began = clock.instant();
        let compiled = compile(&test).await;
        let compiling = began.elapsed();
        let body = test.get("/internal/policy").await.body;
        println!("built in {took:?}; compiled in {compiling:?}; {} bytes of policy", body.len());
        assert!(body.len() <= 2_000_000, "{}", body.len());
        assert_eq!(compiled.policy.revocations.exact_entries(), 10_000);
        assert!(
            compiled.filter().unwrap().hits(entry_hash("jti", "0190b6d0-0000-7000-8000-00000000-999999"))
        );
        // Reading them all takes seconds.
        assert!(compiling < Duration::from_secs(2), "{compiling:?}");
    })
    .await;
}

#[tokio::test]
async fn a_new_identifier_is_one_that_the_filter_in_force_does_not_hit() {
    test_database::run(async |databases| {
        let test = origin(databases);
        let mut admin = databases.admin().await;
        revoke_many(&mut admin, "t", 0, 1_000, 600).await;
        filter::build(&databases.database, LIST).await.unwrap();
        let compiled = compile(&test).await;
        let scope = databases.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
        let hit = |id: uuid::Uuid| compiled.filter().unwrap().hits(entry_hash("jti", &id.to_string()));
        assert!((0..4_000).any(|_| hit(scope.new_id())), "one in 256 is");
        assert!(!(0..4_000).any(|_| hit(test.origin.policy.fresh_id("jti", &scope))));
    })
    .await;
}
