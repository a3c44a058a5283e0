//! The rows of a request's body, as they come. It counts what it reads, and waits for no more than a while.

use std::{collections::VecDeque, time::Duration};

use axum::body::Body;
use http_body_util::BodyExt as _;
use shared::assertion::MAX_STREAMED_BYTES;

use super::{
    MAX_ROW_BYTES,
    splitter::{Broken, Format, RawRow, Splitter},
};

/// How long nothing may come.
const SILENCE_LIMIT: Duration = Duration::from_mins(1);

/// Why there are no more rows, where not all of them have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The body is not of its format from here on.
    Broken(&'static str),
    /// The connection broke off.
    Cut,
    /// Nothing came for too long.
    Silence,
    /// The body is too large.
    TooLarge,
}

/// The rows still to come.
pub(super) struct Rows {
    body: Body,
    splitter: Splitter,
    /// Cut off already, and not asked for yet.
    ready: VecDeque<RawRow>,
    /// Whether more can come.
    has_ended: bool,
    /// Why not all of them came.
    stop: Option<Stop>,
    bytes: u64,
}

impl Rows {
    pub(super) fn of(body: Body, format: Format) -> Self {
        Self {
            body,
            splitter: Splitter::new(format, MAX_ROW_BYTES),
            ready: VecDeque::new(),
            has_ended: false,
            stop: None,
            bytes: 0,
        }
    }

    /// The next row; `None` when there is none, and [`Self::stop`] says whether that is all of them.
    pub(super) async fn next(&mut self) -> Option<RawRow> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(row);
            }
            if self.has_ended {
                return None;
            }
            self.read().await;
        }
    }

    /// Why not all rows have come; only of use once [`Self::next`] has said that there are no more.
    pub(super) fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Whether it stopped in the middle of a row, which then is nobody's.
    pub(super) fn is_in_row(&self) -> bool {
        self.splitter.is_in_row()
    }

    async fn read(&mut self) {
        let frame = match tokio::time::timeout(SILENCE_LIMIT, self.body.frame()).await {
            Err(_) => return self.end(Some(Stop::Silence)),
            Ok(Some(Err(_))) => return self.end(Some(Stop::Cut)),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => {
                return match self.splitter.finish() {
                    Ok(last) => {
                        self.ready.extend(last);
                        self.end(None);
                    }
                    Err(Broken(why)) => self.end(Some(Stop::Broken(why))),
                };
            }
        };
        // Trailers say nothing.
        let Some(piece) = frame.data_ref() else { return };
        self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.bytes > MAX_STREAMED_BYTES {
            return self.end(Some(Stop::TooLarge));
        }
        let mut rows = Vec::new();
        if let Err(Broken(why)) = self.splitter.push(piece, &mut rows) {
            self.end(Some(Stop::Broken(why)));
        }
        self.ready.extend(rows);
    }

    fn end(&mut self, stop: Option<Stop>) {
        self.has_ended = true;
        self.stop = stop;
    }
}
