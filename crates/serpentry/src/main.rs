//! The program: reads the command line, wires the parts together, and turns what happened into an exit status.

mod check;
mod claims_command;
mod cli;
mod commands;
mod compare_command;
mod defects;
mod doctor;
mod drill;
mod exit;
mod extension;
mod family;
mod history;
mod hook;
mod host;
mod hosting;
mod init;
mod interpreter;
mod laboratory;
mod listening;
mod load;
mod load_command;
mod logs;
mod output;
mod plan_command;
mod process;
mod say;
mod serve;
mod service_manager;
mod template;
mod tenancy;
mod top;
mod units;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Jail mode comes before anything else: it must stay single-threaded and parse nothing.
    match std::env::args_os().nth(1) {
        Some(mode) if mode == jail::MODE => return exit::code(jail::enter()),
        Some(mode) if mode == jail::ROOM_MODE => return exit::code(jail::enter_room()),
        _ => {}
    }
    let cli = cli::Cli::parse();
    let result = match cli.command {
        cli::Command::Serve(arguments) => serve::run(&arguments),
        cli::Command::Host(arguments) => hosting::run(&arguments),
        cli::Command::Check(arguments) => check::run(&arguments),
        cli::Command::Doctor(arguments) => doctor::run(&arguments),
        cli::Command::Drill(arguments) => drill::run(&arguments),
        cli::Command::Logs(arguments) => logs::command::run(&arguments),
        cli::Command::Load(arguments) => load_command::run(&arguments),
        cli::Command::Compare(arguments) => compare_command::run(&arguments),
        cli::Command::Claims(arguments) => claims_command::run(&arguments),
        cli::Command::Lab(arguments) => claims_command::laboratory(&arguments),
        cli::Command::Plan(arguments) => plan_command::run(&arguments),
        cli::Command::Init(arguments) => init::run(&arguments),
        cli::Command::Status(arguments) => commands::status(&arguments),
        cli::Command::Top(arguments) => top::run(&arguments),
        cli::Command::Why(arguments) => commands::why(&arguments),
        cli::Command::Events(arguments) => commands::events(&arguments),
        cli::Command::Stacks(arguments) => commands::stacks(&arguments),
        cli::Command::Memory(arguments) => commands::memory(&arguments),
        cli::Command::Explain(arguments) => commands::explain(&arguments),
        cli::Command::Reload(arguments) => commands::reload(&arguments),
        cli::Command::Scale(arguments) => commands::scale(&arguments),
        cli::Command::Stop(arguments) => commands::stop(&arguments),
        cli::Command::Start(arguments) => commands::start(&arguments),
        cli::Command::Restart(arguments) => commands::restart(&arguments),
        cli::Command::Move(arguments) => commands::relocate(&arguments),
    };
    match result {
        Ok(status) => status,
        Err(error) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            say::error(format_args!("{error:#}"));
            exit::of(&error)
        }
    }
}
