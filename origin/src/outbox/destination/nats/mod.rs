//! The destination that is a stream of NATS JetStream. The id of a message (`Nats-Msg-Id`) is the event's, so the stream keeps an
//! event that comes again only once, within its window for duplicates. Of each aggregate one message is under way at a time and the
//! next follows its acknowledgement; the aggregates of a batch go side by side.

mod connection;
mod credentials;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use serde::Deserialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use self::connection::{Connection, ConnectionFault, Message};
pub use self::credentials::Credentials;
use super::{DeliveryFault, Destination, Undelivered, aggregates::by_aggregate, message, pace::Pace};
use crate::{
    clock::{Clock, Randomness},
    egress::shortened,
    outbox::Delivery,
};

/// Messages under way at once.
const UNDER_WAY: usize = 256;
/// Rows of a call: at first, and at most.
const ROWS: (usize, usize) = (256, 1_000);
/// From the beginning of a call: no message is begun after it. With the time of an acknowledgement it is less than a forwarder waits.
const WINDOW: Duration = Duration::from_millis(2_500);
/// How long an acknowledgement may take.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(4);
/// `JSStreamMessageExceedsMaximumErr`: the stream takes no message of this size.
const MESSAGE_TOO_LARGE: u32 = 10_054;

/// One server of a cluster.
#[derive(Debug)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to over TLS whatever it says.
    pub is_tls: bool,
    /// What its URL has in it; where that is nothing, the settings' own.
    pub credentials: Credentials,
}

impl Server {
    fn credentials<'a>(&'a self, settings: &'a Settings) -> &'a Credentials {
        match &self.credentials {
            Credentials::None => &settings.credentials,
            own => own,
        }
    }
}

/// Where to and how.
pub struct Settings {
    /// The servers, the first one that answers is taken. Others that a server may name are not connected to.
    pub servers: Vec<Server>,
    /// What opens them.
    pub credentials: Credentials,
    /// Whose certificates are believed.
    pub roots: RootCertStore,
    /// The first part of every subject.
    pub prefix: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A stream.
pub struct Nats {
    settings: Settings,
    clock: Clock,
    randomness: Randomness,
    pace: Pace,
    /// The connection of the last call, where it ended well.
    kept: Mutex<Option<Connection>>,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What JetStream answers to a message.
#[derive(Deserialize)]
struct Acknowledgement {
    stream: Option<String>,
    error: Option<StreamError>,
}

#[derive(Deserialize)]
struct StreamError {
    err_code: Option<u32>,
    description: Option<String>,
}

/// What a batch has come to.
#[derive(Default)]
struct Progress {
    /// What is still to be sent of each aggregate.
    waiting: VecDeque<VecDeque<usize>>,
    /// What has been sent, with what follows it.
    under_way: HashMap<usize, VecDeque<usize>>,
    delivered: Vec<usize>,
    refused: Option<DeliveryFault>,
}

impl Nats {
    /// A stream; nothing is connected to yet.
    pub fn new(settings: Settings, clock: Clock, randomness: Randomness) -> Self {
        Self { settings, clock, randomness, pace: Pace::new(ROWS.0, ROWS.1), kept: Mutex::new(None) }
    }

    /// Connects, and asks for the stream that takes our subjects.
    pub async fn check(&self) -> Result<String, DeliveryFault> {
        #[derive(Deserialize)]
        struct Names {
            streams: Option<Vec<String>>,
            error: Option<StreamError>,
        }
        let mut connection = self.connect().await.map_err(|fault| self.away(&fault))?;
        let subject = format!("{}.>", self.settings.prefix);
        let asked = serde_json::json!({ "subject": subject }).to_string();
        let answer = async {
            connection.request("$JS.API.STREAM.NAMES", 0, asked.as_bytes()).await?;
            connection.message().await
        };
        let answer = self.in_time(answer).await.map_err(|fault| self.away(&fault))?;
        if answer.status == Some(503) {
            return Err(DeliveryFault::outage("the server has no JetStream, or none for this account"));
        }
        let names: Names = serde_json::from_slice(&answer.payload)
            .map_err(|_| DeliveryFault::outage("the server answers what JetStream does not"))?;
        if let Some(error) = names.error {
            return Err(DeliveryFault::outage(said(&error)));
        }
        names.streams.into_iter().flatten().next().ok_or_else(|| self.no_stream(&subject))
    }

    async fn connect(&self) -> Result<Connection, ConnectionFault> {
        let inbox = format!("_INBOX.{}", Uuid::from_bytes(self.randomness.bytes()).simple());
        Connection::open(&self.settings, inbox).await
    }

