//! Form-urlencoded parameters and the client that they and `Authorization` claim. An input is a form; or an `Authorization` on
//! the first line and the form after it.

use std::collections::BTreeMap;

use shared::{
    client::{ASSERTION_TYPE, ClientClaim, ClientProof},
    form::{self, Parameters},
};

/// Agrees with the URL standard's parser on every form that it accepts, and never gives a value for a repeated name.
pub fn hold(input: &[u8]) {
    if let Some((authorization, form)) = super::split_line(input) {
        claim(authorization, form);
    }
    let Ok(parameters) = Parameters::parse(input) else { return };
    let mut counted: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(input) {
        let entry = counted.entry(name.into_owned()).or_default();
        *entry = (entry.0 + 1, value.into_owned());
    }
    for (name, (count, value)) in &counted {
        assert_eq!(parameters.is_repeated(name), *count > 1, "{name:?}");
        let expected = (*count == 1 && !value.is_empty()).then_some(value.as_str());
        assert_eq!(parameters.get(name), expected, "{name:?}");
        let mut encoded = String::new();
        form::encode_into(&mut encoded, value);
        assert!(encoded.is_ascii());
        assert_eq!(form::decode(encoded.as_bytes()).as_ref(), Ok(value));
    }
    for name in ["client_id", "grant_type", "code", "a"] {
        assert!(parameters.get(name).is_none() || counted.contains_key(name));
    }
}

/// Who a client says it is stands in the form or in the header, and never in both with two meanings.
fn claim(authorization: &str, form: &[u8]) {
    let Ok(parameters) = Parameters::parse(form) else { return };
    for header in [None, Some(authorization)] {
        let Ok(claim) = ClientClaim::read(header, &parameters) else { continue };
        assert!(!claim.client_id.is_empty());
        assert_eq!(claim.by_header(), header.is_some());
        if let Some(in_form) = parameters.get("client_id") {
            assert_eq!(claim.client_id, in_form);
        }
        let [secret, assertion, kind] =
            ["client_secret", "client_assertion", "client_assertion_type"].map(|name| parameters.get(name));
        match &claim.proof {
            ClientProof::Nothing => assert_eq!((secret, assertion, kind), (None, None, None)),
            ClientProof::Basic(_) => assert_eq!((secret, assertion, kind), (None, None, None)),
            ClientProof::Post(text) => {
                assert_eq!((secret, assertion, kind), (Some(text.as_str()), None, None))
            }
            ClientProof::Assertion(text) => {
                assert_eq!((secret, assertion, kind), (None, Some(text.as_str()), Some(ASSERTION_TYPE)));
            }
        }
    }
}
