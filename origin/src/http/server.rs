//! Listening, and stopping without cutting off what is being answered. It may not decide anything about a request but how long it may take.

use std::{future::Future, io, time::Duration};

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, sync::watch};

use super::{Origin, Refused, router};

/// How long a request may take, its body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// How long requests in flight may go on once the origin stops.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}. Set BIND_ADDRESS and PORT to an address that is free")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The listener failed.
    #[error("the server failed: {0}")]
    Listener(#[from] io::Error),
}

/// Serves until `stop` is ready, then answers what is in flight, and returns.
pub async fn serve(
    origin: Origin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let listen = &origin.configuration.listen;
    let address = std::net::SocketAddr::new(listen.address, listen.port);
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
    // So that the first policy names the key that the first token is signed with. A database that is down now may be up then.
    if let Err(error) = origin.signer.key(&origin).await {
        tracing::warn!(%error, "no signing key yet; it is looked for again with the first token");
    }
    tracing::info!(address = %listener.local_addr()?, issuer = origin.issuer(), "listening");
    serve_on(listener, origin, stop).await
}

pub(super) async fn serve_on(
    listener: TcpListener,
    origin: Origin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let (stopping, mut stopped) = watch::channel(false);
    let signal = async move {
        stop.await;
        tracing::info!("stopping: no new requests; those in flight are answered");
        let _ = stopping.send(true);
    };
    let database = origin.database.clone();
    let out_of_patience = async move {
        // An error means that the signal's future is gone: the server has ended by itself.
        if stopped.wait_for(|stopped| *stopped).await.is_ok() {
            tokio::time::sleep(STOP_LIMIT).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let serving = axum::serve(listener, router(origin)).with_graceful_shutdown(signal);
    tokio::select! {
        outcome = serving => outcome?,
        () = out_of_patience => tracing::warn!("some requests took too long to finish and were cut off"),
    }
    database.close().await;
    Ok(())
}

/// Ends a request that takes too long; what it had not committed is rolled back.
pub(super) async fn limit_time(request: Request, next: Next) -> Response {
    if let Ok(response) = tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        return response;
    }
    tracing::warn!(seconds = REQUEST_LIMIT.as_secs(), "a request took too long");
    Refused::unavailable().into_response()
}
