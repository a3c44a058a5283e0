//! The body of a request to an OAuth endpoint. It may not interpret parameters.

use axum::http::{HeaderMap, header};
use shared::{
    decide::{MAX_FORM_BYTES, Refusal},
    form::Parameters,
    oauth_error::OAuthError,
};

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    /// `Content-Type` says something else.
    #[error("Content-Type must be application/x-www-form-urlencoded.")]
    NotAForm,
    /// Larger than [`MAX_FORM_BYTES`].
    #[error("The form is larger than 16384 bytes.")]
    TooLarge,
    /// It does not decode to UTF-8.
    #[error("The body is not form-urlencoded UTF-8.")]
    Malformed,
    /// A parameter came twice (RFC 6749 §3.2).
    #[error("A parameter was sent more than once.")]
    Repeated,
}

impl FormError {
    /// In OAuth's words.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::body_too_large(MAX_FORM_BYTES),
            Self::NotAForm => Refusal::oauth(
                OAuthError::InvalidRequest,
                "Content-Type must be application/x-www-form-urlencoded.",
            ),
            Self::Malformed => {
                Refusal::oauth(OAuthError::InvalidRequest, "The body is not form-urlencoded UTF-8.")
            }
            Self::Repeated => {
                Refusal::oauth(OAuthError::InvalidRequest, "A parameter was sent more than once.")
            }
        }
    }
}

/// The parameters of a body.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Parameters, FormError> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(FormError::NotAForm);
    }
    if body.len() > MAX_FORM_BYTES {
        return Err(FormError::TooLarge);
    }
    Parameters::parse(body).map_err(|_| FormError::Malformed)
}

/// The parameters of a body none of whose `names` came twice.
pub(super) fn read_once(headers: &HeaderMap, body: &[u8], names: &[&str]) -> Result<Parameters, FormError> {
    let form = read(headers, body)?;
    if form.first_repeated(names).is_some() { Err(FormError::Repeated) } else { Ok(form) }
}
