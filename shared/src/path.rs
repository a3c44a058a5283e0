//! One canonical path: what was matched is what is forwarded. It may not repair a request: a path that two parsers could
//! read in two ways is refused with 400, never normalised.

use alloc::{string::String, vec::Vec};

use crate::form::{hex_digit, push_percent};

/// A path that has one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    /// Decoded segments; a trailing slash is an empty last one.
    segments: Vec<String>,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It does not begin with `/`.
    NotAbsolute,
    /// It has an empty segment (`//`).
    EmptySegment,
    /// It has a segment `.` or `..`, plain or encoded.
    DotSegment,
    /// It has a character that servers read differently: `\`, `;`, a control character, or an encoded `/`, `\`, `;`, `?`, `#`, `%` + two digits.
    AmbiguousCharacter,
    /// A percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
    Undecodable,
}

impl PathFault {
    /// What the caller did, in a sentence.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NotAbsolute => "The path does not begin with \"/\", or the Host header is not a host.",
            Self::EmptySegment => "The path has an empty segment (\"//\").",
            Self::DotSegment => "The path has a \".\" or \"..\" segment.",
            Self::AmbiguousCharacter => {
                "The path has a character that servers read differently: a backslash, \";\", a control character, or an encoded \"/\", \"\\\", \";\", \"?\", \"#\" or \"%\"."
            }
            Self::Undecodable => {
                "The path has a percent sign without two hexadecimal digits, or does not decode to UTF-8."
            }
        }
    }
}

impl CanonicalPath {
    /// Reads a path as received, without its query.
    pub fn parse(raw: &str) -> Result<Self, PathFault> {
        let rest = raw.strip_prefix('/').ok_or(PathFault::NotAbsolute)?;
        let mut segments = Vec::with_capacity(8);
        let mut pieces = rest.split('/').peekable();
        while let Some(piece) = pieces.next() {
            if piece.is_empty() && pieces.peek().is_some() {
                return Err(PathFault::EmptySegment);
            }
            let segment = decode_segment(piece)?;
            if matches!(segment.as_str(), "." | "..") {
                return Err(PathFault::DotSegment);
            }
            segments.push(segment);
        }
        Ok(Self { segments })
    }

    /// The decoded segment at `index`, counted from 0.
    pub fn segment(&self, index: usize) -> Option<&str> {
        self.segments.get(index).map(String::as_str)
    }

    /// The path without its first `count` segments, decoded, with its leading slash: what rules match.
    pub fn matched_after(&self, count: usize) -> String {
        self.render(count, String::push_str)
    }

    /// The path without its first `count` segments, in its one encoding: what is forwarded.
    pub fn forwarded_after(&self, count: usize) -> String {
        self.render(count, |out, segment| {
            for byte in segment.bytes() {
                if is_plain(byte) {
                    out.push(char::from(byte));
                } else {
                    push_percent(out, byte);
                }
            }
        })
    }

    fn render(&self, count: usize, append: impl Fn(&mut String, &str)) -> String {
        let length = self
            .segments
            .iter()
            .skip(count)
            .fold(1, |sum, segment| segment.len().saturating_add(1).saturating_add(sum));
        let mut out = String::with_capacity(length);
        for segment in self.segments.iter().skip(count) {
            out.push('/');
            append(&mut out, segment);
        }
        if out.is_empty() {
            out.push('/');
        }
        out
    }
}

/// Path and query as received, out of the URL that a platform put together of a scheme, the `Host` header and the request's
/// target. `None` when the target is not a path, or when `host` could hide where it begins (`Host: a/b`).
pub fn target_of_url<'a>(url: &'a str, host: &str) -> Option<&'a str> {
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
        });
    let (_, after_scheme) = url.split_once("://").filter(|_| is_host)?;
    after_scheme.get(after_scheme.find('/')?..)
}

/// `pchar` of RFC 3986 §3.3 that stays as it is, less `;`.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

