//! Consent: a person sees who asks for what, and says yes or no. It answers an authorization request that the authorization endpoint
//! has found to be right; codes and redirects are made there. It may not widen what was asked for.

mod pending;
mod words;

pub use self::pending::PendingRequest;
pub use self::words::in_words;
