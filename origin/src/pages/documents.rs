//! `GET /docs/errors/{slug}`: the page that a problem's `type` links to, from the same text as in `docs/errors/`.

use askama::Template;
use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd, html};

use super::{FormTargets, PageFault, page};

macro_rules! documents {
    ($($slug:literal)*) => {
        /// The documents by slug.
        const DOCUMENTS: &[(&str, &str)] =
            &[$(($slug, include_str!(concat!("../../../docs/errors/", $slug, ".md"))),)*];
    };
}

documents! {
    "assertion-refused"
    "body-too-large"
    "conflict"
    "credential-missing"
    "credential-not-accepted"
    "cross-site-request"
    "declaration-faulty"
    "dpop-proof-invalid"
    "headers-too-large"
    "insufficient-scope"
    "internal"
    "method-not-allowed"
    "not-found"
    "origin-not-allowed"
    "origin-unavailable"
    "path-not-canonical"
    "policy-unavailable"
    "rate-limited"
    "raw-key-refused"
    "request-malformed"
    "revision-changed"
    "several-credentials"
    "sync-conflict"
    "sync-refused"
    "token-binding"
    "token-expired"
    "token-malformed"
    "token-not-yet-valid"
    "token-revoked"
    "token-signature"
    "token-unknown-key"
    "token-wrong-audience"
    "token-wrong-issuer"
    "token-wrong-type"
    "upstream-timeout"
    "upstream-unavailable"
    "webhook-secret-refused"
    "wrong-project"
}

#[derive(Template)]
#[template(path = "document.html")]
struct Document {
    title: String,
    html: String,
}

impl Document {
    /// Reads a document of ours. Its text is trusted: it was compiled in.
    fn read(markdown: &str) -> Self {
        let mut title = String::new();
        let mut in_title = false;
        for event in Parser::new(markdown) {
            match event {
                Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }) if title.is_empty() => {
                    in_title = true;
                }
                Event::End(TagEnd::Heading(HeadingLevel::H1)) => in_title = false,
                Event::Text(text) | Event::Code(text) if in_title => title.push_str(&text),
                _ => {}
            }
        }
        let mut body = String::with_capacity(markdown.len() * 2);
        html::push_html(&mut body, Parser::new(markdown));
        Self { title, html: body }
    }
}

/// The page.
pub(super) async fn problem(Path(slug): Path<String>) -> Response {
    let Some((_, markdown)) = DOCUMENTS.iter().find(|(known, _)| *known == slug) else {
        return PageFault::NotFound.into_response();
    };
    let mut response = page(StatusCode::OK, &Document::read(markdown), &FormTargets::None);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use shared::problem::ProblemType;

    use super::*;

    #[tokio::test]
    async fn every_problem_has_its_page() {
        for kind in ProblemType::ALL {
            let response = problem(Path(kind.slug().to_owned())).await;
            assert_eq!(response.status(), StatusCode::OK, "{}", kind.slug());
            let body = to_bytes(response.into_body(), 100_000).await.unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(
                text.contains(&format!("<code>{}</code> · HTTP {}", kind.slug(), kind.status())),
                "{text}"
            );
            assert!(!text.contains("<script") && text.matches("<h1>").count() == 1, "{text}");
        }
        assert_eq!(problem(Path("nothing".to_owned())).await.status(), StatusCode::NOT_FOUND);
    }
}
