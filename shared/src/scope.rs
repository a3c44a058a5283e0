//! Scope sets (RFC 6749 §3.3). It may not know what a scope means: that is the project's affair.

use alloc::{collections::BTreeSet, string::String};
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of scope tokens; its text is sorted and separated by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Reads a space-delimited list; `None` when a token has a character outside `%x21 / %x23-5B / %x5D-7E`.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        text.split(' ')
            .filter(|token| !token.is_empty())
            .map(|token| token.bytes().all(allowed).then(|| token.into()))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Whether every scope of `other` is in this set.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    /// The scopes of `other` that this set lacks.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> Self {
        Self(other.0.difference(&self.0).cloned().collect())
    }

    /// The scopes that both sets have.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<S> for Scopes {
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            formatter.write_str(scope)?;
        }
        Ok(())
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("a scope has a character that RFC 6749 §3.3 does not allow")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn parses_compares_and_prints() {
        let granted = Scopes::parse("notes:write  notes:read").unwrap();
        assert_eq!(granted.to_string(), "notes:read notes:write");
        assert!(granted.contains_all(&Scopes::parse("notes:read").unwrap()));
        assert!(granted.contains_all(&Scopes::default()));
        let asked = Scopes::parse("notes:read admin").unwrap();
        assert!(!granted.contains_all(&asked));
        assert_eq!(granted.missing_from(&asked).to_string(), "admin");
        assert_eq!(granted.intersection(&asked).to_string(), "notes:read");
        assert_eq!(Scopes::parse("a\"b"), None);
        assert_eq!(Scopes::parse("a\tb"), None);
    }
}
