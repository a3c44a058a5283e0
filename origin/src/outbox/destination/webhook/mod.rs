//! The destination that is a webhook, by Standard Webhooks 1.0.0. Each event is one signed POST; its id stays the same however often
//! it is sent, and the time of the attempt is new each time. Aggregates go out side by side, the events of one of them one after the
//! other. Redirects are failures, as the standard has it: nothing that is signed goes anywhere but to the URL, and to addresses
//! that may be reached ([`egress`](crate::egress)).

mod signature;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use tokio::task::JoinSet;
use url::{Position, Url};

pub use self::signature::Secret;
use super::{
    DeliveryFault, Destination, Undelivered, aggregates::by_aggregate, message, pace::Pace,
    retry_after::retry_after,
};
use crate::{
    clock::Clock,
    egress::{Bounds, Call, Client, EgressFault, Session},
    outbox::Delivery,
};

/// As many secrets as one destination signs with.
pub const MOST_SECRETS: usize = signature::MOST;
/// What is read of an answer's body: nothing in it matters.
const ANSWER: usize = 4 * 1024;
/// Rows of a call: at first, and at most.
const ROWS: (usize, usize) = (32, 256);

/// Where to and how.
#[derive(Debug)]
pub struct Settings {
    /// Where it is.
    pub url: Url,
    /// What signs; the first one first.
    pub secrets: Vec<Secret>,
    /// How long a request may take.
    pub timeout: Duration,
    /// How many requests may be under way at once.
    pub concurrency: usize,
}

/// A receiver of webhooks.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    settings: Arc<Settings>,
    clock: Clock,
    pace: Pace,
}

/// An event ready to be signed.
struct Outgoing {
    /// Its place in the batch.
    index: usize,
    id: String,
    body: Bytes,
}

/// What a delivery has come to, shared by those who carry it out.
#[derive(Default)]
struct Progress {
    /// Aggregates nobody has begun with.
    waiting: VecDeque<Vec<Outgoing>>,
    delivered: Vec<usize>,
    /// The worst that happened.
    fault: Option<DeliveryFault>,
    /// Whether no further request is to be begun.
    is_over: bool,
}

impl Webhook {
    /// A receiver; nothing is connected to yet.
    pub fn new(client: Client, settings: Settings, clock: Clock) -> Self {
        Self { client, settings: Arc::new(settings), clock, pace: Pace::new(ROWS.0, ROWS.1) }
    }

    /// What receivers verify with: the public halves of its keys. Of secrets that both sides know there are none.
    pub fn public_keys(&self) -> Vec<String> {
        self.settings.secrets.iter().filter_map(Secret::public).collect()
    }

    /// Sends a signed message of type `test`, and says what is wrong.
    pub async fn check(&self, id: &str) -> Result<(), DeliveryFault> {
        let timestamp = message::timestamp(self.clock.now()).map_err(DeliveryFault::outage)?;
        let body = serde_json::json!({"type": "test", "timestamp": timestamp, "data": {}}).to_string();
        let outgoing = Outgoing { index: 0, id: id.to_owned(), body: body.into() };
        let session = self.open(self.settings.timeout).await?;
        send(&session, &self.settings, &self.clock, &outgoing).await
    }

    async fn open(&self, look_up: Duration) -> Result<Session, DeliveryFault> {
        let bounds = Bounds { look_up, time: self.settings.timeout, body: ANSWER };
        self.client.open(&self.settings.url, bounds).await.map_err(|fault| away(&fault))
    }

    /// What is to be sent of each aggregate, in the batch's order.
    fn outgoing(batch: &[Delivery]) -> Result<VecDeque<Vec<Outgoing>>, String> {
        let ready = |index: usize| {
            let row = batch.get(index)?;
            let id = row.event_id.to_string();
            Some(message::bytes(row).map(|body| Outgoing { index, id, body: body.into() }))
        };
        let groups = by_aggregate(batch).into_iter();
        groups.map(|group| group.into_iter().filter_map(ready).collect()).collect()
    }
}

