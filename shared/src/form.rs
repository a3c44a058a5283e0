//! `application/x-www-form-urlencoded` parameters, of a query or a body. It may not guess: a repeated parameter is an
//! error, an empty one is absent (RFC 6749 §3.1, §3.2), what does not decode to UTF-8 is refused.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

/// Decoded parameters. Those sent more than once are known by name only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    values: BTreeMap<String, String>,
    repeated: BTreeSet<String>,
}

/// The text is not form-urlencoded UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Parameters {
    /// Reads the text after `?`, or a body.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let mut parameters = Self::default();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (pair.get(..at), pair.get(at.saturating_add(1)..)),
                None => (Some(pair), None),
            };
            let name = decode(name.unwrap_or_default())?;
            let value = decode(value.unwrap_or_default())?;
            if parameters.values.contains_key(&name) || parameters.repeated.contains(&name) {
                parameters.values.remove(&name);
                parameters.repeated.insert(name);
            } else {
                parameters.values.insert(name, value);
            }
        }
        Ok(parameters)
    }

    /// The value of `name`; `None` when absent, empty or repeated.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether `name` was sent more than once.
    pub fn is_repeated(&self, name: &str) -> bool {
        self.repeated.contains(name)
    }

    /// The first of `names` that was sent more than once.
    pub fn first_repeated<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.is_repeated(name))
    }
}

/// One percent- and plus-decoded component.
pub fn decode(text: &[u8]) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = rest.next().and_then(hex_digit).ok_or(Malformed)?;
                let low = rest.next().and_then(hex_digit).ok_or(Malformed)?;
                (high << 4) | low
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| Malformed)
}

/// The value of one hexadecimal digit.
pub(crate) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// Appends `text` to `out` as one component: unreserved characters stay, the rest is percent-encoded.
pub fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            push_percent(out, byte);
        }
    }
}

/// Appends `%XX`, in upper case (RFC 3986 §2.1).
pub(crate) fn push_percent(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        out.extend(DIGITS.get(usize::from(nibble)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_and_tells_empty_and_repeated_apart() {
        let parameters = Parameters::parse(b"a=1+2%2B3&b=&c&d=x&d=y&d=z&%65=%C3%A9").unwrap();
        assert_eq!(parameters.get("a"), Some("1 2+3"));
        assert_eq!(parameters.get("b"), None);
        assert_eq!(parameters.get("c"), None);
        assert_eq!(parameters.get("d"), None);
        assert!(parameters.is_repeated("d") && !parameters.is_repeated("a"));
        assert_eq!(parameters.first_repeated(&["a", "d"]), Some("d"));
        assert_eq!(parameters.get("e"), Some("é"));
    }

    #[test]
    fn refuses_what_does_not_decode() {
        for text in [&b"a=%"[..], b"a=%2", b"a=%zz", b"a=%ff", b"%c3=1"] {
            assert_eq!(Parameters::parse(text), Err(Malformed), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn encoding_round_trips(text in any::<String>()) {
            let mut encoded = String::new();
            encode_into(&mut encoded, &text);
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), text);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Parameters::parse(&bytes);
        }
    }
}
