//! Clients.

use std::collections::HashSet;

use shared::redirect_uri;

use super::super::{ClientDeclaration, file};
use super::Rules;

/// Redirect URIs of a client, at most.
const REDIRECT_URIS: usize = 32;

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
        if !(1..=REDIRECT_URIS).contains(&client.redirect_uris.len()) {
            self.at("redirect_uris", |rules| {
                rules.fault(format!("a client has 1 to {REDIRECT_URIS} redirect URIs"));
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
            confidential: client.confidential,
        }
    }
}
