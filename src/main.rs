//! The `switchyard` command.

mod command;

use std::process::ExitCode;

use clap::Parser;

use command::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted gateway that makes many model providers look like one that never fails.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: command::Serve,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.command.unwrap_or(Command::Serve(cli.serve)).run()
}
