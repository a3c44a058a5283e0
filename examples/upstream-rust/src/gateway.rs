//! The check of `X-Gateway-Assertion`: everything else in this service can rely on [`Identity`] and on nothing else in the request.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jwt_compact::{AlgorithmExt, UntrustedToken, alg::Ed25519};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::key_set::KeySet;

const HEADER: &str = "x-gateway-assertion";
const TYPE: &str = "gateway-assertion+jwt";
/// How long an assertion holds, in seconds.
const LIFETIME: i64 = 30;
/// How far the gateway's clock and ours may be apart, in seconds.
const CLOCK_SKEW: i64 = 5;

/// Who is behind a request, as the gateway vouches for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Identity {
    /// Who calls; nobody on a route that needs no credential.
    #[serde(rename(deserialize = "sub"))]
    pub(crate) subject: Option<String>,
    /// What the caller may do, separated by spaces.
    #[serde(default)]
    pub(crate) scope: String,
    /// The project called.
    pub(crate) project: String,
    /// The service called.
    pub(crate) service: String,
    /// The workspace the caller acts in.
    pub(crate) workspace_id: Option<String>,
    /// The client the caller's credential was issued to.
    pub(crate) client_id: Option<String>,
    /// The id of the caller's credential.
    pub(crate) token_id: Option<String>,
    /// The id the gateway logs the request under.
    #[serde(rename(deserialize = "jti"))]
    pub(crate) request_id: String,
}

/// The claims: the identity, and what it is bound to.
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    aud: String,
    htm: String,
    htu: String,
    #[serde(flatten)]
    identity: Identity,
}

/// What assertions are checked against.
pub(crate) struct Gateway {
    issuer: String,
    base_url: String,
    keys: KeySet,
}

/// Why a request is refused: for the log of whoever set the service up.
#[derive(Debug)]
pub(crate) struct Refused(&'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let challenge = [(header::WWW_AUTHENTICATE, "X-Gateway-Assertion")];
        (StatusCode::UNAUTHORIZED, challenge, Json(json!({ "error": self.0 }))).into_response()
    }
}

/// The middleware: answers 401, or hands the request on with its [`Identity`].
pub(crate) async fn require_gateway(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let identity = gateway.check(request.method().as_str(), target, request.headers()).await?;
    request.extensions_mut().insert(identity);
    Ok(next.run(request).await)
}

impl Gateway {
    /// `issuer` is the gateway's public URL, `base_url` this service's own as the gateway's configuration has it.
    pub(crate) const fn new(issuer: String, base_url: String, keys: KeySet) -> Self {
        Self { issuer, base_url, keys }
    }

    /// Who sent this request, if the gateway says so.
    async fn check(&self, method: &str, target: &str, headers: &HeaderMap) -> Result<Identity, Refused> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Refused("exactly one assertion is needed"));
        };
        let text = value.to_str().map_err(|_| Refused("the assertion is not text"))?;
        let token = UntrustedToken::new(text).map_err(|_| Refused("the assertion is no token"))?;
        let header = token.header();
        if header.token_type.as_deref() != Some(TYPE) {
            return Err(Refused("the token is not an assertion"));
        }
        let key_id = header.key_id.as_deref().ok_or(Refused("the assertion names no key"))?;
        let key = self.keys.find(key_id).await.ok_or(Refused("the assertion names no key of the gateway"))?;
        // The algorithm is ours, not the token's: EdDSA with an Ed25519 key.
        let token = Ed25519
            .validator::<Assertion>(&key)
            .validate(&token)
            .map_err(|_| Refused("the signature or the claims are wrong"))?;
        let claims = token.claims();
        let (Some(issued), Some(expires)) = (claims.issued_at, claims.expiration) else {
            return Err(Refused("the assertion has no times"));
        };
        let (issued, expires, now) = (issued.timestamp(), expires.timestamp(), unix_seconds());
        if now >= expires + CLOCK_SKEW || issued > now + CLOCK_SKEW || expires - issued > LIFETIME {
            return Err(Refused("the assertion is too old, from the future, or holds too long"));
        }
        let assertion = &claims.custom;
        if assertion.iss != self.issuer {
            return Err(Refused("the assertion is another gateway's"));
        }
        if assertion.aud != self.base_url {
            return Err(Refused("the assertion is for another service"));
        }
        if assertion.htm != method || assertion.htu != target {
            return Err(Refused("the assertion is for another request"));
        }
        Ok(assertion.identity.clone())
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place of this program that reads the clock")]
fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
