//! The edge's one clock. It may not be read anywhere else: time is an argument.

use js_sys::Promise;
use shared::time::UnixMillis;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::WorkerGlobalScope;

/// Now, as the platform tells it. On Cloudflare it advances only with I/O.
pub(crate) fn now() -> UnixMillis {
    at(js_sys::Date::now())
}

/// A time as JavaScript has it. Whole milliseconds since 1970 fit 53 bits for 285,000 years.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) const fn at(millis: f64) -> UnixMillis {
    UnixMillis(millis as u64)
}

/// Waits until the platform has done what it has to do already, such as sending an answer that is ready.
pub(crate) async fn next_turn() {
    let turn = Promise::new(&mut |resolve, _| {
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        // Without a timer there is no other turn to wait for.
        if scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, 0).is_err() {
            let _ = resolve.call0(&JsValue::UNDEFINED);
        }
    });
    // It is never rejected.
    let _ = JsFuture::from(turn).await;
}
