//! `POST /v1/sync/backfill-api-keys`: how all keys stand at their source, row by row, in NDJSON or JSON. The body is never whole in
//! memory: rows are cut off as they come, and stored in batches. A bad row is reported and holds up no other; whatever was stored
//! before the connection broke off stays, and the same again from any row on changes nothing that is right.

mod batch;
mod report;
mod rows;
mod run;
mod splitter;

use std::sync::Arc;

use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use self::{
    report::{ReportBody, ReportForm},
    rows::Rows,
    splitter::Format,
};
use super::{refused::SyncRefused, webhook::Webhook};
use crate::http::Origin;

/// The longest row, in bytes.
const MAX_ROW_BYTES: usize = 16 * 1024;

const MEDIA_TYPE: &str =
    "Content-Type must be application/x-ndjson (a key a line) or application/json ({\"keys\": […]} or […]).";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sync) struct Resume {
    /// The last row that is settled already.
    #[serde(default)]
    after: u64,
}

/// The handler: begins, and answers with the report as it is written.
pub(super) async fn sync(
    State(origin): State<Origin>,
    webhook: Webhook,
    query: Result<Query<Resume>, QueryRejection>,
    request: Request,
) -> Response {
    match begin(&origin, webhook, query, request) {
        Ok(response) => response,
        Err(refused) => refused.counted(&origin).into_response(),
    }
}

fn begin(
    origin: &Origin,
    webhook: Webhook,
    query: Result<Query<Resume>, QueryRejection>,
    request: Request,
) -> Result<Response, SyncRefused> {
    let Query(Resume { after }) = query.map_err(|_| SyncRefused::Query("after"))?;
    let format = format(request.headers()).ok_or(SyncRefused::MediaType(MEDIA_TYPE))?;
    let form = form(request.headers());
    let permit: OwnedSemaphorePermit =
        Arc::clone(&origin.backfills).try_acquire_owned().map_err(|_| SyncRefused::Busy)?;
    let (report, body) = report::channel(form, origin.issuer());
    let rows = Rows::of(request.into_body(), format);
    let origin = origin.clone();
    // Not this request's own future: that ends with the connection, and what has come by then is to be stored.
    tokio::spawn(async move {
        run::run(&origin, &webhook, rows, after, report).await;
        drop(permit);
    });
    Ok(answer(form, body))
}

fn answer(form: ReportForm, body: ReportBody) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, form.media_type())], axum::body::Body::new(body)).into_response()
}

fn format(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Some(Format::Lines)
        }
        "application/json" => Some(Format::Json),
        _ => None,
    }
}

/// A report of lines for who asks for lines, else one document.
fn form(headers: &HeaderMap) -> ReportForm {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes_lines = accept.split(',').any(|range| {
        let media_type = range.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/x-ndjson")
    });
    if takes_lines { ReportForm::Lines } else { ReportForm::Document }
}
