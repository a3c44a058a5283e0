//! OAuth requests at the edge: what is malformed, unregistered, not S256 or proves the wrong verifier ends here and never reaches
//! the origin. It may not say yes: a good request goes on to the origin, which judges it again and consumes what it presents.

use alloc::string::String;

use super::{
    Facts, Gate, LookedUp, MAX_FORM_BYTES, Memory, Refusal, ToOrigin, Verdict, charge, cors, facts::key_of,
};
use crate::{
    authorization_request::{AuthorizationFault, AuthorizationRequest},
    client::{AuthMethod, ClientClaim, ClientClaimFault, GrantType},
    code::AuthorizationCode,
    form::Parameters,
    oauth_error::OAuthError,
    pkce::{CodeChallenge, CodeVerifier},
    policy::Client,
    problem::ProblemType,
    redirect_uri,
    refresh_token::RefreshToken,
    time::UnixMillis,
};

/// Parameters of the token endpoint that must not come twice (RFC 6749 §3.2).
pub const TOKEN_PARAMETERS: [&str; 11] = [
    "grant_type",
    "code",
    "redirect_uri",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "code_verifier",
    "refresh_token",
    "scope",
    "resource",
];

/// Parameters of the revocation and introspection endpoints that must not come twice (RFC 7009 §2.1, RFC 7662 §2.1).
pub const REVOCATION_PARAMETERS: [&str; 6] =
    ["token", "token_type_hint", "client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// What is said of a `grant_type` that is none of ours.
pub const UNSUPPORTED_GRANT_TYPE: &str =
    "grant_type must be authorization_code, refresh_token or client_credentials.";

/// What is said of an assertion that cannot be read.
pub const MALFORMED_ASSERTION: &str = "client_assertion must be a JWT whose sub is the client, with client_assertion_type \
                                       urn:ietf:params:oauth:client-assertion-type:jwt-bearer.";

/// `/oauth/authorize`, by GET or POST (OpenID Connect Core §3.1.2.1).
pub(super) fn authorize(gate: &Gate<'_>, facts: &Facts<'_>, query: &str) -> Result<Verdict, Refusal> {
    let parameters = match facts.method {
        "GET" | "HEAD" => Parameters::parse(query.as_bytes()),
        "POST" => match facts.looked_up.form {
            None => return Ok(Verdict::NeedsForm(MAX_FORM_BYTES)),
            Some(form) => {
                check_size(form)?;
                Parameters::parse(form)
            }
        },
        _ => return Err(Refusal::method_not_allowed("GET, HEAD, POST")),
    };
    let parameters =
        parameters.map_err(|_| Refusal::page("The application sent a request that cannot be read."))?;
    match AuthorizationRequest::read(&gate.active.policy, &parameters) {
        Ok(_) => Ok(Verdict::Origin(ToOrigin::new("/oauth/authorize".into(), query))),
        Err(AuthorizationFault::Page(text)) => Err(Refusal::page(text)),
        Err(AuthorizationFault::Redirect(redirect)) => Ok(Verdict::Redirect(redirect)),
    }
}

/// `/oauth/token` (RFC 6749 §3.2).
pub(super) fn token(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    let Some(form) = read_form(facts)? else { return Ok(Verdict::NeedsForm(MAX_FORM_BYTES)) };
    refuse_repeated(&form, &TOKEN_PARAMETERS)?;
    let grant_type =
        form.get("grant_type").ok_or(Refusal::oauth(OAuthError::InvalidRequest, "grant_type is missing."))?;
    let (client_id, client) = read_client(gate, facts, &form, memory, now)?;
    let grant_type = GrantType::of_name(grant_type)
        .ok_or(Refusal::oauth(OAuthError::UnsupportedGrantType, UNSUPPORTED_GRANT_TYPE))?;
    if !client.may_use(grant_type) {
        return Err(Refusal::oauth(
            OAuthError::UnauthorizedClient,
            "The client is not registered for this grant_type.",
        ));
    }
    match grant_type {
        GrantType::AuthorizationCode => check_code(gate, &form, &client_id, client, now)?,
        GrantType::RefreshToken => {
            let token = form
                .get("refresh_token")
                .ok_or(Refusal::oauth(OAuthError::InvalidRequest, "refresh_token is missing."))?;
            if RefreshToken::parse(token).is_none() {
                return Err(Refusal::oauth(
                    OAuthError::InvalidGrant,
                    "The refresh token was not issued here, or was cut off.",
                ));
            }
        }
        // All there is to know is whether the client is the client, which the origin knows.
        GrantType::ClientCredentials | GrantType::Unknown => {}
    }
    Ok(Verdict::Origin(ToOrigin::new("/oauth/token".into(), "")))
}

/// `/oauth/revoke` (RFC 7009 §2.1).
pub(super) fn revoke(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    let Some(form) = read_form(facts)? else { return Ok(Verdict::NeedsForm(MAX_FORM_BYTES)) };
    refuse_repeated(&form, &REVOCATION_PARAMETERS)?;
    read_client(gate, facts, &form, memory, now)?;
    form.get("token").ok_or(Refusal::oauth(OAuthError::InvalidRequest, "token is missing."))?;
    Ok(Verdict::Origin(ToOrigin::new("/oauth/revoke".into(), "")))
}

/// What is said of a public client that wants to know about a token.
pub const INTROSPECTION_NEEDS_A_CALLER: &str =
    "Whoever asks about a token must authenticate, as a client or with a service token.";

/// `/oauth/introspect` (RFC 7662 §2.1). Who comes with a bearer token is the origin's to judge, like every token that is asked about.
pub(super) fn introspect(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    let Some(form) = read_form(facts)? else { return Ok(Verdict::NeedsForm(MAX_FORM_BYTES)) };
    refuse_repeated(&form, &REVOCATION_PARAMETERS)?;
    if !facts.authorization.is_some_and(has_bearer) {
        let (_, client) = read_client(gate, facts, &form, memory, now)?;
        if client.authenticates_by(AuthMethod::None) {
            return Err(Refusal::invalid_client(false, INTROSPECTION_NEEDS_A_CALLER));
        }
    }
    form.get("token").ok_or(Refusal::oauth(OAuthError::InvalidRequest, "token is missing."))?;
    Ok(Verdict::Origin(ToOrigin::new("/oauth/introspect".into(), "")))
}

/// Whether an `Authorization` is of the scheme `Bearer`.
pub fn has_bearer(authorization: &str) -> bool {
    authorization.split(' ').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
}

/// `/oauth/userinfo`, by GET or POST (OpenID Connect Core §5.3.1). Whose the token is, and whether it is still good, the origin knows.
pub(super) fn user_info(facts: &Facts<'_>) -> Result<Verdict, Refusal> {
    match facts.method {
        "GET" | "HEAD" | "POST" => {}
        _ => return Err(Refusal::method_not_allowed("GET, HEAD, POST")),
    }
    if facts.authorization.is_none() {
        return Err(Refusal::credential_missing());
    }
    // Nothing of the query or of a body counts: neither is where a token belongs (RFC 9700 §4.3.2).
    Ok(Verdict::Origin(ToOrigin::new("/oauth/userinfo".into(), "")))
}

/// Lets a page of the client's own origins read the answer, also a refusal. Without a client nobody vouches for the page.
pub(super) fn with_cors(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    verdict: Result<Verdict, Refusal>,
) -> Result<Verdict, Refusal> {
    let client = facts.origin.and(facts.looked_up.form).and_then(|form| {
        let form = Parameters::parse(form).ok()?;
        let claim = ClientClaim::read(facts.authorization, &form).ok()?;
        gate.active.policy.clients.get(&claim.client_id)
    });
    let headers = client.map(|client| cors::of_client(client, facts)).unwrap_or_default();
    match verdict {
        Ok(Verdict::Origin(mut to_origin)) => {
            to_origin.answer.extend(headers);
            Ok(Verdict::Origin(to_origin))
        }
        Ok(other) => Ok(other),
        Err(refusal) => Err(refusal.with_headers(headers)),
    }
}

/// The body of a POST; `None` when it has not been read yet.
fn read_form(facts: &Facts<'_>) -> Result<Option<Parameters>, Refusal> {
    if facts.method != "POST" {
        return Err(Refusal::method_not_allowed("POST"));
    }
    let media_type = facts.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::oauth(
            OAuthError::InvalidRequest,
            "Content-Type must be application/x-www-form-urlencoded.",
        ));
    }
    let Some(form) = facts.looked_up.form else { return Ok(None) };
    check_size(form)?;
    Parameters::parse(form)
        .map(Some)
        .map_err(|_| Refusal::oauth(OAuthError::InvalidRequest, "The body is not form-urlencoded UTF-8."))
}

