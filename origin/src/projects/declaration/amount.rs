//! Sizes and durations as people write them, and in one form. It may not know what they are for.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// A number, or a number with its unit as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Amount {
    /// In the unit that the field says.
    Number(u64),
    /// Such as `10MB` or `30s`.
    Text(String),
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a text such as \"10MB\" or \"30s\"")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount::Number(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                u64::try_from(number)
                    .map(Amount::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(AmountVisitor)
    }
}

const SIZES: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Amount {
    /// As bytes: `1000`, `10MB`, `1MiB`.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.in_units(&SIZES, 1)
    }

    /// As milliseconds: `30` (seconds), `30s`, `500ms`, `5m`, `12h`, `30d`.
    pub(super) fn millis(&self) -> Option<u64> {
        self.in_units(&DURATIONS, 1_000)
    }

    fn in_units(&self, units: &[(&str, u64)], without: u64) -> Option<u64> {
        match self {
            Self::Number(number) => number.checked_mul(without),
            Self::Text(text) => {
                let digits = text.trim_end_matches(|last: char| !last.is_ascii_digit());
                let unit = text.strip_prefix(digits)?;
                let factor = match unit {
                    "" => without,
                    unit => units.iter().find(|(name, _)| *name == unit)?.1,
                };
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                digits.parse::<u64>().ok()?.checked_mul(factor)
            }
        }
    }

    /// A duration in its one form.
    pub(super) fn of_millis(millis: u64) -> Self {
        Self::Text(if millis.is_multiple_of(1_000) {
            format!("{}s", millis / 1_000)
        } else {
            format!("{millis}ms")
        })
    }

    /// A duration of whole seconds in its one form.
    pub(super) fn of_seconds(seconds: u64) -> Self {
        Self::Text(format!("{seconds}s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Amount {
        Amount::Text(text.to_owned())
    }

    #[test]
    fn units_are_read_and_nothing_else() {
        for (written, bytes) in
            [("10MB", 10_000_000), ("1MiB", 1_048_576), ("64kB", 64_000), ("0", 0), ("512B", 512)]
        {
            assert_eq!(text(written).bytes(), Some(bytes), "{written}");
        }
        for (written, millis) in
            [("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("7", 7_000), ("1d", 86_400_000)]
        {
            assert_eq!(text(written).millis(), Some(millis), "{written}");
        }
        for written in ["", "MB", "10 MB", "-1MB", "1.5MB", "10mb", "99999999999999999999B", "1d2h", "s"] {
            assert_eq!((text(written).bytes(), text(written).millis()), (None, None), "{written}");
        }
        assert_eq!((Amount::Number(5).bytes(), Amount::Number(5).millis()), (Some(5), Some(5_000)));
    }

    #[test]
    fn the_one_form_reads_back() {
        for millis in [1, 500, 1_000, 90_000] {
            assert_eq!(Amount::of_millis(millis).millis(), Some(millis));
        }
        assert_eq!(Amount::of_millis(30_000), text("30s"));
    }
}
