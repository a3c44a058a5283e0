//! The load of a run: events appended through the real append, and projects changed by requests to the real origin, as an edge would
//! send them. Whoever gets no answer does not know whether the change was made, and says so.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use origin::clock::{Clock, Randomness};
use origin::database::{Actor, Component, Database};
use origin::events::NewEvent;
use origin::events::field::Identifier;
use origin::events::payload::AuthorizationCodeReplayed;
use serde_json::{Value, json};
use shared::assertion::{EdgeAssertion, ForwardedRequest, HEADER};
use shared::jwt::SigningKey;
use shared::time::UnixMillis;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::clock::unix_millis;
use crate::plan::Plan;
use crate::stage::Prepared;

/// Whose aggregates the appended events are.
const WORKSPACE: Uuid = Uuid::from_u128(0x77);
/// The wait after a change that was not made, or not heard of.
const PAUSE: Duration = Duration::from_millis(15);

/// What was acknowledged: it must be there for good.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Events by their ids, with the version that was told.
    pub(crate) events: Vec<(Uuid, i64)>,
    /// Projects by their slugs, with the revision that was told.
    pub(crate) revisions: Vec<(String, i64)>,
    /// Changes of which nobody knows whether they were made.
    pub(crate) unknown: u64,
}

/// The load of one run.
pub(crate) struct Load {
    plan: Plan,
    acknowledged: Mutex<Acknowledged>,
    /// How many were acknowledged; what faults wait for.
    progress: watch::Sender<u64>,
    appends_left: AtomicU64,
}

impl Load {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        Arc::new(Self {
            plan: plan.clone(),
            acknowledged: Mutex::default(),
            progress: watch::Sender::new(0),
            appends_left: AtomicU64::new(plan.events),
        })
    }

    /// How many changes were acknowledged, as it grows.
    pub(crate) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// What was acknowledged, at the end.
    pub(crate) async fn outcome(&self) -> Acknowledged {
        std::mem::take(&mut *self.acknowledged.lock().await)
    }

    /// Appends and requests until all of the plan's are acknowledged.
    pub(crate) async fn run(self: &Arc<Self>, prepared: &Prepared, token: &str) -> Result<()> {
        let url = prepared.environment.get("DATABASE_URL").context("there is no DATABASE_URL")?;
        let options = PgConnectOptions::from_str(url).context("DATABASE_URL cannot be read")?;
        let connections = u32::try_from(self.plan.appenders).unwrap_or(4);
        let database = Database::new(options, connections, Clock::System, Randomness::System);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..self.plan.appenders {
            let (load, database) = (Arc::clone(self), database.clone());
            tasks.spawn(async move { load.append(&database, number).await });
        }
        let (load, requester) = (Arc::clone(self), Requester::new(prepared, token)?);
        tasks.spawn(async move { load.request(&requester).await });
        while let Some(ended) = tasks.join_next().await {
            ended.context("a writer ended")??;
        }
        database.close().await;
        Ok(())
    }

    async fn append(&self, database: &Database, number: u64) -> Result<()> {
        let mut stream = crate::seed::Stream::of(self.plan.seed ^ (number + 1).wrapping_mul(0x5DEE_CE66));
        loop {
            let together = stream.between(1, 3);
            let taken = self
                .appends_left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(together)));
            let together = together.min(taken.unwrap_or(0));
            if together == 0 {
                return Ok(());
            }
            let aggregates: Vec<Uuid> =
                (0..together).map(|_| self.aggregate(stream.between(1, self.plan.aggregates))).collect();
            if let Ok(events) = append_together(database, &aggregates).await {
                self.progress.send_modify(|done| *done += together);
                self.acknowledged.lock().await.events.extend(events);
            } else {
                self.appends_left.fetch_add(together, Ordering::SeqCst);
                self.acknowledged.lock().await.unknown += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn aggregate(&self, number: u64) -> Uuid {
        Uuid::from_u64_pair(self.plan.seed, number)
    }

    async fn request(&self, requester: &Requester) -> Result<()> {
        let mut made = 0;
        let mut tries = 0;
        while made < self.plan.requests {
            tries += 1;
            let slug = format!("load-{}", made % 3);
            // Never twice the same, or there would be nothing to change.
            let name = format!("Load {}-{made}-{tries}", self.plan.seed);
            match requester.change(&slug, &name).await {
                Ok(revision) => {
                    made += 1;
                    self.acknowledged.lock().await.revisions.push((slug, revision));
                    self.progress.send_modify(|done| *done += 1);
                }
                Err(Fault::NoAnswer) => {
                    self.acknowledged.lock().await.unknown += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Fault::Refused(status, body)) => bail!("the origin refused a change ({status}): {body}"),
            }
        }
        Ok(())
    }
}

