//! The commands of `gateward`: one file each. They read arguments and configuration, call a capability and print; no rule lives
//! here. Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 it failed, 2 wrong usage or configuration, 3 two things
//! that were compared differ.

mod api_key;
mod apply;
mod audit;
mod check;
mod destination;
mod doctor;
mod edges;
mod failure;
mod forward;
mod issuers;
mod logging;
mod migrate;
mod outbox;
mod output;
mod person;
mod project;
mod rebuild;
mod secrets;
mod serve;
mod sign_in_link;
mod sweep;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::failure::Failure;
use crate::configuration::Source;

/// Gateward, the auth gateway: the origin and its tools. Configuration comes from the environment.
#[derive(Parser)]
#[command(name = "gateward", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    SignInLink(sign_in_link::Arguments),
    Migrate(migrate::Arguments),
    Forward(forward::Arguments),
    Apply(apply::Arguments),
    Project(project::Arguments),
    Token(token::Arguments),
    ApiKey(api_key::Arguments),
    Issuers(issuers::Arguments),
    Outbox(outbox::Arguments),
    Destination(destination::Arguments),
    Audit(audit::Arguments),
    Sweep(sweep::Arguments),
    Person(person::Arguments),
    Edges(edges::Arguments),
    Doctor(doctor::Arguments),
    Check(check::Arguments),
    Secrets(secrets::Arguments),
}

/// Runs the command that the arguments name.
pub async fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let source = Source::environment();
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments, &source).await,
        Command::SignInLink(arguments) => sign_in_link::run(&arguments, &source).await,
        Command::Migrate(arguments) => migrate::run(&arguments, &source).await,
        Command::Forward(arguments) => forward::run(&arguments, &source).await,
        Command::Apply(arguments) => apply::run(&arguments, &source).await,
        Command::Project(arguments) => project::run(&arguments, &source).await,
        Command::Token(arguments) => token::run(&arguments, &source).await,
        Command::ApiKey(arguments) => api_key::run(&arguments, &source).await,
        Command::Issuers(arguments) => issuers::run(&arguments, &source).await,
        Command::Destination(arguments) => destination::run(&arguments, &source).await,
        Command::Outbox(arguments) => outbox::run(&arguments, &source).await,
        Command::Sweep(arguments) => sweep::run(&arguments, &source).await,
        Command::Person(arguments) => person::run(&arguments, &source).await,
        Command::Audit(arguments) => audit::run(&arguments, &source).await,
        Command::Edges(arguments) => edges::run(&arguments, &source).await,
        Command::Doctor(arguments) => doctor::run(&arguments, &source).await,
        Command::Check(arguments) => check::run(&arguments, &source),
        Command::Secrets(arguments) => secrets::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("gateward: {failure}");
            failure.exit_code()
        }
    }
}
