//! What an answer of PostgREST means, decided in one table. Its errors carry the code of Postgres, or one of its own (`PGRST…`).

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use crate::egress::shortened;
use crate::outbox::destination::{DeliveryFault, is_a_rows_fault};

/// The body of an error: `code`, `message`, `details` and `hint`. `details` holds values of the row, so it is never read.
#[derive(Deserialize)]
struct Refusal {
    code: Option<String>,
    message: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// All of it took effect.
    Delivered,
    /// Nothing can be taken now, or we are set up wrongly.
    Outage(&'static str),
    /// At least one of the rows is at fault.
    Refused,
}

/// The table. A row is at fault only where Postgres says so of its data; PostgREST maps these codes to 400 and 409, those of a
/// limit to 413 or 500. Anything else would meet every row alike.
fn verdict(status: u16, code: Option<&str>) -> Verdict {
    match (status, code) {
        (200 | 201 | 204, _) => Verdict::Delivered,
        (400 | 409 | 413 | 422 | 500, Some(code)) if is_a_rows_fault(code) => Verdict::Refused,
        // Whoever stands before it takes no request of this size: fewer rows may pass.
        (413, _) => Verdict::Refused,
        (300..=399, _) => Verdict::Outage("redirects are not followed: set its URL to where it is now"),
        (_, Some("42501")) => {
            Verdict::Outage("the key's role may not insert there: grant it INSERT and SELECT (event_id)")
        }
        (401 | 403, _) => Verdict::Outage("it does not accept the service key"),
        (_, Some("42P01" | "PGRST205")) | (404, _) => Verdict::Outage(
            "there is no such table or schema: create auth_events there, and expose its schema",
        ),
        (_, Some("42703" | "PGRST204")) => Verdict::Outage("its table lacks a column of auth_events"),
        (_, Some("42P10")) => Verdict::Outage("its event_id is neither primary key nor unique"),
        (406, _) => Verdict::Outage("it does not expose the schema"),
        (408 | 429 | 502 | 503 | 504, _) => Verdict::Outage("it is away or overloaded"),
        _ => Verdict::Outage("it cannot take anything now"),
    }
}

/// What an answer comes to.
pub(super) fn judge(
    status: StatusCode,
    body: &[u8],
    retry_after: Option<Duration>,
) -> Result<(), DeliveryFault> {
    let refusal = serde_json::from_slice::<Refusal>(body).ok();
    let code = refusal.as_ref().and_then(|refusal| refusal.code.as_deref());
    let said = || {
        let code = code.map(|code| format!(" {}", shortened(&code))).unwrap_or_default();
        let message = refusal.as_ref().and_then(|refusal| refusal.message.as_ref());
        let message = message.map(|message| format!(" ({})", shortened(message))).unwrap_or_default();
        format!("it answered {}{code}{message}", status.as_u16())
    };
    match verdict(status.as_u16(), code) {
        Verdict::Delivered => Ok(()),
        Verdict::Outage(why) => {
            Err(DeliveryFault::Outage { reason: format!("{}; {why}", said()), retry_after })
        }
        Verdict::Refused => Err(DeliveryFault::Refused(said())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, code: &str) -> Result<(), DeliveryFault> {
        let body = if code.is_empty() {
            "<html>".to_owned()
        } else {
            format!(r#"{{"code":"{code}","message":"no","details":"Key (x)=(secret) exists","hint":null}}"#)
        };
        judge(StatusCode::from_u16(status).unwrap(), body.as_bytes(), None)
    }

    #[test]
    fn what_refuses_a_row_and_what_is_an_outage() {
        for (status, code) in [(200, ""), (201, ""), (204, "")] {
            assert_eq!(judged(status, code), Ok(()));
        }
        for (status, code) in [
            (400, "22P02"),
            (400, "22003"),
            (400, "23502"),
            (409, "23503"),
            (409, "23505"),
            (400, "23514"),
            (400, "P0001"),
            (422, "22001"),
            (413, "54000"),
            (500, "54000"),
            (413, ""),
        ] {
            let fault = judged(status, code).unwrap_err();
            assert!(
                matches!(&fault, DeliveryFault::Refused(why) if why.contains(code)),
                "{status} {code}: {fault}"
            );
        }
        for (status, code, advice) in [
            (0, "", "cannot take"),
            (301, "", "redirects"),
            (307, "", "redirects"),
            (400, "", "cannot take"),
            (400, "42703", "lacks a column"),
            (400, "PGRST204", "lacks a column"),
            (400, "PGRST102", "cannot take"),
            (400, "42P10", "neither primary key nor unique"),
            (401, "PGRST301", "service key"),
            (401, "42501", "grant it INSERT"),
            (403, "42501", "grant it INSERT"),
            (403, "", "service key"),
            (404, "42P01", "no such table"),
            (404, "PGRST205", "no such table"),
            (404, "", "no such table"),
            (406, "PGRST106", "expose the schema"),
            (408, "", "away"),
            (409, "", "cannot take"),
            (409, "PGRST999", "cannot take"),
            (422, "", "cannot take"),
            (429, "", "away"),
            (500, "", "cannot take"),
            (500, "57014", "cannot take"),
            (502, "", "away"),
            (503, "PGRST001", "away"),
            (504, "PGRST003", "away"),
            (503, "08006", "away"),
        ] {
            let Ok(known) = StatusCode::from_u16(status) else { continue };
            let fault = judged(known.as_u16(), code).unwrap_err();
            let DeliveryFault::Outage { reason, .. } = &fault else { panic!("{status} {code}: {fault}") };
            assert!(reason.contains(advice), "{status} {code}: {reason}");
        }
        // 410 is no farewell here, and a row's values stay where they are.
        assert!(matches!(judged(410, "").unwrap_err(), DeliveryFault::Outage { .. }));
        assert!(!judged(409, "23505").unwrap_err().to_string().contains("secret"));
    }
}
