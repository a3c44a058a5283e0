//! Takes over a token that somebody else issued, by its hash. The token itself never comes here.

use shared::base64url;
use uuid::Uuid;

use super::{
    CredentialError, KeyRequest,
    create::{NewRow, insert},
};
use crate::{
    database::{Actor, Component, Database},
    events::{
        NewEvent,
        field::{Moment, Name},
        payload::OpaqueTokenImported,
    },
};

/// What is taken over.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// SHA-256 of the whole token, as it is presented.
    pub sha256: [u8; 32],
    /// The client it was issued to.
    pub client_id: Option<String>,
    /// Everything else.
    pub key: KeyRequest,
}

/// Reads a SHA-256 in hexadecimal, as `sha256sum` prints it, or in base64url without padding.
pub fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return base64url::decode_array(text);
    }
    let mut bytes = [0; 32];
    for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let is_hex = pair.iter().all(u8::is_ascii_hexdigit);
        *slot = std::str::from_utf8(pair)
            .ok()
            .filter(|_| is_hex)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())?;
    }
    Some(bytes)
}

/// Takes a token over and records it; gives its id.
pub async fn import(database: &Database, request: &ImportRequest) -> Result<Uuid, CredentialError> {
    request.key.check()?;
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let id = scope.new_id();
    let row = NewRow {
        id,
        kind: "opaque_token",
        environment: None,
        prefix: String::new(),
        sha256: request.sha256,
        client_id: request.client_id.as_deref(),
    };
    let (project_id, workspace_id, expires_at) = insert(&mut scope, &row, &request.key).await?;
    let event = OpaqueTokenImported {
        project_id,
        name: Name::of(&request.key.name),
        scopes: request.key.scopes.clone(),
        imported_by: Name::of(&request.key.created_by),
        expires_at: expires_at.map(Moment),
    };
    scope.append(NewEvent::of(workspace_id, id, &event)).await?;
    scope.commit().await?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_two_spellings() {
        let bytes = [0xab; 32];
        for text in ["ab".repeat(32), "AB".repeat(32), base64url::encode(&bytes)] {
            assert_eq!(parse_sha256(&text), Some(bytes), "{text}");
        }
        for text in
            ["", "ab", &"+b".repeat(32), &"zz".repeat(32), &"é".repeat(32), &format!("{}=", "q".repeat(43))]
        {
            assert_eq!(parse_sha256(text), None, "{text}");
        }
    }
}
