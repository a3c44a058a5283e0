//! What an authorization request must say (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2, RFC 9207, OpenID Connect Core §3.1.2.1). Both doors read it here. It may not
//! redirect before client and redirect URI are known to be right (RFC 9700 §4.11).

use alloc::{
    format,
    string::{String, ToString as _},
};

use crate::{
    client::GrantType,
    form::{self, Parameters},
    oauth_error::OAuthError,
    pkce::{CodeChallenge, S256},
    policy::{Client, Policy},
    redirect_uri,
    scope::Scopes,
};

/// Parameters that must not come twice.
const PARAMETERS: [&str; 15] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "nonce",
    "prompt",
    "max_age",
    "login_hint",
    "response_mode",
    "request",
    "request_uri",
];

/// The longest `state` that is carried, in bytes.
const MAX_STATE_BYTES: usize = 2048;
/// The longest `nonce` that is carried, in bytes.
const MAX_NONCE_BYTES: usize = 512;
/// The longest `login_hint`, in bytes: an address.
const MAX_HINT_BYTES: usize = 254;
/// The longest `max_age` that means something, in seconds: no session is older than a year.
const MAX_AGE_SECONDS: u32 = 366 * 24 * 60 * 60;

/// The scope that asks for an ID token (OpenID Connect Core §3.1.2.1).
pub const OPENID: &str = "openid";
/// Scopes that say something of a person, so that no client has them for itself.
pub const PERSONAL_SCOPES: [&str; 4] = [OPENID, "email", "profile", "offline_access"];

/// What `prompt` may say (OpenID Connect Core §3.1.2.1).
pub const PROMPTS: [&str; 3] = ["none", "login", "consent"];

/// What the client wants the person to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Nothing: where something would have to be asked, the client is told.
    pub none: bool,
    /// To sign in again.
    pub login: bool,
    /// To consent, whatever was allowed before.
    pub consent: bool,
}

impl Prompt {
    /// Reads the list; `None` when it has an unknown word, or `none` beside another.
    fn parse(text: &str) -> Option<Self> {
        let mut prompt = Self::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word {
                "none" => prompt.none = true,
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                _ => return None,
            }
        }
        (!(prompt.none && (prompt.login || prompt.consent))).then_some(prompt)
    }
}

/// A request that may go on to the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// The client.
    pub client_id: String,
    /// Where the answer goes; as requested, so that a loopback port is kept.
    pub redirect_uri: String,
    /// Whether `redirect_uri` was in the request.
    pub redirect_uri_was_sent: bool,
    /// Scopes: what was asked for, or all the client may have.
    pub scopes: Scopes,
    /// `state`, to be returned unchanged.
    pub state: Option<String>,
    /// The challenge; its method is S256.
    pub code_challenge: CodeChallenge,
    /// The audience of the access token.
    pub audience: String,
    /// `nonce`, for the ID token.
    pub nonce: Option<String>,
    /// `prompt`.
    pub prompt: Prompt,
    /// How long ago the person may have proved who they are, in seconds (`max_age`).
    pub max_age: Option<u32>,
    /// The address that the person may be known by (`login_hint`).
    pub login_hint: Option<String>,
}

/// Why a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationFault {
    /// Nobody can be trusted to be told: the person sees a page.
    Page(&'static str),
    /// The client is told, at its own redirect URI.
    Redirect(ErrorRedirect),
}

/// An error that goes back to the client (RFC 6749 §4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRedirect {
    /// The registered URI.
    pub redirect_uri: String,
    /// The code.
    pub error: OAuthError,
    /// What is wrong and what to do.
    pub description: &'static str,
    /// The request's `state`.
    pub state: Option<String>,
}

impl ErrorRedirect {
    /// The `Location`, with `iss` (RFC 9207 §2).
    pub fn location(&self, issuer: &str) -> String {
        let mut parameters =
            alloc::vec![("error", self.error.code()), ("error_description", self.description)];
        if let Some(state) = &self.state {
            parameters.push(("state", state));
        }
        parameters.push(("iss", issuer));
        location(&self.redirect_uri, &parameters)
    }
}

/// `redirect_uri` with `parameters` appended to its query.
pub fn location(redirect_uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut location = redirect_uri.to_string();
    for (name, value) in parameters {
        location.push(if location.contains('?') { '&' } else { '?' });
        location.push_str(name);
        location.push('=');
        form::encode_into(&mut location, value);
    }
    location
}

