//! The limit of a location, where the platform has one: a counter that the isolates of one place share, for the endpoints that take
//! credentials. It may not choose the limit: the deployment does. Permissive, and known by its word alone.

use js_sys::{Object, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker_sys::RateLimiter;

use crate::{exact::outcome_name, isolate};

/// The binding.
pub(crate) const BINDING: &str = "LOCATION_LIMIT";

/// Whether the location lets one more request of `address` through; `None` when it did not say.
pub(crate) async fn allows(env: &Object, address: &str) -> Option<bool> {
    let allowed = match limit(env, address).await {
        Ok(allowed) => allowed,
        Err(fault) => {
            worker_sys::console_error!(
                "the location's limit did not answer: {}",
                String::from(Object::from(fault).to_string())
            );
            None
        }
    };
    isolate::with_counters(|counters| counters.limit("location", outcome_name(allowed)));
    allowed
}

async fn limit(env: &Object, address: &str) -> Result<Option<bool>, JsValue> {
    let limiter: RateLimiter = Reflect::get(env, &BINDING.into())?.unchecked_into();
    let question = Object::new();
    Reflect::set(&question, &"key".into(), &address.into())?;
    let answer = JsFuture::from(limiter.limit(question)?).await?;
    Ok(Reflect::get(&answer, &"success".into())?.as_bool())
}
