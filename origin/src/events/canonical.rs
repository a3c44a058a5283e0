//! JSON as bytes that are the same wherever and whenever they are made: members sorted, no spaces, no floating point. What is
//! hashed is these bytes, since jsonb does not keep the ones it was given.

use serde_json::Value;

/// Writes a value canonically. Members are sorted here, whatever order the map keeps.
pub(super) fn bytes(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    write(value, &mut text);
    text.into_bytes()
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_bytes());
            text.push('{');
            for (position, (name, member)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(member, text);
            }
            text.push('}');
        }
        Value::Array(elements) => {
            text.push('[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write(element, text);
            }
            text.push(']');
        }
        // Strings are escaped, and integers written, in one way only.
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_at_every_depth() {
        let value: Value =
            serde_json::from_str(r#"{"b": [{"z": 1, "a": "\u0001\u00e9"}], "a": null, "B": true}"#).unwrap();
        assert_eq!(
            String::from_utf8(bytes(&value)).unwrap(),
            r#"{"B":true,"a":null,"b":[{"a":"\u0001é","z":1}]}"#
        );
        assert_eq!(bytes(&json!({})), b"{}");
    }

    proptest! {
        #[test]
        fn it_is_json_of_the_same_value(pairs in proptest::collection::vec((".*", ".*", any::<i64>()), 0..8)) {
            let members = pairs.into_iter().map(|(name, text, number)| (name, json!([text, number])));
            let value = Value::Object(members.collect());
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes(&value)).unwrap(), value);
        }
    }
}
