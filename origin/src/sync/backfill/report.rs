//! The report of a backfill, written while it goes on: as lines (a fault or the progress each, the sums last), or as one document
//! with the faults first. It is sent as it is made, so that it is never whole in memory. It may not make who writes wait for who reads,
//! who may do so only after sending everything: what is kept for them is bounded by [`MOST_FAULTS`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::{Value, json};
use shared::problem::ProblemType;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use uuid::Uuid;

use crate::sync::{
    refused::{FieldFault, RecordFault},
    store::Outcome,
};

/// How many faults are told one by one; the rest is counted. To hear of them, mend these, or go on after the last of them.
const MOST_FAULTS: u64 = 10_000;
/// After how many rows progress is told, in a report of lines.
const PROGRESS_ROWS: u64 = 2_000;

/// How the report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportForm {
    /// NDJSON.
    Lines,
    /// One JSON object.
    Document,
}

impl ReportForm {
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Document => "application/json",
        }
    }
}

/// The sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    skipped: u64,
}

/// What a line tells of, where the report is one of lines.
type Kind = Option<&'static str>;

/// A row that was refused, as it is told.
#[derive(Serialize)]
struct Fault<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Kind,
    row: u64,
    id: Option<Uuid>,
    field: Option<&'a str>,
    r#type: String,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    /// All of them, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<&'a [FieldFault]>,
}

/// How far it has come.
#[derive(Serialize)]
struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Kind,
    #[serde(flatten)]
    counts: Counts,
    after: u64,
}

/// What it came to.
#[derive(Serialize)]
struct End {
    success: bool,
    message: String,
    complete: bool,
    #[serde(flatten)]
    progress: Progress,
    synced: u64,
    failed: u64,
    total: u64,
    faults_not_told: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Value>,
}

/// A report that is being written.
pub(super) struct Report {
    form: ReportForm,
    issuer: String,
    sender: UnboundedSender<Bytes>,
    counts: Counts,
    told: u64,
    told_progress: u64,
}

/// A report on its way to whoever asked.
pub(super) struct ReportBody(UnboundedReceiver<Bytes>);

/// Why it ended before all rows were settled.
pub(super) struct Stopped {
    pub(super) problem: ProblemType,
    pub(super) detail: String,
}

/// Both ends.
pub(super) fn channel(form: ReportForm, issuer: &str) -> (Report, ReportBody) {
    let (sender, receiver) = unbounded_channel();
    let report = Report {
        form,
        issuer: issuer.to_owned(),
        sender,
        counts: Counts::default(),
        told: 0,
        told_progress: 0,
    };
    (report, ReportBody(receiver))
}

impl HttpBody for ReportBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Report {
    /// Says that it has begun.
    pub(super) fn begin(&self) {
        match self.form {
            // So that the answer's head goes out while rows still come in.
            ReportForm::Lines => self.line(&json!({"kind": "begun"})),
            ReportForm::Document => self.send("{\"faults\":[".to_owned()),
        }
    }

    /// A row that lies before where this one was to begin.
    pub(super) fn skipped(&mut self) {
        self.counts.skipped += 1;
    }

    pub(super) fn stored(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.counts.created += 1,
            Outcome::Updated => self.counts.updated += 1,
            Outcome::Unchanged => self.counts.unchanged += 1,
        }
    }

    /// A row that was refused; `id` where it could be read.
    pub(super) fn refused(&mut self, row: u64, id: Option<Uuid>, fault: &RecordFault) {
        self.counts.refused += 1;
        if self.told >= MOST_FAULTS {
            return;
        }
        let first = fault.faults.first();
        let told = Fault {
            kind: self.kind("fault"),
            row,
            id,
            field: first.map(|fault| fault.field.as_str()),
            r#type: self.type_of(fault.kind.problem()),
            title: fault.kind.problem().title(),
            why: first.map(|fault| fault.why),
            faults: Some(fault.faults.as_slice()).filter(|faults| faults.len() > 1),
        };
        match self.form {
            ReportForm::Lines => self.line(&told),
            ReportForm::Document => {
                let comma = if self.told > 0 { ",\n" } else { "\n" };
                self.send(format!("{comma}{}", text_of(&told)));
            }
        }
        self.told += 1;
    }

    /// Everything up to this row is settled, for good.
    pub(super) fn settled(&mut self, row: u64) {
        if self.form == ReportForm::Lines && row >= self.told_progress.saturating_add(PROGRESS_ROWS) {
            self.told_progress = row;
            self.line(&Progress { kind: self.kind("progress"), counts: self.counts, after: row });
        }
    }

    /// Says what it came to. `after` is the last row that is settled, `total` how many have come.
    pub(super) fn end(self, after: u64, total: u64, stopped: Option<Stopped>) {
        let Counts { created, updated, unchanged, refused, .. } = self.counts;
        let synced = created + updated + unchanged;
        let message = match &stopped {
            None => format!("Backfill complete: {synced} synced, {refused} failed"),
            Some(_) => format!("Backfill stopped after row {after}: {synced} synced, {refused} failed"),
        };
        let end = End {
            success: stopped.is_none() && refused == 0,
            message,
            complete: stopped.is_none(),
            progress: Progress { kind: self.kind("report"), counts: self.counts, after },
            synced,
            failed: refused,
            total,
            faults_not_told: refused.saturating_sub(self.told),
            stopped: stopped.map(|Stopped { problem, detail }| {
                json!({"type": self.type_of(problem), "title": problem.title(), "detail": detail})
            }),
        };
        match self.form {
            ReportForm::Lines => self.line(&end),
            ReportForm::Document => {
                let members = text_of(&end);
                self.send(format!("],{}\n", members.strip_prefix('{').unwrap_or_default()));
            }
        }
    }

    fn kind(&self, name: &'static str) -> Kind {
        (self.form == ReportForm::Lines).then_some(name)
    }

    fn type_of(&self, problem: ProblemType) -> String {
        format!("{}/docs/errors/{}", self.issuer, problem.slug())
    }

    fn line(&self, value: &impl Serialize) {
        self.send(format!("{}\n", text_of(value)));
    }

    fn send(&self, text: String) {
        // Whoever asked may have gone; what comes is stored all the same.
        let _ = self.sender.send(Bytes::from(text));
    }
}

/// Texts, numbers and lists of them: nothing that JSON could not hold.
fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