impl Destination for Webhook {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        let waiting = Self::outgoing(batch).map_err(DeliveryFault::Refused)?;
        let started = self.clock.instant();
        let window = self.settings.timeout / 2;
        let session = Arc::new(self.open(window).await?);
        let workers = self.settings.concurrency.min(waiting.len());
        let progress = Arc::new(Mutex::new(Progress { waiting, ..Progress::default() }));
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            let (progress, session) = (Arc::clone(&progress), Arc::clone(&session));
            let (settings, clock) = (Arc::clone(&self.settings), self.clock.clone());
            tasks.spawn(async move { work(&progress, &session, &settings, &clock).await });
        }
        // A request that was begun is waited for, so that what took effect is known. No new one is begun past half the time of one:
        // all of it is over after one and a half.
        let rest = window.saturating_sub(started.elapsed());
        let finished = tokio::time::timeout(rest, async { while tasks.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            lock(&progress).is_over = true;
            while tasks.join_next().await.is_some() {}
        }
        let Progress { delivered, fault, .. } = std::mem::take(&mut *lock(&progress));
        let ran_out = delivered.len() < batch.len() && fault.is_none();
        self.pace.learn(window, started.elapsed(), batch.len(), delivered.len(), ran_out);
        match fault {
            Some(fault) => Err(Undelivered { delivered, fault }),
            None if ran_out => {
                let reason = format!("it is slow: {} of {} events in time", delivered.len(), batch.len());
                Err(Undelivered { delivered, fault: DeliveryFault::outage(reason) })
            }
            None => Ok(()),
        }
    }

    fn most_rows(&self) -> usize {
        self.pace.rows()
    }
}

/// Carries out aggregates until there are none left, or one of them shows that there is no use in it.
async fn work(progress: &Mutex<Progress>, session: &Session, settings: &Settings, clock: &Clock) {
    loop {
        let Some(group) = next(progress) else { return };
        for outgoing in group {
            if lock(progress).is_over {
                return;
            }
            let outcome = send(session, settings, clock, &outgoing).await;
            let mut progress = lock(progress);
            let Err(fault) = outcome else {
                progress.delivered.push(outgoing.index);
                continue;
            };
            // A refusal ends its aggregate, anything else the whole call.
            progress.is_over |= !matches!(fault, DeliveryFault::Refused(_));
            progress.note(fault);
            break;
        }
    }
}

fn next(progress: &Mutex<Progress>) -> Option<Vec<Outgoing>> {
    let mut progress = lock(progress);
    if progress.is_over { None } else { progress.waiting.pop_front() }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Keeps the worst: gone before away, away before refused, and of two outages the one that asks for more time.
    fn note(&mut self, fault: DeliveryFault) {
        let rank = |fault: &DeliveryFault| match fault {
            DeliveryFault::Refused(_) => (0, None),
            DeliveryFault::Outage { retry_after, .. } => (1, *retry_after),
            DeliveryFault::Gone(_) => (2, None),
        };
        if self.fault.as_ref().is_none_or(|known| rank(known) < rank(&fault)) {
            self.fault = Some(fault);
        }
    }
}

async fn send(
    session: &Session,
    settings: &Settings,
    clock: &Clock,
    outgoing: &Outgoing,
) -> Result<(), DeliveryFault> {
    let timestamp = clock.unix_seconds();
    let signed = signature::signatures(&settings.secrets, &outgoing.id, timestamp, &outgoing.body);
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| DeliveryFault::outage("a header field cannot be written"))
    };
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("webhook-id"), value(&outgoing.id)?),
        (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(timestamp)),
        (HeaderName::from_static("webhook-signature"), value(&signed)?),
    ]);
    let call = Call {
        method: Method::POST,
        target: settings.url[Position::BeforePath..Position::AfterQuery].to_owned(),
        headers,
        body: outgoing.body.clone(),
    };
    let answer = session.call(&call).await.map_err(|fault| away(&fault))?;
    verdict::judge(answer.status, retry_after(&answer.headers, clock.now()))
}

/// Why nothing came of it. The URL is not repeated: its path and query can be secret.
fn away(fault: &EgressFault) -> DeliveryFault {
    let advice = match fault {
        EgressFault::PrivateAddress => "; the operator allows hosts in PRIVATE_DESTINATION_HOSTS",
        _ => "",
    };
    DeliveryFault::outage(format!("{fault}{advice}"))
}
