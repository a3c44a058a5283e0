//! Grants: from consent through code and tokens to revocation, all under the grant's id (`sid` of its tokens).

use shared::scope::Scopes;
use uuid::Uuid;

use super::{payloads, words};
use crate::events::field::{Identifier, Moment};

words! {
    /// Why a grant is over.
    GrantEnd {
        /// The client asked for it (RFC 7009).
        ClientRequest,
        /// The person took it back.
        PersonRequest,
        /// An operator took it back.
        OperatorRequest,
        /// A code was presented a second time (RFC 6749, 4.1.2).
        CodeReplay,
        /// A rotated refresh token was presented (RFC 9700, 4.14).
        RefreshTokenReuse,
        /// The session it came from ended.
        SessionEnd,
    }
}

payloads! {
    /// A person lets a client act for them.
    Grant, 1: ConsentGranted {
        /// The person.
        user_id: Uuid,
        /// The client.
        client_id: Identifier,
        /// What it may do.
        scopes: Scopes,
    }
    /// An authorization code was issued. The code itself is nowhere.
    Grant, 1: AuthorizationCodeIssued {
        /// The person.
        user_id: Uuid,
        /// The client.
        client_id: Identifier,
        /// What it may do.
        scopes: Scopes,
        /// Until when the code is good.
        expires_at: Moment,
    }
    /// A used code was presented again.
    Grant, 1: AuthorizationCodeReplayed {
        /// The client that presented it.
        client_id: Identifier,
    }
    /// A code was redeemed: the first tokens of a family.
    Grant, 1: TokensIssued {
        /// The person.
        user_id: Uuid,
        /// The client.
        client_id: Identifier,
        /// `jti` of the access token.
        jti: Uuid,
        /// Generation of the refresh token.
        generation: i64,
        /// What they may do.
        scopes: Scopes,
        /// When the access token ends.
        expires_at: Moment,
    }
    /// A client got an access token for itself: a grant of one token.
    Grant, 1: ClientTokenIssued {
        /// The client.
        client_id: Identifier,
        /// How it proved who it is.
        token_endpoint_auth_method: Identifier,
        /// `jti` of the access token.
        jti: Uuid,
        /// What it may do.
        scopes: Scopes,
        /// When the access token ends.
        expires_at: Moment,
    }
    /// A refresh token was exchanged for its successor.
    Grant, 1: RefreshTokenRotated {
        /// The client.
        client_id: Identifier,
        /// `jti` of the new access token.
        jti: Uuid,
        /// Generation of the new refresh token.
        generation: i64,
        /// What they may do.
        scopes: Scopes,
        /// When the new access token ends.
        expires_at: Moment,
    }
    /// A refresh token that had been rotated long ago was presented: somebody has a copy.
    Grant, 1: RefreshTokenReuseDetected {
        /// The client.
        client_id: Identifier,
        /// Generation of the token presented.
        presented: i64,
        /// Generation in use.
        current: i64,
    }
    /// One access token is refused from now on; the grant goes on.
    Grant, 1: AccessTokenRevoked {
        /// The client.
        client_id: Identifier,
        /// `jti` of the access token.
        jti: Uuid,
    }
    /// Everything the grant gave is refused from now on.
    Grant, 1: GrantRevoked {
        /// The person.
        user_id: Uuid,
        /// The client.
        client_id: Identifier,
        /// Why.
        reason: GrantEnd,
    }
}
