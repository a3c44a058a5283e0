//! The inner door's binary. Everything it can do is in [`origin::cli`].

#[tokio::main]
async fn main() -> std::process::ExitCode {
    origin::cli::run().await
}