impl AuthorizationRequest {
    /// Reads a request by the policy's rules.
    pub fn read(policy: &Policy, parameters: &Parameters) -> Result<Self, AuthorizationFault> {
        let (client_id, client, redirect_uri) =
            read_client(policy, parameters).map_err(AuthorizationFault::Page)?;
        let state = parameters.get("state");
        let refuse = |error, description| {
            AuthorizationFault::Redirect(ErrorRedirect {
                redirect_uri: redirect_uri.into(),
                error,
                description,
                state: state.filter(|state| state.len() <= MAX_STATE_BYTES).map(Into::into),
            })
        };
        if parameters.first_repeated(&PARAMETERS).is_some() {
            return Err(refuse(OAuthError::InvalidRequest, "A parameter was sent more than once."));
        }
        if state.is_some_and(|state| state.len() > MAX_STATE_BYTES) {
            return Err(refuse(OAuthError::InvalidRequest, "state is longer than 2048 bytes."));
        }
        if !client.may_use(GrantType::AuthorizationCode) {
            return Err(refuse(
                OAuthError::UnauthorizedClient,
                "The client is not registered for codes: its grant_types have no authorization_code.",
            ));
        }
        match parameters.get("response_type") {
            Some("code") => {}
            Some(_) => {
                return Err(refuse(OAuthError::UnsupportedResponseType, "response_type must be code."));
            }
            None => {
                return Err(refuse(
                    OAuthError::InvalidRequest,
                    "response_type is missing: send response_type=code.",
                ));
            }
        }
        let Some(challenge) = parameters.get("code_challenge") else {
            return Err(refuse(
                OAuthError::InvalidRequest,
                "code_challenge is missing: PKCE with S256 is required.",
            ));
        };
        match parameters.get("code_challenge_method") {
            Some(S256) => {}
            Some("plain") => {
                return Err(refuse(
                    OAuthError::InvalidRequest,
                    "code_challenge_method plain is not accepted: use S256.",
                ));
            }
            Some(_) => {
                return Err(refuse(
                    OAuthError::InvalidRequest,
                    "code_challenge_method is unknown: use S256.",
                ));
            }
            None => {
                return Err(refuse(
                    OAuthError::InvalidRequest,
                    "code_challenge_method is missing, which means plain: send S256.",
                ));
            }
        }
        let Some(code_challenge) = CodeChallenge::parse(challenge) else {
            return Err(refuse(
                OAuthError::InvalidRequest,
                "code_challenge is not the base64url of a SHA-256: 43 characters, no padding.",
            ));
        };
        let scopes = match parameters.get("scope").map(Scopes::parse) {
            None => client.scopes.clone(),
            Some(Some(scopes)) if client.scopes.contains_all(&scopes) => scopes,
            Some(_) => {
                return Err(refuse(
                    OAuthError::InvalidScope,
                    "scope is malformed or more than this client may ask for.",
                ));
            }
        };
        let audience = match parameters.get("resource") {
            None => audience_of(&policy.issuer, &client.project),
            Some(resource) => audience_for(policy, client, resource).ok_or_else(|| {
                refuse(OAuthError::InvalidTarget, "resource is not a project or service of this client.")
            })?,
        };
        let OpenId { nonce, prompt, max_age, login_hint } =
            read_openid(parameters).map_err(|(error, description)| refuse(error, description))?;
        Ok(Self {
            client_id: client_id.into(),
            redirect_uri: redirect_uri.into(),
            redirect_uri_was_sent: parameters.get("redirect_uri").is_some(),
            scopes,
            state: state.map(Into::into),
            code_challenge,
            audience,
            nonce,
            prompt,
            max_age,
            login_hint,
        })
    }
}

/// What OpenID Connect adds to a request.
struct OpenId {
    nonce: Option<String>,
    prompt: Prompt,
    max_age: Option<u32>,
    login_hint: Option<String>,
}

fn read_openid(parameters: &Parameters) -> Result<OpenId, (OAuthError, &'static str)> {
    use OAuthError::{InvalidRequest, RequestNotSupported, RequestUriNotSupported};
    // A request object could say something else than the request; one that is not read must not be passed over (§6.1).
    if parameters.get("request").is_some() {
        return Err((RequestNotSupported, "request is not read here: send the parameters themselves."));
    }
    if parameters.get("request_uri").is_some() {
        return Err((
            RequestUriNotSupported,
            "request_uri is not read here: send the parameters themselves.",
        ));
    }
    if parameters.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err((InvalidRequest, "response_mode must be query."));
    }
    let nonce = parameters.get("nonce");
    if nonce.is_some_and(|nonce| nonce.len() > MAX_NONCE_BYTES) {
        return Err((InvalidRequest, "nonce is longer than 512 bytes."));
    }
    let prompt = Prompt::parse(parameters.get("prompt").unwrap_or_default())
        .ok_or((InvalidRequest, "prompt must be none alone, or of login and consent."))?;
    let max_age = match parameters.get("max_age").map(str::parse::<u32>) {
        None => None,
        Some(Ok(seconds)) => Some(seconds.min(MAX_AGE_SECONDS)),
        Some(Err(_)) => return Err((InvalidRequest, "max_age must be a number of seconds.")),
    };
    // A hint is no more than that: one that cannot be an address is as good as none.
    let login_hint =
        parameters.get("login_hint").filter(|hint| hint.len() <= MAX_HINT_BYTES && hint.contains('@'));
    Ok(OpenId { nonce: nonce.map(Into::into), prompt, max_age, login_hint: login_hint.map(Into::into) })
}