    /// The kept connection where it still answers, or a new one.
    async fn connection(&self, kept: Option<Connection>) -> Result<Connection, ConnectionFault> {
        if let Some(mut connection) = kept
            && self.in_time(connection.probe()).await.is_ok()
        {
            return Ok(connection);
        }
        self.connect().await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, ConnectionFault>>,
    ) -> Result<T, ConnectionFault> {
        let late = || ConnectionFault::Lost(format!("no answer within {} ms", ACKNOWLEDGEMENT.as_millis()));
        tokio::time::timeout(ACKNOWLEDGEMENT, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// Sends the batch and reads what becomes of it, until all is answered or there is no use in going on.
    async fn carry(
        &self,
        connection: &mut Connection,
        batch: &[Delivery],
        progress: &mut Progress,
        started: Instant,
    ) -> Result<(), DeliveryFault> {
        loop {
            while progress.under_way.len() < UNDER_WAY && started.elapsed() < WINDOW {
                let Some(mut group) = progress.waiting.pop_front() else { break };
                let Some((index, row)) = group.pop_front().and_then(|index| Some((index, batch.get(index)?)))
                else {
                    continue;
                };
                match self.publish(connection, index, row).await {
                    Ok(()) => drop(progress.under_way.insert(index, group)),
                    // What follows it in its aggregate stays, too.
                    Err(fault @ DeliveryFault::Refused(_)) => progress.refused = Some(fault),
                    Err(fault) => return Err(fault),
                }
            }
            if progress.under_way.is_empty() {
                return Ok(());
            }
            let answer = async {
                connection.flush().await?;
                connection.message().await
            };
            let answer = self.in_time(answer).await.map_err(|fault| self.away(&fault))?;
            let number = connection.number(&answer);
            let Some((index, rest)) =
                number.and_then(|index| Some((index, progress.under_way.remove(&index)?)))
            else {
                continue;
            };
            match self.judge(&answer, batch.get(index)) {
                Ok(()) => {
                    progress.delivered.push(index);
                    progress.waiting.push_back(rest);
                }
                Err(fault @ DeliveryFault::Refused(_)) => progress.refused = Some(fault),
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn publish(
        &self,
        connection: &mut Connection,
        index: usize,
        row: &Delivery,
    ) -> Result<(), DeliveryFault> {
        let subject = self.subject(row)?;
        let body = message::bytes(row).map_err(DeliveryFault::Refused)?;
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", row.event_id);
        if headers.len() + body.len() > connection.max_payload() {
            let most = connection.max_payload();
            return Err(DeliveryFault::Refused(format!(
                "it is larger than the {most} bytes the server takes"
            )));
        }
        connection.publish(&subject, index, &headers, &body).await.map_err(|fault| self.away(&fault))
    }

    /// `{prefix}.{aggregate_type}.{event_type}`. What could be read as more than one token, or as a wildcard, is none.
    fn subject(&self, row: &Delivery) -> Result<String, DeliveryFault> {
        let is_token = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        if !is_token(&row.aggregate_type) || !is_token(&row.event_type) {
            return Err(DeliveryFault::Refused("its type cannot stand in a subject".to_owned()));
        }
        Ok(format!("{}.{}", self.settings.prefix, message::kind(row)))
    }

    fn judge(&self, answer: &Message, row: Option<&Delivery>) -> Result<(), DeliveryFault> {
        if answer.status == Some(503) {
            let subject = row.and_then(|row| self.subject(row).ok()).unwrap_or_default();
            return Err(self.no_stream(&subject));
        }
        match serde_json::from_slice(&answer.payload) {
            Ok(Acknowledgement { error: Some(error), .. }) if error.err_code == Some(MESSAGE_TOO_LARGE) => {
                Err(DeliveryFault::Refused(said(&error)))
            }
            Ok(Acknowledgement { error: Some(error), .. }) => Err(DeliveryFault::outage(said(&error))),
            Ok(Acknowledgement { stream: Some(_), error: None }) => Ok(()),
            _ => Err(DeliveryFault::outage(
                "it answered what JetStream does not; does something else listen on its subjects?",
            )),
        }
    }

    /// What a server says can hold what it was told.
    fn away(&self, fault: &ConnectionFault) -> DeliveryFault {
        let Settings { servers, credentials, .. } = &self.settings;
        let all = servers.iter().map(|server| &server.credentials).chain([credentials]);
        let said = fault.to_string();
        DeliveryFault::outage(if all.into_iter().any(|one| one.stands_in(&said)) {
            "the server refuses, and repeats the credentials".to_owned()
        } else {
            said
        })
    }

    fn no_stream(&self, subject: &str) -> DeliveryFault {
        let prefix = &self.settings.prefix;
        DeliveryFault::outage(format!(
            "no stream takes {subject}; create one: nats stream add {} --subjects '{prefix}.>' --storage file \
             --dupe-window 24h --defaults",
            prefix.to_ascii_uppercase().replace('.', "_"),
        ))
    }
}

impl Destination for Nats {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        let started = self.clock.instant();
        let mut kept = self.kept.lock().await;
        let mut connection = self.connection(kept.take()).await.map_err(|fault| self.away(&fault))?;
        let mut progress = Progress { waiting: by_aggregate(batch), ..Progress::default() };
        let carried = self.carry(&mut connection, batch, &mut progress, started).await;
        let Progress { waiting, delivered, refused, .. } = progress;
        let ran_out = carried.is_ok() && waiting.iter().any(|group| !group.is_empty());
        self.pace.learn(WINDOW, started.elapsed(), batch.len(), delivered.len(), ran_out);
        let fault = match carried {
            Ok(()) => {
                *kept = Some(connection);
                let slow = || {
                    DeliveryFault::outage(format!(
                        "it is slow: {} of {} events in time",
                        delivered.len(),
                        batch.len()
                    ))
                };
                refused.or_else(|| ran_out.then(slow))
            }
            // What is under way still is not acknowledged: it comes again on another connection.
            Err(fault) => Some(fault),
        };
        match fault {
            None => Ok(()),
            Some(fault) => Err(Undelivered { delivered, fault }),
        }
    }

    fn most_rows(&self) -> usize {
        self.pace.rows()
    }
}

fn said(error: &StreamError) -> String {
    let description = error.description.as_deref().unwrap_or("it does not say why");
    format!("the stream refuses: {}", shortened(&description))
}
