//! Every event there is, by the aggregate it belongs to. A payload's shape never changes: a new shape is a new schema version, with a
//! step to it in [`upcast`](super::upcast).

mod authorization;
mod credential;
mod destination;
mod outbox;
mod person;
pub mod synced_key;
mod tenancy;

pub use self::authorization::*;
pub use self::credential::*;
pub use self::destination::*;
pub use self::outbox::*;
pub use self::person::*;
pub use self::tenancy::*;

/// What an event is about. Its events have one order, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// A person's account; belongs to the platform workspace.
    UserAccount,
    /// A session; belongs to the platform workspace.
    Session,
    /// A one-time code or link; belongs to the platform workspace.
    SignInChallenge,
    /// A workspace.
    Workspace,
    /// A project with its services.
    Project,
    /// An OAuth client.
    Client,
    /// A grant: consent, code, tokens and the refresh family, under one id.
    Grant,
    /// A service token, by its `jti`.
    ServiceToken,
    /// An API key or an opaque token, by its id.
    Credential,
    /// A signing key; belongs to the platform workspace.
    SigningKey,
    /// A destination of the outbox; belongs to the platform workspace.
    OutboxDestination,
    /// An API key that is made elsewhere and synced, by its id there.
    ApiKey,
}

impl Aggregate {
    /// The name in `aggregate_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserAccount => "user_account",
            Self::Session => "session",
            Self::SignInChallenge => "sign_in_challenge",
            Self::Workspace => "workspace",
            Self::Project => "project",
            Self::Client => "client",
            Self::Grant => "grant",
            Self::ServiceToken => "service_token",
            Self::Credential => "credential",
            Self::SigningKey => "signing_key",
            Self::OutboxDestination => "outbox_destination",
            Self::ApiKey => "api_key",
        }
    }
}

/// A payload, with what the log says about it.
pub trait EventPayload: serde::Serialize {
    /// What it is about.
    const AGGREGATE: Aggregate;
    /// Its name in `event_type`.
    const EVENT_TYPE: &'static str;
    /// The number of its shape.
    const SCHEMA_VERSION: i16;
}

/// Every event there is, with the number of its shape. A new module is named here.
pub(super) fn shapes() -> impl Iterator<Item = (&'static str, i16)> {
    [
        authorization::SHAPES,
        credential::SHAPES,
        destination::SHAPES,
        outbox::SHAPES,
        person::SHAPES,
        synced_key::SHAPES,
        tenancy::SHAPES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The number of an event's shape, where there is such an event.
pub(super) fn schema_version(event_type: &str) -> Option<i16> {
    shapes().find(|(name, _)| *name == event_type).map(|(_, version)| version)
}

/// Declares payloads, once in a module: `Aggregate, schema version: Name { field: type }`. A field whose type is not an
/// [`EventField`](super::field::EventField) does not compile.
macro_rules! payloads {
    ($($(#[$about:meta])* $aggregate:ident, $version:literal: $name:ident {
        $($(#[$field_about:meta])* $field:ident: $type:ty),* $(,)?
    })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type),*
        }

        impl $crate::events::EventPayload for $name {
            const AGGREGATE: $crate::events::Aggregate = $crate::events::Aggregate::$aggregate;
            const EVENT_TYPE: &'static str = stringify!($name);
            const SCHEMA_VERSION: i16 = $version;
        }

        const _: () = {
            const fn is_fit_for_the_log<T: $crate::events::field::EventField>() {}
            $(is_fit_for_the_log::<$type>();)*
        };
    )*

        /// The events of this module, each with the number of its shape.
        pub(super) const SHAPES: &[(&str, i16)] = &[$((stringify!($name), $version)),*];
    };
}

/// Declares closed sets of words, written in `snake_case`.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($(#[$word_about:meta])* $word:ident),* $(,)? })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$word_about])* $word),*
        }

        impl $crate::events::field::EventField for $name {}
    )*};
}

use {payloads, words};
