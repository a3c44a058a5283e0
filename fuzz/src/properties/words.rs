//! The small grammars: base64url, scopes, PKCE, names and values of headers, ranges of
//! addresses. An input is a text in all of them.

use core::net::IpAddr;

use shared::{
    address_range::AddressRange,
    base64url,
    header::{is_field_value, is_reserved, reserved},
    pkce::{CodeChallenge, CodeVerifier},
    scope::Scopes,
};

/// What is read is written as it was; no spelling of a reserved name is free.
pub fn hold(input: &[u8]) {
    assert_eq!(base64url::decode(&base64url::encode(input)).as_deref(), Some(input));
    let Ok(text) = core::str::from_utf8(input) else { return };
    if let Some(bytes) = base64url::decode(text) {
        assert_eq!(base64url::encode(&bytes), text, "one spelling");
        assert_eq!(base64url::decode_array::<32>(text).is_some(), bytes.len() == 32);
    }
    scopes(text);
    if let Some(challenge) = CodeChallenge::parse(text) {
        assert_eq!(challenge.to_text(), text);
    }
    if let Some(verifier) = CodeVerifier::parse(text) {
        assert!((43..=128).contains(&text.len()) && text.is_ascii());
        let challenge = CodeChallenge::parse(&verifier.challenge().to_text()).expect("a challenge");
        assert!(challenge.is_met_by(&verifier));
        let mut other = text.to_owned();
        let last = if other.pop() == Some('a') { 'b' } else { 'a' };
        other.push(last);
        assert!(!challenge.is_met_by(&CodeVerifier::parse(&other).expect("a verifier")));
    }
    if let Some(range) = AddressRange::parse(text) {
        let written = range.to_string();
        assert_eq!(AddressRange::parse(&written), Some(range));
        let first: IpAddr =
            written.split('/').next().and_then(|first| first.parse().ok()).expect("an address");
        assert!(range.contains(first));
        assert_eq!(
            range.contains(IpAddr::from([0; 16])),
            written == "::/0" || first == IpAddr::from([0; 16])
        );
    }
    header_names(text);
    if is_field_value(text) {
        assert!(!text.contains(['\r', '\n', '\0']) && text.is_ascii());
    }
}

fn scopes(text: &str) {
    let Some(scopes) = Scopes::parse(text) else { return };
    let written = scopes.to_string();
    assert_eq!(Scopes::parse(&written).as_ref(), Some(&scopes), "{written:?}");
    assert!(is_field_value(&written), "scopes can stand in a header");
    assert!(scopes.contains_all(&scopes) && scopes.missing_from(&scopes).is_empty());
    assert!(scopes.iter().all(|scope| !scope.is_empty() && !scope.contains(' ')));
    let others: Scopes = scopes.iter().step_by(2).collect();
    let common = scopes.intersection(&others);
    assert_eq!(common, others);
    assert!(
        scopes.contains_all(&common)
            && common.missing_from(&scopes).iter().all(|scope| !others.iter().any(|one| one == scope))
    );
}

fn header_names(text: &str) {
    let is = is_reserved(text);
    for spelling in [
        text.to_ascii_uppercase(),
        text.to_ascii_lowercase(),
        text.replace('-', "_"),
        text.replace('_', "."),
        text.replace(['_', '.'], "-"),
    ] {
        assert_eq!(is_reserved(&spelling), is, "{spelling:?} for {text:?}");
    }
    assert!(is_reserved(&format!("X-Gateway-{text}")) && is_reserved(&format!("x_forwarded.{text}")));
    let all: Vec<&str> = text.split('\n').collect();
    let kept = reserved(all.iter().copied());
    assert_eq!(kept.len(), all.iter().filter(|name| is_reserved(name)).count());
}