/// Some events in one transaction; all of them are there afterwards, or it is not known.
async fn append_together(database: &Database, aggregates: &[Uuid]) -> Result<Vec<(Uuid, i64)>, ()> {
    let mut scope = database.scope(Actor::System(Component::AuthorizationServer)).await.map_err(|_| ())?;
    let mut appended = Vec::new();
    for aggregate in aggregates {
        let event = AuthorizationCodeReplayed { client_id: Identifier::of("faults") };
        let done = scope.append(NewEvent::of(WORKSPACE, *aggregate, &event)).await.map_err(|_| ())?;
        appended.push((done.event_id, done.version));
    }
    scope.commit().await.map_err(|_| ())?;
    Ok(appended)
}

/// Why a change was not acknowledged.
enum Fault {
    /// It may have been made.
    NoAnswer,
    /// It was understood and will never be made: a fault of this load.
    Refused(u16, String),
}

/// Sends what an edge would send.
struct Requester {
    port: u16,
    issuer: String,
    edge_id: String,
    key: SigningKey,
    token: String,
}

impl Requester {
    fn new(prepared: &Prepared, token: &str) -> Result<Self> {
        let seed: [u8; 32] = shared::base64url::decode_array(&prepared.edge_private_key)
            .context("the edge's key is not 32 bytes in base64url")?;
        Ok(Self {
            port: prepared.origin_port,
            issuer: prepared.issuer.clone(),
            edge_id: prepared.edge_id.clone(),
            key: SigningKey::from_seed(prepared.edge_id.as_str(), &seed),
            token: token.to_owned(),
        })
    }

    /// Changes a project and returns the revision that was told.
    async fn change(&self, slug: &str, name: &str) -> Result<i64, Fault> {
        let declaration = json!({
            "name": name,
            "service": [{"slug": "api", "upstreams": ["http://127.0.0.1:9"], "scopes": ["load:read"],
                         "credentials": ["service_token"]}],
        });
        let body = declaration.to_string();
        let target = format!("/v1/projects/{slug}");
        let exchange = self.send(&target, body);
        let (status, answer) = tokio::time::timeout(Duration::from_secs(10), exchange)
            .await
            .map_err(|_| Fault::NoAnswer)?
            .map_err(|_| Fault::NoAnswer)?;
        match status {
            200 | 201 => {
                let answer: Value = serde_json::from_slice(&answer).map_err(|_| Fault::NoAnswer)?;
                answer.get("revision").and_then(Value::as_i64).ok_or(Fault::NoAnswer)
            }
            // It says itself that it could not, or lost a race.
            409 | 429 | 500..=599 => Err(Fault::NoAnswer),
            _ => Err(Fault::Refused(status, String::from_utf8_lossy(&answer).into_owned())),
        }
    }

    async fn send(&self, target: &str, body: String) -> Result<(u16, Vec<u8>)> {
        let request = ForwardedRequest { method: "PUT", target, body: body.as_bytes() };
        let id = Uuid::from_u128(u128::from(unix_millis()) << 64 | u128::from(next_number())).to_string();
        let now = UnixMillis(unix_millis());
        let assertion = EdgeAssertion::new(&self.edge_id, &self.issuer, &id, "192.0.2.1", 0, &request, now);
        let assertion = assertion.sign(&self.key).context("the assertion cannot be signed")?;
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method("PUT")
            .uri(target)
            .header("host", "origin")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .header(HEADER, assertion)
            .body(Full::new(Bytes::from(body)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await?.to_bytes().to_vec();
        connection.abort();
        Ok((status, bytes))
    }
}

/// Tells apart requests of one millisecond.
fn next_number() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    COUNT.fetch_add(1, Ordering::SeqCst)
}
