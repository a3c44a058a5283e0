//! Configuration: read from the environment once, typed, and refused whole. Every fault is named with why it is one and how to
//! mend it, all of them at once. Values that are secret have types that cannot be printed. Each subcommand has its own struct,
//! and so asks for nothing it does not need.

mod audit;
mod commands;
mod database_url;
mod destination;
mod doctor;
mod fault;
mod forward;
mod migrate;
mod reader;
mod rebuild;
mod retention;
mod secret;
mod value;
mod webhook;

pub use self::audit::{AuditConfiguration, AuditKeyConfiguration, WitnessConfiguration};
pub use self::commands::{
    ApplyConfiguration, IssuersConfiguration, ServeConfiguration, SignInLinkConfiguration,
    StatisticsConfiguration, TokenConfiguration, check,
};
pub use self::database_url::DatabaseUrl;
pub use self::destination::{
    check_destination_options, destination_url, destination_variable, nats_settings, postgrest_settings,
    private_destination_hosts, webhook_settings,
};
pub use self::doctor::DoctorConfiguration;
pub use self::fault::{Fault, Faults};
pub use self::forward::ForwardConfiguration;
pub use self::migrate::MigrateConfiguration;
pub use self::reader::Source;
pub use self::rebuild::RebuildConfiguration;
pub use self::retention::{Retention, SweepConfiguration};
pub use self::secret::{KeyBytes, SharedSecret};
pub(crate) use self::value::parse_duration;
pub use self::value::{EdgePublicKey, Issuer, Lifetimes, Listen, LogFormat, MailConfiguration};
pub use self::webhook::WebhookSecrets;
