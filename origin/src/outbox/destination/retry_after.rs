//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date in any of the three forms that a recipient has to read (5.6.7).

use std::time::Duration;

use hyper::{HeaderMap, header};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

/// The longest that a destination may ask to be left alone: past it, it is tried anyway.
pub(super) const MOST: Duration = Duration::from_hours(1);

/// How long the answer asks to be left alone, [`MOST`] at most. A date that has passed is no time at all; what is neither seconds nor
/// a date is not there.
pub(super) fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are still more than the most.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = http_date(text, now)?;
        Duration::try_from(until - now).unwrap_or(Duration::ZERO)
    };
    Some(asked.min(MOST))
}

/// An HTTP date. A year of two digits that would be more than 50 years ahead is the one a century before.
fn http_date(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let (_, rest) = text.split_once(' ')?;
    let words: Vec<&str> = rest.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    // IMF-fixdate and RFC 850, `06 Nov 1994 08:49:37 GMT` and `06-Nov-94 08:49:37 GMT`; then asctime, `Nov  6 08:49:37 1994`.
    let ([day, month, year, clock, "GMT"] | [month, day, clock, year]) = words.as_slice() else {
        return None;
    };
    let month = match *month {
        "Jan" => Month::January,
        "Feb" => Month::February,
        "Mar" => Month::March,
        "Apr" => Month::April,
        "May" => Month::May,
        "Jun" => Month::June,
        "Jul" => Month::July,
        "Aug" => Month::August,
        "Sep" => Month::September,
        "Oct" => Month::October,
        "Nov" => Month::November,
        "Dec" => Month::December,
        _ => return None,
    };
    let number = |text: &str| text.parse::<u8>().ok();
    let year = match (year.len(), year.parse::<i32>().ok()?) {
        (4, year) => year,
        (2, year) => {
            let this = now.year();
            let year = this - this.rem_euclid(100) + year;
            if year > this + 50 { year - 100 } else { year }
        }
        _ => return None,
    };
    let mut parts = clock.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let date = Date::from_calendar_date(year, month, number(day)?).ok()?;
    // A leap second is the one before it.
    let time = Time::from_hms(hour, minute, second.min(59)).ok()?;
    parts.next().is_none().then(|| date.with_time(time).assume_offset(UtcOffset::UTC))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_read_and_bounded() {
        let now = datetime!(2026-11-21 10:00 UTC);
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now)
        };
        for (text, seconds) in [
            ("0", 0),
            (" 120 ", 120),
            ("3600", 3_600),
            ("3601", 3_600),
            ("99999999999999999999999999", 3_600),
            ("Sat, 21 Nov 2026 10:01:00 GMT", 60),
            ("Saturday, 21-Nov-26 10:01:30 GMT", 90),
            ("Sat Nov 21 10:02:00 2026", 120),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
            ("Sun Nov  6 08:49:37 1994", 0),
            ("Fri, 21 Nov 2036 10:00:00 GMT", 3_600),
        ] {
            assert_eq!(read(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sat, 21 Nov 2026 10:01:00",
            "Sat, 31 Feb 2026 10:01:00 GMT",
            "Sat, 21 Nov 2026 25:01:00 GMT",
            "Sat, 21 Nov 2026 10:01:00:00 GMT",
            "Sat, 21 Now 2026 10:01:00 GMT",
            "2026-11-21T10:01:00Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