/// The shell hands over one byte more than the bound at most, so that this can be said.
fn check_size(form: &[u8]) -> Result<(), Refusal> {
    if form.len() > MAX_FORM_BYTES {
        return Err(Refusal::problem(ProblemType::BodyTooLarge, "The form is larger than 16384 bytes."));
    }
    Ok(())
}

fn refuse_repeated(form: &Parameters, names: &[&str]) -> Result<(), Refusal> {
    match form.first_repeated(names) {
        Some(_) => Err(Refusal::oauth(OAuthError::InvalidRequest, "A parameter was sent more than once.")),
        None => Ok(()),
    }
}

/// The client that the request claims to be, if it is registered; counted against its quota.
fn read_client<'a>(
    gate: &Gate<'a>,
    facts: &Facts<'_>,
    form: &Parameters,
    memory: &mut Memory,
    now: UnixMillis,
) -> Result<(String, &'a Client), Refusal> {
    let claim = ClientClaim::read(facts.authorization, form).map_err(|fault| match fault {
        ClientClaimFault::Missing => Refusal::invalid_client(false, "client_id is missing."),
        ClientClaimFault::Several => {
            Refusal::oauth(OAuthError::InvalidRequest, "The client authenticated in more than one way.")
        }
        ClientClaimFault::Malformed => {
            Refusal::invalid_client(true, "The Authorization header is not well-formed Basic.")
        }
        ClientClaimFault::MalformedAssertion => Refusal::invalid_client(false, MALFORMED_ASSERTION),
    })?;
    let client = gate.active.policy.clients.get(&claim.client_id);
    let by_header = claim.by_header();
    let client = client.ok_or_else(|| {
        Refusal::invalid_client(by_header, "The client is not registered here, or has been disabled.")
    })?;
    let method = claim.proof.method();
    if !client.authenticates_by(method) {
        let detail = match method {
            AuthMethod::None => "This client must authenticate.",
            _ if client.authenticates_by(AuthMethod::None) => "This is a public client: it has no secret.",
            _ => "This client is registered to authenticate in another way.",
        };
        return Err(Refusal::invalid_client(by_header, detail));
    }
    // Known only from the form, so that no earlier look-up counted it.
    let looked_up = LookedUp { already_charged: false, ..facts.looked_up };
    let facts = Facts { looked_up, ..*facts };
    charge(&facts, memory, b'C', key_of(&claim.client_id), gate.active.policy.limits.client, "client", now)?;
    Ok((claim.client_id, client))
}

