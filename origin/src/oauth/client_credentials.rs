//! `grant_type=client_credentials` (RFC 6749 §4.4): a client gets an access token for itself. There is no refresh token: it has what it
//! would get another one with. It may not act for a person.

use shared::{
    authorization_request::{PERSONAL_SCOPES, audience_for, audience_of},
    form::Parameters,
    scope::Scopes,
};

use super::{
    issue::{Grant, Request, Subject, Tokens},
    token::TokenError,
};
use crate::{
    database::Scope,
    events::{
        NewEvent,
        field::{Identifier, Moment},
        payload::ClientTokenIssued,
    },
};

/// What a request asks for.
pub(super) struct Asked {
    scopes: Option<Scopes>,
}

impl Asked {
    /// Reads the parameters.
    pub(super) fn read(form: &Parameters) -> Result<Self, TokenError> {
        let scopes = match form.get("scope") {
            None => None,
            Some(text) => Some(Scopes::parse(text).ok_or(TokenError::ScopeTooWide)?),
        };
        Ok(Self { scopes })
    }
}

/// Issues a token to the client itself.
pub(super) async fn grant(
    scope: &mut Scope,
    request: &Request<'_>,
    asked: &Asked,
) -> Result<Tokens, TokenError> {
    let (origin, client) = (request.origin, request.client);
    // What says something of a person is no client's own.
    let own = PERSONAL_SCOPES.into_iter().collect::<Scopes>().missing_from(&client.registered.scopes);
    let scopes = request.authorize(&own, asked.scopes.as_ref())?;
    // Without a grant of before there is nothing to narrow: what is asked for must be the client's.
    let audience = match request.target {
        None => audience_of(origin.issuer(), &client.registered.project),
        Some(target) => audience_for(target.policy, &client.registered, target.resource)
            .ok_or(TokenError::UnknownTarget)?,
    };
    let grant = Grant {
        id: origin.policy.fresh_id("grant", scope),
        workspace_id: client.workspace_id()?,
        subject: Subject::Client,
        scopes,
        audience: vec![audience],
    };
    let tokens = request.open(scope, &grant, None).await?;
    let event = ClientTokenIssued {
        client_id: Identifier::of(&client.client_id),
        token_endpoint_auth_method: Identifier::of(client.method.name()),
        jti: tokens.access.jti,
        scopes: tokens.access.scopes.clone(),
        expires_at: Moment(tokens.access.expires_at),
    };
    scope.append(NewEvent::of(grant.workspace_id, grant.id, &event)).await?;
    Ok(tokens)
}
