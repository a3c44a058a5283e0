//! The control endpoint of `up --control`, for tests that stop, kill and start parts while the rest runs. Loopback only,
//! under a path nobody can guess, so that a page in a browser cannot reach it. Decides nothing: the supervisor obeys.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

use super::supervisor::{Event, Order};
use crate::entropy;

/// Longer than any part may take to start or stop.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);
/// A request line longer than this is nobody's.
const LINE_LIMIT: u64 = 1_024;

/// Serves the endpoint in a thread of its own; the URL it returns goes into `up.json`.
pub(crate) fn serve(port: u16, events: Sender<Event>) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot open the control endpoint")?;
    let address = listener.local_addr().context("the control endpoint has no address")?;
    let secret = entropy::base64url32()?;
    let url = format!("http://{address}/{secret}");
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let (events, secret) = (events.clone(), secret.clone());
            // A request that fails is its sender's to notice.
            let _ = std::thread::Builder::new().spawn(move || answer(&stream, &secret, &events));
        }
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(serve).context("cannot start a thread")?;
    Ok(url)
}

fn answer(stream: &TcpStream, secret: &str, events: &Sender<Event>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(std::io::Read::take(stream, LINE_LIMIT * 16));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    // The headers are read, or closing would reset the connection before the answer arrives.
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = match parse(&request, secret) {
        None => ("404 Not Found", "POST /stop/NAME, /kill/NAME, /start/NAME or GET /status\n".to_owned()),
        Some(order) => {
            let (reply, outcome) = channel();
            let sent = events.send(Event::Order { order, reply });
            match sent.ok().and_then(|()| outcome.recv_timeout(ANSWER_WITHIN).ok()) {
                Some(Ok(text)) => ("200 OK", text + "\n"),
                Some(Err(reason)) => ("409 Conflict", reason + "\n"),
                None => ("503 Service Unavailable", "no answer from the supervisor\n".to_owned()),
            }
        }
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads `POST /SECRET/stop/origin HTTP/1.1`.
fn parse(request: &str, secret: &str) -> Option<Order> {
    let mut words = request.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    let order = path.strip_prefix('/')?.strip_prefix(secret)?.strip_prefix('/')?;
    match (method, order.split_once('/')) {
        ("GET", None) if order == "status" => Some(Order::Status),
        ("POST", Some(("start", name))) => Some(Order::Start(name.to_owned())),
        ("POST", Some(("stop", name))) => Some(Order::Stop(name.to_owned())),
        ("POST", Some(("kill", name))) => Some(Order::Kill(name.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_need_the_secret_and_the_right_method() {
        assert_eq!(
            parse("POST /s3cret/stop/origin HTTP/1.1", "s3cret"),
            Some(Order::Stop("origin".to_owned()))
        );
        assert_eq!(parse("GET /s3cret/status HTTP/1.1", "s3cret"), Some(Order::Status));
        assert_eq!(parse("GET /s3cret/stop/origin HTTP/1.1", "s3cret"), None);
        assert_eq!(parse("POST /guess/stop/origin HTTP/1.1", "s3cret"), None);
        assert_eq!(parse("POST /s3cretstop/origin HTTP/1.1", "s3cret"), None);
    }
}
