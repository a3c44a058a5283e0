//! The edge's one clock. It may not be read anywhere else: time is an argument.

use shared::time::UnixMillis;

/// Now, as the platform tells it. On Cloudflare it advances only with I/O.
pub(crate) fn now() -> UnixMillis {
    at(js_sys::Date::now())
}

/// A time as JavaScript has it. Whole milliseconds since 1970 fit 53 bits for 285,000 years.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) const fn at(millis: f64) -> UnixMillis {
    UnixMillis(millis as u64)
}
