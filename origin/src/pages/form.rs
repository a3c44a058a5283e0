//! A form of ours, as the only way for a handler to read a POST: what another site sent never reaches one.

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::header,
};
use shared::form::Parameters;

use super::{PageFault, require_own_form};
use crate::http::Origin;

/// The largest form that is read, in bytes.
const MAX_FORM_BYTES: usize = 16 * 1024;

/// The fields of a form that one of our own pages sent.
#[derive(Debug)]
pub struct OwnForm(Parameters);

impl OwnForm {
    /// A field; `None` when absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    /// A field that the form cannot do without.
    pub fn require(&self, name: &'static str) -> Result<&str, PageFault> {
        self.get(name).ok_or(PageFault::MalformedForm(name))
    }

    /// A field that is an id when it is there.
    pub fn id(&self, name: &'static str) -> Result<Option<uuid::Uuid>, PageFault> {
        self.get(name).map(|text| text.parse().map_err(|_| PageFault::MalformedForm(name))).transpose()
    }
}

impl FromRequest<Origin> for OwnForm {
    type Rejection = PageFault;

    async fn from_request(request: Request, origin: &Origin) -> Result<Self, PageFault> {
        let (parts, body) = request.into_parts();
        require_own_form(&parts.headers, origin.issuer())?;
        let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(PageFault::MalformedForm("content-type"));
        }
        let body: Bytes =
            to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| PageFault::MalformedForm("body"))?;
        let parameters = Parameters::parse(&body).map_err(|_| PageFault::MalformedForm("encoding"))?;
        let names = ["email", "request", "code", "token", "csrf", "decision", "session"];
        match parameters.first_repeated(&names) {
            Some(name) => Err(PageFault::MalformedForm(name)),
            None => Ok(Self(parameters)),
        }
    }
}
