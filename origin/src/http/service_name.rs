//! `X-Service-Name`: what a service that calls `/v1/…` calls itself, for the audit trail. It proves nothing and opens nothing: who may do
//! what follows from the credential, which stands in the trail beside it.

use axum::{extract::FromRequestParts, http::HeaderMap, http::request::Parts};
use shared::{decide::Refusal, problem::ProblemType};

use super::Refused;

/// The header, in lower case.
const HEADER: &str = "x-service-name";
/// The longest name.
const LONGEST: usize = 64;

/// The name that a caller gave itself, where it gave one: an extractor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceName(Option<String>);

impl ServiceName {
    /// The name, where there is one.
    pub fn into_inner(self) -> Option<String> {
        self.0
    }

    fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return if headers.contains_key(HEADER) { Err(malformed()) } else { Ok(Self(None)) };
        };
        let name = value.to_str().map_err(|_| malformed())?;
        let fits = (1..=LONGEST).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if fits { Ok(Self(Some(name.to_owned()))) } else { Err(malformed()) }
    }
}

impl<S: Sync> FromRequestParts<S> for ServiceName {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        Self::of(&parts.headers)
    }
}

fn malformed() -> Refused {
    let detail =
        "X-Service-Name is sent once, and has 1 to 64 letters, digits, dots, underscores or hyphens.";
    Refused::from(Refusal::problem(ProblemType::RequestMalformed, detail)).with("field", HEADER.into())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Result<Option<String>, Refused> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_str(value).unwrap());
        }
        ServiceName::of(&headers).map(ServiceName::into_inner)
    }

    #[test]
    fn a_name_is_short_plain_and_said_once() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Billing-2.worker_a"]), Ok(Some("Billing-2.worker_a".to_owned())));
        let long = "a".repeat(65);
        for refused in [&[""][..], &["a b"], &["a/b"], &["<b>"], &["é"], &[&long], &["a", "a"], &["a,b"]] {
            assert_eq!(of(refused), Err(malformed()), "{refused:?}");
        }
    }
}
