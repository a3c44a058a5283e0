//! Reading a body that may not be larger than a bound. It may not take more than one piece beyond the bound into memory.

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamDefaultReader, Request};

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum BodyFault {
    /// It is larger than the bound.
    TooLarge,
    /// The stream broke off.
    Broken,
}

/// The whole body of `request`, if it has at most `limit` bytes; `announced` is its `Content-Length`, to which the platform holds
/// the caller: such a body is read in one step.
pub(crate) async fn of_request(
    request: &Request,
    announced: Option<&str>,
    limit: usize,
) -> Result<Vec<u8>, BodyFault> {
    let Some(length) = announced.and_then(|length| length.trim().parse::<usize>().ok()) else {
        return read(request.body(), limit).await;
    };
    if length > limit {
        return Err(BodyFault::TooLarge);
    }
    let broken = |_: JsValue| BodyFault::Broken;
    let whole = JsFuture::from(request.array_buffer().map_err(broken)?).await.map_err(broken)?;
    let body = Uint8Array::new(&whole).to_vec();
    if body.len() <= limit { Ok(body) } else { Err(BodyFault::TooLarge) }
}

/// The whole of `stream`, if it has at most `limit` bytes.
pub(crate) async fn read(stream: Option<ReadableStream>, limit: usize) -> Result<Vec<u8>, BodyFault> {
    let Some(stream) = stream else { return Ok(Vec::new()) };
    let broken = |_: JsValue| BodyFault::Broken;
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut body = Vec::new();
    loop {
        let step = JsFuture::from(reader.read()).await.map_err(broken)?;
        let is_done = Reflect::get(&step, &"done".into()).map_err(broken)?.is_truthy();
        if is_done {
            return Ok(body);
        }
        let piece: Uint8Array = Reflect::get(&step, &"value".into()).map_err(broken)?.unchecked_into();
        let fits = usize::try_from(piece.length())
            .ok()
            .and_then(|length| body.len().checked_add(length))
            .is_some_and(|length| length <= limit);
        if !fits {
            // The caller learns at once that the rest is not wanted; what becomes of it is the platform's business.
            let _ = reader.cancel();
            return Err(BodyFault::TooLarge);
        }
        body.extend_from_slice(&piece.to_vec());
    }
}
