//! The program: reads the command line, wires the parts together, and turns what happened into an exit status.

mod cli;
mod driver;
mod exit;
mod extension;
mod family;
mod interpreter;
mod process;
mod say;
mod serve;
mod template;
mod units;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Jail mode comes before anything else: it must stay single-threaded and parse nothing.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == jail::MODE) {
        return exit::code(jail::enter());
    }
    let cli = cli::Cli::parse();
    let result = match cli.command {
        cli::Command::Serve(arguments) => serve::run(&arguments),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            say::error(format_args!("{error:#}"));
            exit::of(&error)
        }
    }
}
