//! Mail over SMTP (RFC 5321): one bounded conversation a message, and whether the server took it. It may not be called inside a
//! transaction, and never logs what a mail says.

use std::time::Duration;

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header},
};

use crate::clock::{Clock, Randomness};
use crate::configuration::MailConfiguration;

/// How long the whole conversation may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A text to one person.
#[derive(Clone)]
pub struct Mail {
    /// Where it goes.
    pub to: Address,
    /// What it is about; no secret, since it shows on locked screens.
    pub subject: String,
    /// What it says.
    pub text: String,
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// `SMTP_URL` names no server that can be spoken to.
    #[error("SMTP_URL cannot be used: {0}")]
    Configuration(String),
    /// The mail cannot be put together.
    #[error("the mail cannot be written: {0}")]
    Unwritable(#[source] lettre::error::Error),
    /// The server refuses this mail for good (RFC 5321, 4.2.1: 5yz), most often because of its address.
    #[error("the mail server refuses the mail: {0}")]
    Refused(Fault),
    /// The server cannot be reached or cannot take it now; later it may.
    #[error("the mail server did not take the mail: {0}")]
    Unavailable(Fault),
    /// The conversation did not end in time.
    #[error("the mail server did not finish the conversation in time")]
    TimedOut,
}

/// What went wrong in the conversation, fit for the log: a server's own words may repeat the address, so its code stands for them.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(String);

impl Fault {
    fn of(error: &lettre::transport::smtp::Error) -> Self {
        Self(match error.status() {
            Some(code) => format!("it answered {code}"),
            None => error.to_string(),
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sends mail. Cheap to clone. One connection a mail: nothing of one is left for the next.
#[derive(Clone)]
pub struct Mailer {
    // The URL was looked at when the configuration was read; what is wrong with it all the same is said when mail is sent.
    transport: Result<AsyncSmtpTransport<Tokio1Executor>, String>,
    timeout: Duration,
    from: Mailbox,
    clock: Clock,
    randomness: Randomness,
}

impl Mailer {
    /// A mailer for the configured server. Does not connect yet.
    pub fn new(configuration: &MailConfiguration, clock: Clock, randomness: Randomness) -> Self {
        Self::bounded(configuration, TIMEOUT, clock, randomness)
    }

    fn bounded(
        configuration: &MailConfiguration,
        timeout: Duration,
        clock: Clock,
        randomness: Randomness,
    ) -> Self {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&configuration.smtp_url)
            .map(|builder| builder.timeout(Some(timeout)).build())
            .map_err(|error| error.to_string());
        Self { transport, timeout, from: configuration.from.clone(), clock, randomness }
    }

    /// Sends a mail; returns when the server has taken it.
    pub async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let transport = self.transport.as_ref().map_err(|error| MailError::Configuration(error.clone()))?;
        let id = format!("<{}@{}>", self.randomness.uuid(&self.clock), self.from.email.domain());
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail.to))
            .subject(mail.subject)
            .message_id(Some(id))
            .date(self.clock.now().into())
            // RFC 3834, 5: no vacation message comes back.
            .raw_header(header::HeaderValue::new(
                header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(header::ContentType::TEXT_PLAIN)
            .body(mail.text)
            .map_err(MailError::Unwritable)?;
        match tokio::time::timeout(self.timeout, transport.send(message)).await {
            Err(_) => Err(MailError::TimedOut),
            Ok(Err(error)) if error.is_permanent() => Err(MailError::Refused(Fault::of(&error))),
            Ok(Err(error)) => Err(MailError::Unavailable(Fault::of(&error))),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod peer;
#[cfg(test)]
mod tests;
