//! The platform's word on a signature (`crypto.subtle`). It may not choose key or algorithm: the question brings both.

use js_sys::{Array, JSON, Object, Reflect, Uint8Array};
use shared::{
    decide::{PlatformAnswer, SignatureQuestion},
    jwt::Algorithm,
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{CryptoKey, WorkerGlobalScope};

/// Asks the platform. A key or signature that it cannot take is one that does not verify.
pub(crate) async fn check(question: &SignatureQuestion) -> PlatformAnswer {
    match verify(question).await {
        Ok(true) => PlatformAnswer::Valid,
        Ok(false) | Err(_) => PlatformAnswer::Invalid,
    }
}

async fn verify(question: &SignatureQuestion) -> Result<bool, JsValue> {
    let parameters = Object::new();
    let set = |name: &str, value: &str| Reflect::set(&parameters, &name.into(), &value.into()).map(drop);
    set("hash", "SHA-256")?;
    match question.algorithm {
        Algorithm::Es256 => {
            set("name", "ECDSA")?;
            set("namedCurve", "P-256")?;
        }
        Algorithm::Rs256 => set("name", "RSASSA-PKCS1-v1_5")?,
        // Verified in wasm; the platform is never asked.
        Algorithm::EdDsa | Algorithm::Hs256 => return Ok(false),
    }
    let jwk = serde_json::to_string(&question.key).map_err(|_| JsValue::NULL)?;
    let jwk: Object = JSON::parse(&jwk)?.unchecked_into();
    let subtle = js_sys::global().unchecked_into::<WorkerGlobalScope>().crypto()?.subtle();
    let usages = Array::of1(&"verify".into());
    let key =
        JsFuture::from(subtle.import_key_with_object("jwk", &jwk, &parameters, false, &usages)?).await?;
    let key: CryptoKey = key.unchecked_into();
    let signature = Uint8Array::from(question.signature.as_slice());
    let message = Uint8Array::from(question.message.as_bytes());
    let answer = subtle.verify_with_object_and_buffer_source_and_buffer_source(
        &parameters,
        &key,
        &signature,
        &message,
    )?;
    Ok(JsFuture::from(answer).await?.is_truthy())
}
