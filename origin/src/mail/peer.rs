//! A mail server of a test's own, which speaks SMTP (RFC 5321) on a real socket. Tests only.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// What the server does with mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Takes it.
    Take,
    /// Refuses the recipient for good.
    RefuseRecipient,
    /// Refuses the message for now.
    RefuseForNow,
    /// Accepts connections and says nothing.
    Silent,
}

/// A mail that the server took.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The envelope's sender.
    pub(crate) from: String,
    /// The envelope's recipients.
    pub(crate) to: Vec<String>,
    /// Headers and body, with `\n` line ends.
    pub(crate) data: String,
}

impl Received {
    /// The one-time code: the line that is nothing but digits.
    pub(crate) fn code(&self) -> String {
        let mut lines = self.data.lines().map(str::trim);
        let is_code = |line: &&str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
        lines.find(is_code).unwrap_or_else(|| panic!("no code in\n{}", self.data)).to_owned()
    }
}

/// The server. It ends with its last handle.
pub(crate) struct SmtpPeer {
    port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    received: tokio::sync::Mutex<mpsc::UnboundedReceiver<Received>>,
    task: JoinHandle<()>,
}

impl SmtpPeer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = mpsc::unbounded_channel();
        let behaviour = Arc::new(Mutex::new(behaviour));
        let shared = Arc::clone(&behaviour);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&shared), sender.clone()));
            }
        });
        Self { port, behaviour, received: tokio::sync::Mutex::new(received), task }
    }

    /// For `SMTP_URL`.
    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Changes what it does from the next command on.
    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// The next mail it took.
    pub(crate) async fn next(&self) -> Received {
        let next = async { self.received.lock().await.recv().await.expect("the server runs") };
        tokio::time::timeout(std::time::Duration::from_secs(10), next)
            .await
            .expect("a mail comes within 10 s")
    }

    /// How many mails have come and were not looked at.
    pub(crate) async fn unread(&self) -> usize {
        self.received.lock().await.len()
    }
}

impl Drop for SmtpPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    stream: TcpStream,
    behaviour: Arc<Mutex<Behaviour>>,
    sender: mpsc::UnboundedSender<Received>,
) -> Option<()> {
    let now = || *behaviour.lock().unwrap();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    if now() == Behaviour::Silent {
        // Until the client gives up.
        while lines.next_line().await.ok()?.is_some() {}
        return None;
    }
    write.write_all(b"220 peer.test ESMTP\r\n").await.ok()?;
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = lines.next_line().await.ok()? {
        let path = |line: &str| line.split_once('<')?.1.split_once('>').map(|(path, _)| path.to_owned());
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-peer.test\r\n250 8BITMIME\r\n",
            "MAIL" => {
                from = path(&line)?;
                to.clear();
                "250 2.1.0 ok\r\n"
            }
            "RCPT" if now() == Behaviour::RefuseRecipient => "550 5.1.1 no such mailbox\r\n",
            "RCPT" => {
                to.push(path(&line)?);
                "250 2.1.5 ok\r\n"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await.ok()?;
                let mut data = String::new();
                loop {
                    let line = lines.next_line().await.ok()??;
                    if line == "." {
                        break;
                    }
                    data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    data.push('\n');
                }
                if now() == Behaviour::RefuseForNow {
                    "451 4.3.0 try again later\r\n"
                } else {
                    sender.send(Received { from: from.clone(), to: to.clone(), data }).ok()?;
                    "250 2.0.0 taken\r\n"
                }
            }
            "RSET" | "NOOP" => "250 ok\r\n",
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await.ok()?;
                return None;
            }
            _ => "502 5.5.2 not known\r\n",
        };
        write.write_all(reply.as_bytes()).await.ok()?;
    }
    None
}