/// The audience of a project's tokens.
pub fn audience_of(issuer: &str, project: &str) -> String {
    format!("{issuer}/{project}")
}

/// Client and redirect URI, or what the person is told.
fn read_client<'a>(
    policy: &'a Policy,
    parameters: &'a Parameters,
) -> Result<(&'a str, &'a Client, &'a str), &'static str> {
    if parameters.first_repeated(&["client_id", "redirect_uri"]).is_some() {
        return Err("The application sent client_id or redirect_uri more than once.");
    }
    let client_id =
        parameters.get("client_id").ok_or("The application did not say who it is: client_id is missing.")?;
    let client = policy
        .clients
        .get(client_id)
        .ok_or("The application is not registered here, or has been disabled.")?;
    let redirect_uri = match (parameters.get("redirect_uri"), client.redirect_uris.as_slice()) {
        (Some(requested), registered) => {
            if !registered.iter().any(|registered| redirect_uri::matches(registered, requested)) {
                return Err(
                    "The address that the application wants you to return to is not registered for it.",
                );
            }
            requested
        }
        (None, [only]) => only,
        (None, _) => return Err("The application did not say where to return to: redirect_uri is missing."),
    };
    Ok((client_id, client, redirect_uri))
}

/// The audience that `resource` names: the client's own project, one service of it, or the gateway's own interface.
pub fn audience_for(policy: &Policy, client: &Client, resource: &str) -> Option<String> {
    // The gateway itself, for a client that may ask for a part in running it.
    if resource == policy.issuer && client.scopes.iter().any(|scope| scope.starts_with("gateward:")) {
        return Some(resource.into());
    }
    let project = audience_of(&policy.issuer, &client.project);
    if resource == project {
        return Some(project);
    }
    let service = resource.strip_prefix(&project)?.strip_prefix('/')?;
    policy.projects.get(&client.project)?.services.contains_key(service).then(|| resource.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::sample::{self, ISSUER};

    #[test]
    fn what_openid_connect_adds_is_read_or_refused() {
        let read = |query: &str| {
            let parameters = Parameters::parse(query.as_bytes()).unwrap();
            read_openid(&parameters).map_err(|(error, _)| error.code())
        };
        let all =
            read("nonce=n&prompt=login+consent&max_age=0&login_hint=ann%40example.test&response_mode=query")
                .unwrap();
        assert_eq!(all.prompt, Prompt { none: false, login: true, consent: true });
        assert_eq!((all.nonce.as_deref(), all.max_age), (Some("n"), Some(0)));
        assert_eq!(all.login_hint.as_deref(), Some("ann@example.test"));
        assert!(read("prompt=none").unwrap().prompt.none);
        assert_eq!(read("login_hint=ann").unwrap().login_hint, None);
        assert_eq!(read("max_age=4294967295").unwrap().max_age, Some(MAX_AGE_SECONDS));
        let long = alloc::format!("nonce={}", "n".repeat(513));
        for (query, error) in [
            ("prompt=none+login", "invalid_request"),
            ("prompt=select_account", "invalid_request"),
            ("max_age=-1", "invalid_request"),
            ("max_age=soon", "invalid_request"),
            ("response_mode=fragment", "invalid_request"),
            (long.as_str(), "invalid_request"),
            ("request=a.b.c", "request_not_supported"),
            ("request_uri=https%3A%2F%2Fapp.test%2Fr", "request_uri_not_supported"),
        ] {
            assert_eq!(read(query).err(), Some(error), "{query}");
        }
    }

    #[test]
    fn only_a_client_that_may_run_the_gateway_gets_tokens_for_it() {
        let policy = sample::policy();
        let (_, client) = policy.clients.first_key_value().unwrap();
        assert_eq!(audience_for(&policy, client, ISSUER), None);
        let scopes = client.scopes.iter().chain(["gateward:projects"]).collect();
        let operator = Client { scopes, ..client.clone() };
        assert_eq!(audience_for(&policy, &operator, ISSUER).as_deref(), Some(ISSUER));
        for other in ["https://auth.test/", "https://auth.tes", "https://auth.test/v1", ""] {
            assert_eq!(audience_for(&policy, &operator, other), None, "{other}");
        }
    }
}
