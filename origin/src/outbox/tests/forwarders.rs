//! Several destinations in one process.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::configuration::Source;
use crate::outbox::destination::Surroundings;
use crate::outbox::{self, Emptied, Forwarders, Options, StartError};

/// Registers one more plain Postgres.
pub(super) async fn add(t: &TestDatabase, id: i16, name: &str) {
    execute(
        &mut t.admin().await,
        format!(
            "INSERT INTO auth_gateway.outbox_destinations (id, name, kind) VALUES ({id}, '{name}', 'postgres');
             INSERT INTO auth_gateway.outbox_lanes (destination_id, lane) SELECT {id}, lane FROM generate_series(0, 63) AS lane"
        ),
    )
    .await;
}

async fn enable(t: &TestDatabase, id: i16, enabled: bool) {
    let change = format!("UPDATE auth_gateway.outbox_destinations SET enabled = {enabled} WHERE id = {id}");
    execute(&mut t.admin().await, change).await;
}

pub(super) async fn queued(t: &TestDatabase, id: i16) -> i64 {
    count(t, &format!("auth_gateway.outbox WHERE destination_id = {id}")).await
}

fn options(only: &[&str]) -> Options {
    Options {
        name: "all".to_owned(),
        lease: Duration::from_secs(10),
        poll_interval: Duration::from_millis(10),
        look: Duration::from_millis(20),
        only: only.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(super) fn forwarders(t: &TestDatabase, variables: &[(&str, &str)], only: &[&str]) -> Forwarders {
    let source = Source::of(variables.iter().copied());
    Forwarders::new(Surroundings { source, ..t.surroundings.clone() }, options(only))
}

/// The login of the read side, as a variable would hold it.
pub(super) fn read_url(t: &TestDatabase) -> String {
    let login = &t.configuration.read_login;
    let mut url = test_database::server();
    url.set_path(login.database());
    url.set_username(login.username()).unwrap();
    url.set_password(Some("of-a-test")).unwrap();
    url.to_string()
}

#[tokio::test]
async fn everything_that_is_missing_is_named_before_anything_starts() {
    test_database::run_leaving_work(async |t| {
        enable(t, 2, false).await;
        enable(t, 3, false).await;
        add(t, 40, "second-site").await;
        add(t, 41, "asleep").await;
        enable(t, 41, false).await;
        let error = forwarders(t, &[], &[]).check().await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, StartError::Credentials(_)), "{said}");
        for expected in
            ["2 faults", "READ_DATABASE_URL", "destination read-database", "DESTINATION_SECOND_SITE_URL"]
        {
            assert!(said.contains(expected), "{expected} is not in: {said}");
        }
        let url = read_url(t);
        forwarders(t, &[("READ_DATABASE_URL", &url)], &["read-database"]).check().await.unwrap();
        let error = forwarders(t, &[], &["nowhere"]).check().await.unwrap_err();
        assert!(
            matches!(&error, StartError::Unknown { known, .. } if known.contains("second-site")),
            "{error}"
        );
        let error = forwarders(t, &[], &["asleep"]).check().await.unwrap_err();
        assert!(matches!(&error, StartError::Disabled { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn one_that_is_away_holds_up_no_other() {
    test_database::run_leaving_work(async |t| {
        enable(t, 2, false).await;
        enable(t, 3, false).await;
        add(t, 40, "away").await;
        append(t, 3, 9).await;
        let url = read_url(t);
        // Nobody listens on port 1.
        let away = "postgres://login:password@127.0.0.1:1/nothing";
        let all = forwarders(t, &[("READ_DATABASE_URL", &url), ("DESTINATION_AWAY_URL", away)], &[]);
        let emptied = all.drain().await.unwrap();
        let [Emptied { result: Ok(read), .. }, Emptied { destination, result: Err(error) }] =
            emptied.as_slice()
        else {
            panic!("{emptied:?}")
        };
        assert_eq!((read.delivered, destination.as_str()), (9, "away"));
        assert!(matches!(error, ForwarderError::Outage(_)), "{error}");
        assert_eq!((queued(t, 1).await, queued(t, 40).await), (0, 9));

        // What they did can be scraped.
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        let taken = outbox::serve_metrics(address, all.metrics()).await.err().unwrap();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        drop(free);
        let serving = outbox::serve_metrics(address, all.metrics()).await.unwrap();
        let scraped = async {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let text = tokio::select! { text = scraped => text, _ = serving => panic!("it ends") };
        assert!(
            text.contains("gateward_forwarder_delivered_total{destination=\"read-database\"} 9"),
            "{text}"
        );
        assert!(text.contains("gateward_forwarder_outages_total{destination=\"away\"} 1"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn destinations_are_noticed_as_they_come_and_go() {
    test_database::run_leaving_work(async |t| {
        let url = read_url(t);
        let all = forwarders(t, &[("READ_DATABASE_URL", &url), ("DESTINATION_LATER_URL", &url)], &[]);
        let (stop, stopped) = watch::channel(false);
        let until = async |id, left| {
            while queued(t, id).await != left {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let work = async {
            append(t, 2, 4).await;
            until(1, 0).await;
            add(t, 40, "later").await;
            // One without credentials is reported, and keeps nobody.
            add(t, 41, "unknown-credentials").await;
            append(t, 2, 4).await;
            until(1, 0).await;
            until(40, 0).await;
            assert_eq!(queued(t, 41).await, 4);
            enable(t, 1, false).await;
            // Nothing of it is leased from here on; what is queued stays.
            let insert = "INSERT INTO auth_gateway.outbox (destination_id, lane, event_id) SELECT 1, 0, event_id FROM auth_gateway.events";
            execute(&mut t.admin().await, insert.to_owned()).await;
            append(t, 2, 2).await;
            until(40, 0).await;
            assert_eq!(queued(t, 1).await, 8, "a destination that is disabled was delivered to, or queued for");
            enable(t, 1, true).await;
            until(1, 0).await;
            stop.send(true).unwrap();
        };
        let both = Box::pin(async { tokio::join!(all.run(stopped), work) });
        tokio::time::timeout(Duration::from_mins(1), both).await.expect("it ends");
        assert_eq!(count(t, "auth_gateway.outbox_lanes WHERE leased_by IS NOT NULL").await, 0);
    })
    .await;
}
