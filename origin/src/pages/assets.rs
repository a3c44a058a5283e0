//! The style sheet and the logo, embedded. Their URLs in pages carry a version, so that browsers may keep them for a year; without
//! a version (the edge's own pages) they are kept for five minutes.

use std::sync::LazyLock;

use axum::{
    extract::{Path, RawQuery},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::PageFault;

/// A file that pages refer to.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
    version: String,
}

impl Asset {
    fn new(name: &'static str, media_type: &'static str, content: &'static str) -> Self {
        let digest = Sha256::digest(content.as_bytes());
        let version = shared::base64url::encode(&digest).chars().take(12).collect();
        Self { name, media_type, content, version }
    }

    fn url(&self) -> String {
        format!("/assets/{}?v={}", self.name, self.version)
    }
}

static STYLESHEET: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("gateward.css", "text/css; charset=utf-8", include_str!("../../assets/gateward.css"))
});
static LOGO: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("logo.svg", "image/svg+xml", include_str!("../../assets/logo.svg")));

/// The style sheet's URL with its version.
pub fn stylesheet_url() -> String {
    STYLESHEET.url()
}

/// The logo's URL with its version.
pub fn logo_url() -> String {
    LOGO.url()
}

/// `GET /assets/{name}`.
pub(super) async fn serve(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(asset) = [&*STYLESHEET, &*LOGO].into_iter().find(|asset| asset.name == name) else {
        return PageFault::NotFound.into_response();
    };
    let is_versioned = query.as_deref().and_then(|query| query.strip_prefix("v=")) == Some(&*asset.version);
    let caching = if is_versioned { "public, max-age=31536000, immutable" } else { "public, max-age=300" };
    let tag = format!("\"{}\"", asset.version);
    let is_held = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|held| held.split(',').any(|held| held.trim().trim_start_matches("W/") == tag));
    let common = [
        (header::CACHE_CONTROL, caching.to_owned()),
        (header::ETAG, tag),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'".to_owned()),
    ];
    if is_held {
        (StatusCode::NOT_MODIFIED, common).into_response()
    } else {
        (common, [(header::CONTENT_TYPE, asset.media_type)], asset.content).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(name: &str, query: Option<&str>, held: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(held) = held {
            headers.insert(header::IF_NONE_MATCH, held.parse().unwrap());
        }
        serve(Path(name.to_owned()), RawQuery(query.map(ToOwned::to_owned)), headers).await
    }

    #[tokio::test]
    async fn a_versioned_asset_is_kept_and_an_unversioned_one_is_asked_for_again() {
        let url = stylesheet_url();
        let version = url.strip_prefix("/assets/gateward.css?").unwrap();
        let kept = get("gateward.css", Some(version), None).await;
        assert_eq!(kept.status(), StatusCode::OK);
        assert_eq!(kept.headers()["cache-control"], "public, max-age=31536000, immutable");
        let bare = get("gateward.css", None, None).await;
        assert_eq!(bare.headers()["cache-control"], "public, max-age=300");
        assert_eq!(bare.headers()["content-type"], "text/css; charset=utf-8");
        let tag = bare.headers()["etag"].to_str().unwrap();
        let held = get("gateward.css", None, Some(&format!("W/{tag}, \"x\""))).await;
        assert_eq!(held.status(), StatusCode::NOT_MODIFIED);
        // A URL of an older version must not pin today's content for a year.
        let older = get("gateward.css", Some("v=older"), None).await;
        assert_eq!(older.headers()["cache-control"], "public, max-age=300");
        assert_eq!(get("../gateward.css", None, None).await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_style_sheet_asks_nobody_for_anything() {
        for forbidden in ["url(", "@import", "http:", "https:"] {
            assert!(!STYLESHEET.content.contains(forbidden), "{forbidden}");
        }
        assert!(STYLESHEET.content.len() < 20_000);
    }
}
