//! A mock provider as a program: prints its address and answers until it is stopped.

use std::io::Write as _;
use std::process::ExitCode;

use switchyard_chaos::mock::{Dialect, MockOptions, MockProvider};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1).cloned()
    };
    let dialect = match value("--dialect").as_deref() {
        None | Some("openai") => Dialect::OpenAi,
        Some("anthropic") => Dialect::Anthropic,
        Some(other) => {
            let _ = writeln!(
                std::io::stderr(),
                "unknown dialect {other:?}; use openai or anthropic"
            );
            return ExitCode::from(2);
        }
    };
    let port = value("--port")
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    let options = MockOptions {
        port,
        ..MockOptions::for_dialect(dialect)
    };
    match MockProvider::start(options).await {
        Ok(mock) => {
            let _ = writeln!(std::io::stdout(), "url={}", mock.base_url());
            std::future::pending::<()>().await;
            drop(mock);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "port {port} cannot be used: {error}");
            ExitCode::FAILURE
        }
    }
}
