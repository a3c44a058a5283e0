//! One request and its answer over a connection that is open already (HTTP/1.1). A connection has no task of its own: it is driven
//! while somebody waits for an answer, and ends with its owner.

use std::pin::Pin;

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long the head of an answer may be, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub is_whole: bool,
}

/// Bytes to and from a peer, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An open connection, for one request at a time.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
}

impl Connection {
    /// Takes a stream over.
    pub(super) async fn over(stream: Box<dyn Stream>) -> Result<Self, hyper::Error> {
        let (sender, driver) =
            http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Box::pin(driver) })
    }

    /// Sends a request and reads its answer, up to `most` bytes of its body. Gives the connection back where it can be used again.
    pub(super) async fn exchange(
        mut self,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<(Answer, Option<Self>), hyper::Error> {
        let (answer, is_open) = self.converse(request, most).await?;
        let again = is_open && answer.is_whole;
        Ok((answer, again.then_some(self)))
    }

    /// The answer, and whether the connection is still open.
    async fn converse(
        &mut self,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<(Answer, bool), hyper::Error> {
        let Self { sender, driver } = self;
        let conversation = async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            let (body, is_whole) = read(body, most).await?;
            let answer = Answer { status: head.status, headers: head.headers, body, is_whole };
            Ok::<_, hyper::Error>(answer)
        };
        tokio::pin!(conversation);
        tokio::select! {
            biased;
            answer = &mut conversation => Ok((answer?, true)),
            ended = driver.as_mut() => {
                // The peer has closed after its answer, which is read from here.
                ended?;
                Ok((conversation.await?, false))
            }
        }
    }
}

/// The body up to `most` bytes, and whether that is all of it.
async fn read(mut body: Incoming, most: usize) -> Result<(Vec<u8>, bool), hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = most.saturating_sub(bytes.len());
        bytes.extend(data.iter().take(room));
        if data.len() > room {
            return Ok((bytes, false));
        }
    }
    Ok((bytes, true))
}
