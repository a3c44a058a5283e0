//! A service behind Gateward: every request must carry the gateway's assertion, and the answer says who it is from.

mod gateway;
mod key_set;

use std::{env, error::Error, sync::Arc, time::Duration};

use axum::{Extension, Json, Router, middleware};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, Identity, require_gateway},
    key_set::KeySet,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = env::var("ISSUER")?;
    let jwks_uri = env::var("JWKS_URI").unwrap_or_else(|_| format!("{issuer}/.well-known/jwks.json"));
    let cooldown = env::var("JWKS_COOLDOWN_SECONDS").map_or(Ok(10), |text| text.parse())?;
    let keys = KeySet::new(jwks_uri, Duration::from_secs(cooldown));
    let gateway = Arc::new(Gateway::new(issuer, env::var("BASE_URL")?, keys));

    let service =
        Router::new().fallback(who_am_i).layer(middleware::from_fn_with_state(gateway, require_gateway));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", env::var("PORT")?.parse()?)).await?;
    axum::serve(listener, service).await?;
    Ok(())
}

/// A handler: the middleware has put the identity where handlers find it.
async fn who_am_i(Extension(identity): Extension<Identity>) -> Json<Value> {
    Json(json!({ "identity": identity }))
}
