//! `serpentry plan`: what an application needs for a given traffic. The needs of its requests come from the running host, from
//! a visit to an application that is hosted for that only, or from a profile that was saved; what follows from them is the business of `lab::plan`; here are the command line, the
//! questions to the host and the text.

mod answer;
mod arguments;
mod hosted;
mod observe;
mod show;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use lab::simulate::Profile;

use crate::commands::{self, table::Style};
use crate::exit::{FAILED, Usage};
use crate::output::print;
use crate::say;

use answer::Answer;
pub(crate) use arguments::PlanArguments;
use observe::{Observed, Unobserved};

/// Largest profile that is read: 256 classes with 4,096 samples each are half of it.
const LARGEST_PROFILE: u64 = 64 * 1024 * 1024;

pub(crate) fn run(arguments: &PlanArguments) -> anyhow::Result<ExitCode> {
    let observed = match (&arguments.app, &arguments.profile) {
        (_, Some(path)) => from_file(arguments, path)?,
        (Some(app), None) => {
            let observed = if app.contains(':') {
                hosted::observed(arguments, app)?
            } else {
                observe::running(&arguments.host.client(), app, arguments.observe)
            };
            match observed {
                Ok(observed) => observed,
                Err(Unobserved::Host(error)) => return commands::fail(error),
                Err(Unobserved::Nothing(sentence)) => {
                    say::error(format_args!("{sentence}"));
                    return Ok(FAILED.into());
                }
            }
        }
        (None, None) => {
            return Err(Usage(
                "which application? serpentry plan APP --rps N, with APP as in serpentry status; or --profile FILE".into(),
            )
            .into());
        }
    };
    if let Some(path) = &arguments.save_profile {
        let text =
            serde_json::to_string_pretty(&*observed.profile).context("cannot write the profile as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let answer = Answer::of(arguments, &observed);
    print(&if arguments.json { show::json(&answer)? } else { show::text(&answer, Style::of_stdout()) })?;
    if answer.best.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    say::error(format_args!("nothing that was considered meets the goal on this machine"));
    Ok(FAILED.into())
}

fn from_file(arguments: &PlanArguments, path: &Path) -> anyhow::Result<Observed> {
    let shown = path.display();
    let length = fs::metadata(path).with_context(|| format!("cannot read the profile {shown}"))?.len();
    if length > LARGEST_PROFILE {
        return Err(Usage(format!("{shown} has {length} bytes: that is no profile")).into());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the profile {shown}"))?;
    let profile: Profile =
        serde_json::from_str(&text).map_err(|error| Usage(format!("{shown} is no profile: {error}")))?;
    profile.check().map_err(|error| Usage(format!("{shown}: {error}")))?;
    let name = arguments.app.clone().unwrap_or_else(|| shown.to_string());
    Ok(Observed {
        name,
        source: format!("the profile {shown}"),
        profile: Arc::new(profile),
        present: None,
        assumed: Vec::new(),
    })
}
