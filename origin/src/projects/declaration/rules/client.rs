//! Clients.

use std::collections::{BTreeSet, HashSet};

use shared::client::{AuthMethod, GrantType};
use shared::redirect_uri;

use super::super::{ClientDeclaration, file};
use super::Rules;
use crate::oauth::ClientKey;

/// Redirect URIs of a client, at most.
const REDIRECT_URIS: usize = 32;
/// Keys of a client, at most: more than a rotation needs.
const KEYS: usize = 8;

impl Rules {
    pub(super) fn client(&mut self, client: file::Client, seen: &mut HashSet<String>) -> ClientDeclaration {
        let client_id = client.id;
        self.at("client_id", |rules| {
            let fits = (1..=128).contains(&client_id.len())
                && client_id.starts_with(|first: char| first.is_ascii_alphanumeric())
                && client_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
            if !fits {
                rules.fault("a client_id has 1 to 128 letters, digits and ._~-");
            }
            if !seen.insert(client_id.clone()) {
                rules.fault(format!("{client_id:?} is there twice"));
            }
        });
        let (confidential, auth_method) =
            self.authentication(client.confidential, client.token_endpoint_auth_method);
        let grant_types = self.grant_types(client.grant_types, confidential);
        let takes_codes = grant_types.contains(&GrantType::AuthorizationCode);
        if client.redirect_uris.len() > REDIRECT_URIS || (takes_codes && client.redirect_uris.is_empty()) {
            self.at("redirect_uris", |rules| {
                rules.fault(format!("a client of authorization_code has 1 to {REDIRECT_URIS} redirect URIs"));
            });
        }
        let redirect_uris = self.each("redirect_uris", client.redirect_uris, |rules, uri| {
            if !redirect_uri::may_be_registered(&uri) {
                rules.fault(format!(
                    "{uri:?} may not be registered: use https, http on 127.0.0.1 or [::1], or a private scheme with a dot, \
                     without fragment or user (RFC 8252, RFC 9700)"
                ));
            }
            uri
        });
        ClientDeclaration {
            name: self.name(client.name, &client_id),
            client_id,
            project: client.project,
            redirect_uris,
            scopes: self.scopes(client.scopes),
            origins: self.origins(client.origins, false),
            confidential,
            auth_method,
            grant_types,
            keys: self.keys(client.jwks, auth_method),
        }
    }

    /// Whether and how the client authenticates; each of the two says something of the other.
    fn authentication(
        &mut self,
        confidential: Option<bool>,
        method: Option<String>,
    ) -> (bool, Option<AuthMethod>) {
        let Some(name) = method else { return (confidential.unwrap_or_default(), None) };
        self.at("token_endpoint_auth_method", |rules| {
            let Some(method) = AuthMethod::of_name(&name) else {
                rules.fault(format!(
                    "{name:?} is none of {}",
                    AuthMethod::ALL.map(AuthMethod::name).join(", ")
                ));
                return (confidential.unwrap_or_default(), None);
            };
            let authenticates = method != AuthMethod::None;
            if confidential.is_some_and(|said| said != authenticates) {
                rules.fault(format!("{name} and confidential = {} contradict each other", !authenticates));
            }
            (authenticates, Some(method))
        })
    }

    fn grant_types(&mut self, names: Option<Vec<String>>, confidential: bool) -> Vec<GrantType> {
        let Some(names) = names else { return GrantType::DEFAULT.to_vec() };
        self.at("grant_types", |rules| {
            let mut grant_types = BTreeSet::new();
            for name in &names {
                match GrantType::of_name(name) {
                    Some(grant_type) => {
                        grant_types.insert(grant_type);
                    }
                    None => rules.fault(format!(
                        "{name:?} is none of {}",
                        GrantType::ALL.map(GrantType::name).join(", ")
                    )),
                }
            }
            if names.is_empty() {
                rules.fault("a client without a grant type can get no token; name one, or leave this out");
            }
            if grant_types.contains(&GrantType::ClientCredentials) && !confidential {
                rules.fault(
                    "client_credentials needs a client that authenticates: say token_endpoint_auth_method",
                );
            }
            if grant_types.contains(&GrantType::RefreshToken)
                && !grant_types.contains(&GrantType::AuthorizationCode)
            {
                rules.fault("refresh_token comes of authorization_code; name both, or neither");
            }
            grant_types.into_iter().collect()
        })
    }

    fn keys(&mut self, set: Option<file::KeySet>, method: Option<AuthMethod>) -> Vec<ClientKey> {
        let needs_keys = method == Some(AuthMethod::PrivateKeyJwt);
        if needs_keys != set.is_some() {
            self.at("jwks", |rules| {
                rules.fault("private_key_jwt needs the client's public keys, and nothing else does");
            });
        }
        let Some(set) = set else { return Vec::new() };
        self.at("jwks", |rules| {
            if !(1..=KEYS).contains(&set.keys.len()) {
                rules.fault(format!("a client has 1 to {KEYS} keys"));
            }
            let is_one = set.keys.len() == 1;
            let mut kids = HashSet::new();
            let keys = rules.each("keys", set.keys, |rules, jwk| match ClientKey::read(jwk) {
                Ok(key) => {
                    let has_name = match &key.kid {
                        Some(kid) => kids.insert(kid.clone()),
                        None => is_one,
                    };
                    if !has_name {
                        rules.fault("several keys are told apart by their kid: give each its own");
                    }
                    Some(key)
                }
                Err(fault) => {
                    rules.fault(fault.to_string());
                    None
                }
            });
            keys.into_iter().flatten().collect()
        })
    }
}
