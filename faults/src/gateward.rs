//! The real `gateward` with failpoints, for the fault tests: the same commands, built with the feature.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    origin::cli::run().await
}