/// The code against the verifier, client and redirect URI it was issued for (RFC 6749 §4.1.3, RFC 7636 §4.6).
fn check_code(
    gate: &Gate<'_>,
    form: &Parameters,
    client_id: &str,
    client: &Client,
    now: UnixMillis,
) -> Result<(), Refusal> {
    let invalid_grant = |description| Refusal::oauth(OAuthError::InvalidGrant, description);
    let code = form.get("code").ok_or(Refusal::oauth(OAuthError::InvalidRequest, "code is missing."))?;
    let verifier = form.get("code_verifier").ok_or(Refusal::oauth(
        OAuthError::InvalidRequest,
        "code_verifier is missing: every code here was issued for a challenge.",
    ))?;
    let verifier = CodeVerifier::parse(verifier).ok_or(Refusal::oauth(
        OAuthError::InvalidRequest,
        "code_verifier must be 43 to 128 unreserved characters.",
    ))?;
    let code = AuthorizationCode::parse(code)
        .ok_or_else(|| invalid_grant("The code was not issued here, or was cut off."))?;
    let challenge = verifier.challenge();
    if now.seconds() >= code.expires_at() {
        return Err(invalid_grant("The code has expired. Start again at the authorization endpoint."));
    }
    if issued_for(gate, form, client_id, client, &code, &challenge, now) {
        Ok(())
    } else {
        Err(invalid_grant("The code was not issued for this client, redirect_uri and code_verifier."))
    }
}

fn issued_for(
    gate: &Gate<'_>,
    form: &Parameters,
    client_id: &str,
    client: &Client,
    code: &AuthorizationCode,
    challenge: &CodeChallenge,
    now: UnixMillis,
) -> bool {
    let holds = |uri: &str| code.check(gate.code_key, client_id, uri, challenge, now).is_ok();
    match form.get("redirect_uri") {
        Some(requested) => {
            client.redirect_uris.iter().any(|registered| redirect_uri::matches(registered, requested))
                && holds(requested)
        }
        // OAuth 2.1 §4.1.3 leaves it out: it was one of the registered ones. A loopback port cannot be guessed; the origin knows it.
        None => client
            .redirect_uris
            .iter()
            .any(|registered| holds(registered) || redirect_uri::has_any_port(registered)),
    }
}
