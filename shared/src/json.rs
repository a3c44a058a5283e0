//! Strict JSON: what `serde_json` accepts, less duplicate members and deep nesting (RFC 8725 §2.4; RFC 7515 §4 demands unique
//! header names). It may not interpret values: it only says whether a document is unambiguous.

use alloc::{collections::BTreeSet, string::String};
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep a document from outside may nest.
pub const MAX_DEPTH: u8 = 8;

/// The names of the members of a JSON object; `None` when `bytes` is not one unambiguous JSON object.
pub fn object_members(bytes: &[u8]) -> Option<BTreeSet<String>> {
    let mut members = BTreeSet::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let is_object =
        Strict { depth: MAX_DEPTH, members: Some(&mut members) }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    is_object.then_some(members)
}

/// Walks one value; yields whether it was an object.
struct Strict<'a> {
    depth: u8,
    members: Option<&'a mut BTreeSet<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without duplicate members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| A::Error::custom("nested too deep"))?;
        let mut own = BTreeSet::new();
        let seen = self.members.unwrap_or(&mut own);
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name) {
                return Err(A::Error::custom("duplicate member"));
            }
            map.next_value_seed(Strict { depth, members: None })?;
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<bool, A::Error> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| A::Error::custom("nested too deep"))?;
        while sequence.next_element_seed(Strict { depth, members: None })?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_members_and_refuses_ambiguity() {
        let members = object_members(br#"{"alg":"EdDSA","x":{"a":1},"y":[{"a":2},null,1.5,true]}"#).unwrap();
        assert!(
            members.contains("alg")
                && members.contains("x")
                && members.contains("y")
                && !members.contains("a")
        );
        for document in [
            &br#"{"a":1,"a":1}"#[..],
            br#"{"a":{"b":1,"\u0062":2}}"#,
            br#"{"y":[{"a":2,"a":3}]}"#,
            br#"{"a":1} {"#,
            b"[1]",
            br#""text""#,
            b"",
            br#"{"a":[[[[[[[[[1]]]]]]]]]}"#,
            b"{\"a\":\"\xff\"}",
        ] {
            assert_eq!(object_members(document), None, "{document:?}");
        }
    }
}
