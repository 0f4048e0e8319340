//! `stacks` and `memory`: what the workers of an application see inside of themselves.

use std::fmt::Write as _;
use std::process::ExitCode;

use incident::text;
use serpentry::control::{ClientError, Looked};

use super::{LookArguments, MemoryArguments, fail};
use crate::output::print;

pub(crate) fn stacks(arguments: &LookArguments) -> anyhow::Result<ExitCode> {
    show(arguments.host.client().stacks(&arguments.app), arguments.json)
}

pub(crate) fn memory(arguments: &MemoryArguments) -> anyhow::Result<ExitCode> {
    let LookArguments { app, json, host } = &arguments.look;
    if !json {
        crate::say::info(format_args!(
            "tracing the memory of {} for {} s, which makes it slower meanwhile",
            text::line(app),
            arguments.seconds
        ));
    }
    show(host.client().memory(app, arguments.seconds), *json)
}

fn show(looked: Result<Looked, ClientError>, json: bool) -> anyhow::Result<ExitCode> {
    let looked = match looked {
        Ok(looked) => looked,
        Err(error) => return fail(error),
    };
    if json {
        print(&format!("{}\n", text::json(&serde_json::to_string_pretty(&looked)?)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = String::new();
    for worker in &looked.workers {
        // Writing into a string does not fail.
        let _ = writeln!(shown, "worker {} (pid {})", worker.worker, worker.pid);
        for line in text::block(&worker.text).lines() {
            let _ = writeln!(shown, "  {line}");
        }
    }
    if shown.is_empty() {
        let _ = writeln!(shown, "{} has no worker now", text::line(&looked.app));
    }
    print(&shown)?;
    Ok(ExitCode::SUCCESS)
}