fn decode_segment(piece: &str) -> Result<String, PathFault> {
    let mut bytes = Vec::with_capacity(piece.len());
    let mut rest = piece.bytes();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' {
            let high = rest.next().and_then(hex_digit).ok_or(PathFault::Undecodable)?;
            let low = rest.next().and_then(hex_digit).ok_or(PathFault::Undecodable)?;
            (high << 4) | low
        } else {
            byte
        };
        let ambiguous = decoded < 0x20 || matches!(decoded, b'/' | b'\\' | b';' | b'?' | b'#' | 0x7f);
        if ambiguous {
            return Err(PathFault::AmbiguousCharacter);
        }
        bytes.push(decoded);
    }
    let segment = String::from_utf8(bytes).map_err(|_| PathFault::Undecodable)?;
    // A segment that would decode a second time hides another path from whoever decodes twice.
    let decodes_again = segment
        .as_bytes()
        .windows(3)
        .any(|window| matches!(window, [b'%', high, low] if hex_digit(*high).is_some() && hex_digit(*low).is_some()));
    if decodes_again { Err(PathFault::AmbiguousCharacter) } else { Ok(segment) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_reading_for_match_and_forward() {
        let path = CanonicalPath::parse("/notes/api/%41dmin/caf%c3%a9/a%20b/100%25/").unwrap();
        assert_eq!(path.segment(0), Some("notes"));
        assert_eq!(path.matched_after(2), "/Admin/café/a b/100%/");
        assert_eq!(path.forwarded_after(2), "/Admin/caf%C3%A9/a%20b/100%25/");
        assert_eq!(CanonicalPath::parse("/notes/api").unwrap().forwarded_after(2), "/");
        assert_eq!(CanonicalPath::parse("/").unwrap().forwarded_after(0), "/");
    }

    #[test]
    fn attack_1_a_path_seen_two_ways_is_refused() {
        use PathFault::*;
        for (raw, fault) in [
            ("notes", NotAbsolute),
            ("", NotAbsolute),
            ("/a//b", EmptySegment),
            ("//a", EmptySegment),
            ("/a//", EmptySegment),
            ("/a/../b", DotSegment),
            ("/a/./b", DotSegment),
            ("/a/..", DotSegment),
            ("/a/%2e%2e/b", DotSegment),
            ("/a/%2E./b", DotSegment),
            ("/a%2fb", AmbiguousCharacter),
            ("/a%2Fb", AmbiguousCharacter),
            ("/a%5cb", AmbiguousCharacter),
            ("/a\\b", AmbiguousCharacter),
            ("/a;b=1", AmbiguousCharacter),
            ("/a%3bb", AmbiguousCharacter),
            ("/a%00", AmbiguousCharacter),
            ("/a%0d%0ab", AmbiguousCharacter),
            ("/a%23b", AmbiguousCharacter),
            ("/a%3fb", AmbiguousCharacter),
            ("/a%252fb", AmbiguousCharacter),
            ("/a%252e%252e/b", AmbiguousCharacter),
            ("/a%7f", AmbiguousCharacter),
            ("/a%", Undecodable),
            ("/a%2", Undecodable),
            ("/a%zz", Undecodable),
            ("/a%c3", Undecodable),
            ("/a%c0%af", Undecodable),
        ] {
            assert_eq!(CanonicalPath::parse(raw), Err(fault), "{raw:?}");
        }
    }

    #[test]
    fn a_host_cannot_hide_where_the_target_begins() {
        for (url, host, target) in [
            ("http://127.0.0.1:8787/a/../b?x=/y", "127.0.0.1:8787", Some("/a/../b?x=/y")),
            ("https://[::1]//", "[::1]", Some("//")),
            ("http://a/b/p/q", "a/b", None),
            ("http://a?b/p/q", "a?b", None),
            ("http://u@a/p", "u@a", None),
            ("http://a, b/p", "a, b", None),
            ("http://127.0.0.1*", "127.0.0.1", None),
            ("/p", "a", None),
            ("http:///p", "", None),
        ] {
            assert_eq!(target_of_url(url, host), target, "{url}");
        }
    }

    proptest! {
        /// What is forwarded reads back as what was matched, however the caller spelt it.
        #[test]
        fn forwarding_is_a_fixed_point(raw in "/[a-zA-Z0-9%/._~é ;:@-]{0,40}") {
            if let Ok(path) = CanonicalPath::parse(&raw) {
                let forwarded = path.forwarded_after(0);
                let again = CanonicalPath::parse(&forwarded).unwrap();
                prop_assert_eq!(again.matched_after(0), path.matched_after(0));
                prop_assert_eq!(again.forwarded_after(0), forwarded);
            }
        }

        #[test]
        fn never_panics(raw in any::<String>()) {
            let _ = CanonicalPath::parse(&raw);
        }
    }
}
