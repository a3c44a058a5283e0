//! What the answer to a webhook means, decided in one table.

use std::time::Duration;

use hyper::StatusCode;

use crate::outbox::destination::DeliveryFault;

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It took effect.
    Delivered,
    /// The receiver cannot take anything now, or is not where we think.
    Outage(&'static str),
    /// The receiver will not take this event.
    Refused,
    /// The receiver wants no events any more.
    Gone,
}

/// The table. Only what is about the content of one request refuses it; anything else would meet every event alike.
fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        300..=399 => Verdict::Outage("redirects are not followed: set its URL to where it is now"),
        400 | 409 | 413 | 422 => Verdict::Refused,
        401 | 403 => Verdict::Outage("it does not accept our signature: compare its secret with ours"),
        404 | 405 => Verdict::Outage("there is no webhook at its URL"),
        410 => Verdict::Gone,
        429 => Verdict::Outage("it asks for fewer requests"),
        _ => Verdict::Outage("it cannot take anything now"),
    }
}

/// What an answer comes to.
pub(super) fn judge(status: StatusCode, retry_after: Option<Duration>) -> Result<(), DeliveryFault> {
    let status = status.as_u16();
    match verdict(status) {
        Verdict::Delivered => Ok(()),
        Verdict::Outage(why) => {
            Err(DeliveryFault::Outage { reason: format!("it answered {status}; {why}"), retry_after })
        }
        Verdict::Refused => Err(DeliveryFault::Refused(format!("it answered {status}"))),
        Verdict::Gone => Err(DeliveryFault::Gone("it answered 410 Gone".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_means_one_thing() {
        for status in 100..=999_u16 {
            let expected = match status {
                200..=299 => "delivered",
                400 | 409 | 413 | 422 => "refused",
                410 => "gone",
                _ => "outage",
            };
            let judged = judge(StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(7)));
            let found = match judged {
                Ok(()) => "delivered",
                Err(DeliveryFault::Refused(_)) => "refused",
                Err(DeliveryFault::Gone(_)) => "gone",
                Err(DeliveryFault::Outage { retry_after, reason }) => {
                    assert_eq!(retry_after, Some(Duration::from_secs(7)));
                    assert!(reason.contains(&status.to_string()));
                    "outage"
                }
            };
            assert_eq!(found, expected, "{status}");
        }
    }
}
