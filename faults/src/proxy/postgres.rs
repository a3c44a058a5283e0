//! A proxy before the sink's Postgres that understands just enough of its protocol (version 3) to see a COMMIT go by: it can let the
//! commit happen and keep the answer to itself, or cut the message in two. Everything else passes unchanged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::Liar;
use crate::plan::Lie;

/// Longer than any forwarder waits.
const HANG: Duration = Duration::from_secs(3);
/// The code of a request for TLS in place of a protocol version.
const SSL_REQUEST: u32 = 80_877_103;

/// Serves until it is dropped with the runtime.
pub(crate) async fn serve(port: u16, to: u16, liar: Liar) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.context("the proxy's port is taken")?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let liar = liar.clone();
            tokio::spawn(async move {
                // Whoever is behind may be down: then this connection ends, as it would without a proxy.
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                tokio::select! {
                    _ = carry(client, server, &liar) => {}
                    () = liar.cut() => {}
                }
            });
        }
    });
    Ok(())
}

/// What the two directions of a connection tell each other.
#[derive(Default)]
struct Gag {
    /// The server's words are not passed on any more.
    is_on: AtomicBool,
    /// It has said something since.
    spoke: Notify,
}

async fn carry(client: TcpStream, server: TcpStream, liar: &Liar) -> Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let gag = Arc::new(Gag::default());
    tokio::select! {
        outcome = forth(from_client, to_server, liar, &gag) => outcome,
        outcome = back(from_server, to_client, &gag) => outcome,
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gag: &Gag) -> Result<()> {
    let mut buffer = vec![0_u8; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if gag.is_on.load(Ordering::SeqCst) {
            gag.spoke.notify_one();
        } else if let Some(read) = buffer.get(..length) {
            to.write_all(read).await?;
        }
    }
}

async fn forth(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, liar: &Liar, gag: &Gag) -> Result<()> {
    // Before the first typed message: a request for TLS (answered with one byte), then the start-up message.
    loop {
        let length = from.read_u32().await?;
        let code = from.read_u32().await?;
        let mut rest = vec![0_u8; usize::try_from(length)?.saturating_sub(8)];
        from.read_exact(&mut rest).await?;
        to.write_u32(length).await?;
        to.write_u32(code).await?;
        to.write_all(&rest).await?;
        if code != SSL_REQUEST {
            break;
        }
    }
    loop {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        let mut body = vec![0_u8; usize::try_from(length)?.saturating_sub(4)];
        from.read_exact(&mut body).await?;
        let mut message = Vec::with_capacity(body.len() + 5);
        message.push(kind);
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(&body);
        let lie =
            if kind == b'Q' && body.windows(6).any(|word| word == b"COMMIT") { liar.next() } else { None };
        match lie {
            None => to.write_all(&message).await?,
            Some(Lie::AppliesLate(milliseconds)) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                to.write_all(&message).await?;
            }
            Some(Lie::CutsInTheMiddle) => {
                let half = message.len() / 2;
                to.write_all(message.get(..half).unwrap_or_default()).await?;
                to.flush().await?;
                return Ok(());
            }
            Some(lie @ (Lie::AppliesThenCuts | Lie::AppliesThenHangs)) => {
                gag.is_on.store(true, Ordering::SeqCst);
                to.write_all(&message).await?;
                gag.spoke.notified().await;
                if lie == Lie::AppliesThenHangs {
                    tokio::time::sleep(HANG).await;
                }
                return Ok(());
            }
            Some(_) => return Ok(()),
        }
    }
}
