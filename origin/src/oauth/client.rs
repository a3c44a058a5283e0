//! Clients at the endpoints where they authenticate: who one is, and whether it proved it in the way it is registered for (RFC 6749
//! §2.3). Secrets are known by their SHA-256 only and compared in constant time.

use std::fmt;

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use shared::{
    base64url,
    client::{AuthMethod, ClientClaim, ClientClaimFault, ClientProof},
    decide::{MALFORMED_ASSERTION, Refusal},
    form::Parameters,
    oauth_error::OAuthError,
    policy,
};
use sqlx::FromRow;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::assertion::{self, AssertionFault};
use crate::{
    clock::Randomness,
    database::{DatabaseError, Scope},
    http::Origin,
    projects::ClientRow,
};

/// A client that is who it says it is; for a public one that is to say that it exists.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "client_id is the specifications' word")]
pub(super) struct Client {
    pub(super) client_id: String,
    /// What it is registered for now; earlier it may have been more.
    pub(super) registered: policy::Client,
    /// How it proved who it is.
    pub(super) method: AuthMethod,
}

impl Client {
    /// The workspace it belongs to.
    pub(super) fn workspace_id(&self) -> Result<Uuid, ClientError> {
        self.registered.workspace_id.parse().map_err(|_| ClientError::Unknown { by_header: false })
    }
}

/// Why a client is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// No client is named.
    #[error("client_id is missing.")]
    Missing,
    /// Two methods at once.
    #[error("The client authenticated in more than one way.")]
    SeveralMethods,
    /// `Authorization` is not Basic.
    #[error("The Authorization header is not well-formed Basic.")]
    MalformedHeader,
    /// No such client, or it is disabled.
    #[error("The client is not registered here, or has been disabled.")]
    Unknown {
        /// Whether it came by header.
        by_header: bool,
    },
    /// The secret is missing, wrong, or came from a client that has none.
    #[error("The client did not authenticate as it is registered to.")]
    NotAuthenticated {
        /// Whether it came by header.
        by_header: bool,
    },
    /// The assertion cannot be read.
    #[error("{}", MALFORMED_ASSERTION)]
    MalformedAssertion,
    /// The assertion proves nothing.
    #[error(transparent)]
    Assertion(#[from] AssertionFault),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl ClientError {
    /// In OAuth's words: 401 with a challenge when the client tried by header (RFC 6749 §5.2). The database's errors have their own.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Missing => Refusal::invalid_client(false, "client_id is missing."),
            Self::SeveralMethods => {
                Refusal::oauth(OAuthError::InvalidRequest, "The client authenticated in more than one way.")
            }
            Self::MalformedHeader => {
                Refusal::invalid_client(true, "The Authorization header is not well-formed Basic.")
            }
            Self::Unknown { by_header } => Refusal::invalid_client(
                *by_header,
                "The client is not registered here, or has been disabled.",
            ),
            Self::NotAuthenticated { by_header } => {
                Refusal::invalid_client(*by_header, "The client did not authenticate as it is registered to.")
            }
            Self::MalformedAssertion => Refusal::invalid_client(false, MALFORMED_ASSERTION),
            Self::Assertion(fault) => Refusal::invalid_client(false, fault.text()),
            Self::Database(error) => super::error::database(error),
        }
    }
}

impl From<ClientClaimFault> for ClientError {
    fn from(fault: ClientClaimFault) -> Self {
        match fault {
            ClientClaimFault::Missing => Self::Missing,
            ClientClaimFault::Several => Self::SeveralMethods,
            ClientClaimFault::Malformed => Self::MalformedHeader,
            ClientClaimFault::MalformedAssertion => Self::MalformedAssertion,
        }
    }
}

#[derive(FromRow)]
struct Row {
    secret_hash: Option<Vec<u8>>,
    #[sqlx(flatten)]
    client: ClientRow,
}

/// A claim to be somebody. If it is by an assertion, that has been judged and spent.
pub(super) struct Identified(ClientClaim);

/// What a request says of its client. `Authorization` may come once. Call it before opening a transaction: an assertion is spent in
/// one of its own, whatever becomes of the request.
pub(super) async fn identify(
    origin: &Origin,
    headers: &HeaderMap,
    form: &Parameters,
) -> Result<Identified, ClientError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| ClientError::MalformedHeader)?),
        (Some(_), Some(_)) => return Err(ClientError::SeveralMethods),
    };
    let claim = ClientClaim::read(authorization, form)?;
    if let ClientProof::Assertion(text) = &claim.proof {
        assertion::spend(origin, &claim.client_id, text).await?;
    }
    Ok(Identified(claim))
}

/// The client that the request is of.
pub(super) async fn authenticate(
    scope: &mut Scope,
    Identified(claim): &Identified,
) -> Result<Client, ClientError> {
    let by_header = claim.by_header();
    let row: Option<Row> = sqlx::query_as(
        "SELECT c.secret_hash, c.client_id, c.workspace_id, p.slug AS project, c.redirect_uris, c.scopes, c.origins,
                c.kind = 'confidential' AS confidential, c.token_endpoint_auth_method, c.grant_types
         FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.client_id = $1 AND c.enabled AND p.enabled",
    )
    .bind(&claim.client_id)
    .fetch_optional(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let row = row.ok_or(ClientError::Unknown { by_header })?;
    let registered = row.client.client().ok_or(ClientError::Unknown { by_header })?;
    let method = claim.proof.method();
    let is_authentic = registered.authenticates_by(method)
        && match (&claim.proof, &row.secret_hash) {
            // A row with a secret is of nobody who may come without it, whatever its columns say of each other.
            (ClientProof::Nothing, stored) => stored.is_none(),
            (ClientProof::Basic(presented) | ClientProof::Post(presented), Some(stored)) => {
                ClientSecret::hash_of(presented)[..].ct_eq(stored).into()
            }
            (ClientProof::Basic(_) | ClientProof::Post(_), None) => false,
            (ClientProof::Assertion(_), _) => true,
        };
    if !is_authentic {
        return Err(ClientError::NotAuthenticated { by_header });
    }
    Ok(Client { client_id: claim.client_id.clone(), registered, method })
}

/// The secret of a confidential client, shown once when it is made. It has no `Debug` of its text.
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// What secret scanners look for.
    pub const PREFIX: &'static str = "gw_cs_";

    /// A new secret of 256 random bits.
    pub fn generate(randomness: &Randomness) -> Self {
        let random = Zeroizing::new(randomness.bytes::<32>());
        Self(Zeroizing::new(format!("{}{}", Self::PREFIX, base64url::encode(&random[..]))))
    }

    /// The secret, to be shown once to whoever registers the client.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored in `oauth_clients.secret_hash`.
    pub fn hash(&self) -> [u8; 32] {
        Self::hash_of(&self.0)
    }

    fn hash_of(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientSecret(…)")
    }
}
