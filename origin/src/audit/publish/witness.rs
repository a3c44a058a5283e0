//! A witness over HTTP (c2sp.org/tlog-witness): it is given the checkpoint with a proof that the log only grew since the last one it
//! saw, and cosigns. What it signed is checked with its key, and kept beside the checkpoint.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use shared::tlog::{Note, base64, decimal, verify_cosignature};

use super::PublishError;
use crate::audit::checkpoints::{self, StoredCheckpoint};
use crate::audit::tree;
use crate::configuration::WitnessConfiguration;
use crate::database::{Actor, Component, Database, Scope};
use crate::egress::{Answer, Bounds, Call, Client};

const BOUNDS: Bounds =
    Bounds { look_up: Duration::from_secs(5), time: Duration::from_secs(10), body: 64 * 1024 };
/// The first try learns how far the witness is; others may come in between.
const TRIES: u32 = 3;

/// The witness.
#[derive(Debug)]
pub struct WitnessPublisher {
    configuration: WitnessConfiguration,
    command: Database,
    /// The size of the log that the witness saw last, as far as is known here.
    seen: Mutex<u64>,
}

impl WitnessPublisher {
    pub(super) fn new(configuration: WitnessConfiguration, command: Database) -> Self {
        Self { configuration, command, seen: Mutex::new(0) }
    }

    pub(super) async fn publish(&self, latest: &StoredCheckpoint) -> Result<(), PublishError> {
        let mut old = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let mut scope = self.scope().await?;
            if old > latest.size {
                // Another process may have been faster. Otherwise the witness knows events that are not there any more.
                let size = tree::frontier(&mut scope).await?.size();
                return if old <= size { Ok(()) } else { Err(self.shrunk(size, old).into()) };
            }
            let proof = tree::consistency(&mut scope, old, latest.size).await?;
            drop(scope);
            let mut body = format!("old {old}\n");
            for hash in &proof {
                // Writing to a string cannot fail.
                let _ = writeln!(body, "{}", base64(hash));
            }
            let _ = write!(body, "\n{}", latest.note);
            let answer = self.post(body).await?;
            match answer.status {
                StatusCode::OK => {
                    self.keep(latest, &answer).await?;
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = latest.size;
                    return Ok(());
                }
                StatusCode::CONFLICT => {
                    let size = text(&answer).and_then(|text| decimal(text.trim_end()));
                    match size {
                        Some(size) if size != old => old = size,
                        _ => {
                            return Err(fault(
                                "it has signed another root for this many events: the log was changed",
                            ));
                        }
                    }
                }
                status => return Err(fault(refusal(status))),
            }
        }
        Err(fault("it is given checkpoints by somebody else all the time"))
    }

    async fn post(&self, body: String) -> Result<Answer, PublishError> {
        let url = &self.configuration.url;
        // The operator chose the witness: it may stand anywhere, on a private network too.
        let host = url.host_str().unwrap_or_default().to_owned();
        let client = Client::new(&[host]).map_err(|error| fault(error.to_string()))?;
        let session = client.open(url, BOUNDS).await.map_err(|error| fault(error.to_string()))?;
        let target = format!("{}/add-checkpoint", url.path().trim_end_matches('/'));
        let call = Call { method: Method::POST, target, headers: HeaderMap::new(), body: Bytes::from(body) };
        session.call(&call).await.map_err(|error| fault(error.to_string()))
    }

    /// Checks what came back and keeps the lines that are by the witness's key.
    async fn keep(&self, latest: &StoredCheckpoint, answer: &Answer) -> Result<(), PublishError> {
        let lines = text(answer).filter(|_| answer.is_whole).ok_or_else(|| fault("its answer is no text"))?;
        let note = Note::parse(&format!("{}{lines}", latest.note))
            .map_err(|_| fault("its answer is not made of signature lines"))?;
        verify_cosignature(&note, &self.configuration.key)
            .map_err(|error| fault(format!("its answer is no cosignature: {error}")))?;
        let mut scope = self.scope().await?;
        for line in note.signatures().iter().filter(|line| self.configuration.key.made(line)) {
            checkpoints::add_cosignature(&mut scope, latest.size, &line.to_string()).await?;
        }
        scope.commit().await?;
        Ok(())
    }

    fn shrunk(&self, size: u64, old: u64) -> tree::TreeError {
        tree::TreeError::Shrunk { size, old, place: self.configuration.key.name().to_owned() }
    }

    async fn scope(&self) -> Result<Scope, PublishError> {
        Ok(self.command.scope(Actor::System(Component::Sealer)).await?)
    }
}

fn text(answer: &Answer) -> Option<&str> {
    std::str::from_utf8(&answer.body).ok()
}

fn fault(reason: impl Into<String>) -> PublishError {
    PublishError::Witness(reason.into())
}

fn refusal(status: StatusCode) -> String {
    match status.as_u16() {
        403 => "it does not trust the key of this log (403); give it the key that `gateward audit key` prints".to_owned(),
        404 => "it does not know this log (404); tell it the log's name and key, as `gateward audit key` prints them".to_owned(),
        422 => "it finds that the log does not begin with what it signed before (422): the log was changed".to_owned(),
        status => format!("it answered {status}"),
    }
}
