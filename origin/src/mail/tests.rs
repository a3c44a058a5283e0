use super::peer::{Behaviour, SmtpPeer};
use super::*;
use crate::configuration::{ServeConfiguration, Source};

fn mailer(url: &str) -> Mailer {
    bounded_mailer(url, TIMEOUT)
}

fn bounded_mailer(url: &str, timeout: Duration) -> Mailer {
    let key = shared::base64url::encode(&[7; 32]);
    let edge = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    let edges = format!("edge-1={}", shared::base64url::encode(edge.as_bytes()));
    let source = Source::of([
        ("ISSUER", "https://auth.test"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1/none"),
        ("POLICY_SIGNING_KEY", &key),
        ("EDGE_PUBLIC_KEYS", &edges),
        ("CODE_MAC_KEY", &key),
        ("KEY_ENCRYPTION_KEY", &key),
        ("WEBHOOK_SECRET", "the-secret-of-the-webhooks-in-tests"),
        ("SMTP_URL", url),
        ("MAIL_FROM", "Gateward <sign-in@example.test>"),
    ]);
    let configuration = ServeConfiguration::read(&source).unwrap_or_else(|faults| panic!("{faults}"));
    let clock = Clock::fixed(time::macros::datetime!(2026-11-21 10:00 UTC));
    Mailer::bounded(&configuration.mail, timeout, clock, Randomness::System)
}

fn mail() -> Mail {
    Mail {
        to: "ann@example.test".parse().unwrap(),
        subject: "Your sign-in code".to_owned(),
        text: "One line.\n.A line that begins with a dot.\n".to_owned(),
    }
}

#[tokio::test]
async fn a_mail_arrives_whole() {
    let peer = SmtpPeer::start(Behaviour::Take).await;
    let mailer = mailer(&peer.url());
    mailer.send(mail()).await.unwrap();
    let received = peer.next().await;
    assert_eq!(
        (received.from.as_str(), received.to),
        ("sign-in@example.test", vec!["ann@example.test".to_owned()])
    );
    for part in [
        "From: Gateward <sign-in@example.test>\n",
        "To: ann@example.test\n",
        "Subject: Your sign-in code\n",
        "Date: Sat, 21 Nov 2026 10:00:00 +0000\n",
        "Auto-Submitted: auto-generated\n",
        "\n\nOne line.\n.A line that begins with a dot.\n",
    ] {
        assert!(received.data.contains(part), "{part:?} in {}", received.data);
    }
    mailer.send(mail()).await.unwrap();
    peer.next().await;
}

#[tokio::test]
async fn a_refusal_says_whether_it_is_for_good() {
    let peer = SmtpPeer::start(Behaviour::RefuseRecipient).await;
    let mailer = mailer(&peer.url());
    let refused = mailer.send(mail()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the mail server refuses the mail: it answered 550",
        "its words stay out of the log"
    );
    assert!(matches!(refused, MailError::Refused(_)));
    peer.set(Behaviour::RefuseForNow);
    assert!(matches!(mailer.send(mail()).await, Err(MailError::Unavailable(_))));
    peer.set(Behaviour::Take);
    mailer.send(mail()).await.unwrap();
    assert_eq!(peer.next().await.to.len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_server() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outcome = mailer(&format!("smtp://127.0.0.1:{port}")).send(mail()).await;
    assert!(matches!(outcome, Err(MailError::Unavailable(_))));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let peer = SmtpPeer::start(Behaviour::Silent).await;
    let outcome = bounded_mailer(&peer.url(), Duration::from_millis(50)).send(mail()).await;
    assert!(matches!(outcome, Err(MailError::TimedOut | MailError::Unavailable(_))));
}
