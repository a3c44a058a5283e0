//! An address that mail can be sent to, in the one spelling that names an account. It may not guess: what has several `@`, quotes,
//! comments or characters outside ASCII is refused (CVE-2026-40574 and its like made two accounts one).

use std::fmt;

use lettre::Address;

/// An address, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress(String);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailFault {
    /// Nothing was typed.
    #[error("Type your e-mail address.")]
    Empty,
    /// It is too long (RFC 5321, 4.5.3.1).
    #[error("This e-mail address is longer than 254 characters.")]
    TooLong,
    /// It is not one address of the plain form.
    #[error("This is not an e-mail address. Write it like name@example.com.")]
    Malformed,
}

impl EmailAddress {
    /// Reads what a person typed. White space around it and upper case do not count.
    pub fn parse(text: &str) -> Result<Self, EmailFault> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmailFault::Empty);
        }
        if text.len() > 254 {
            return Err(EmailFault::TooLong);
        }
        let (local, domain) = text.split_once('@').ok_or(EmailFault::Malformed)?;
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
        let local_fits = (1..=64).contains(&local.len())
            && local.split('.').all(|part| !part.is_empty() && part.bytes().all(is_atom));
        let domain_fits = domain.contains('.')
            && domain.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            });
        if local_fits && domain_fits {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(EmailFault::Malformed)
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as the mailer takes it.
    pub fn to_mail(&self) -> Option<Address> {
        self.0.parse().ok()
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_spelling_names_one_account() {
        assert_eq!(
            EmailAddress::parse(" Ann.Lee+x@Example.TEST \n").unwrap().as_str(),
            "ann.lee+x@example.test"
        );
        assert_eq!(EmailAddress::parse("  "), Err(EmailFault::Empty));
        assert_eq!(EmailAddress::parse(&format!("a@{}.test", "b".repeat(254))), Err(EmailFault::TooLong));
        for text in [
            "ann",
            "@example.test",
            "ann@",
            "ann@localhost",
            "ann@@example.test",
            "ann@evil.test@example.test",
            "\"ann@evil.test\"@example.test",
            "ann(comment)@example.test",
            "Ann <ann@example.test>",
            "ann@example..test",
            ".ann@example.test",
            "ann@-example.test",
            "ann@example.test\r\nBcc: eve@evil.test",
            "ann@ex\u{e4}mple.test",
            "\u{212a}ate@example.test",
            "ann,eve@example.test",
            "ann@[192.0.2.1]",
            "ann @example.test",
        ] {
            assert_eq!(EmailAddress::parse(text), Err(EmailFault::Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_can_be_mailed_and_read_again(text in "[a-zA-Z0-9.+@_\\-\"]{0,30}\\.test") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert!(address.to_mail().is_some());
                prop_assert_eq!(EmailAddress::parse(address.as_str()), Ok(address));
            }
        }
    }
}
