//! `serpentry compare`: the laboratory on one application. What is measured and concluded is the business of `lab::compare`; here are
//! the command line, which application is meant, and what is done with the result.

mod apply;
mod arguments;
mod changes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use lab::compare::{self, CompareError, Subject, Wishes};
use lab::document::{Document, Kind};
use lab::experiment::{Options, Progress, Session, SessionError};
use lab::report;

use crate::exit::{FAILED, Usage};
use crate::laboratory::subject::{self, Found};
use crate::laboratory::{self, denied};
use crate::output::print;
use crate::say;
use serpentry::results::{self, Results, Retention};
use serpentry::stamp;

pub(crate) use arguments::CompareArguments;

pub(crate) fn run(arguments: &CompareArguments) -> anyhow::Result<ExitCode> {
    let Found { subject, file, state } =
        subject::find(&arguments.app, &arguments.file, &arguments.chdir, arguments.python.as_deref())?;
    if arguments.apply && file.is_none() {
        return Err(
            Usage("--apply changes a configuration file: give an application of one".to_owned()).into()
        );
    }
    let wishes = arguments.wishes()?;
    let before = match arguments.against.as_deref() {
        None => None,
        Some(against) => Some(earlier(against, &subject.name, &state)?),
    };
    let page = arguments.report.clone().unwrap_or_else(|| {
        let name = subject.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        PathBuf::from(format!("serpentry-compare-{name}.html"))
    });
    laboratory::check_writable(
        [Some(&page), arguments.json.as_ref()].into_iter().flatten().map(PathBuf::as_path),
    )?;
    let started = stamp::now();
    let interrupt = Arc::new(AtomicBool::new(false));
    let options = laboratory::options(arguments.seed, arguments.depth().effort(), &interrupt)?;
    let measured = {
        let (subject, wishes) = (subject.clone(), wishes);
        laboratory::attend("compare", &interrupt, move |progress| {
            measure(options, &subject, &wishes, progress)
        })?
    };
    let Measured { mut document, trouble } = match measured {
        Ok(measured) => measured,
        Err(SessionError::Journal(error)) => return Err(denied(error)),
        Err(error) => return Err(error.into()),
    };
    document.method.command = Some(laboratory::command());
    document.started = started;
    if document.interrupted.is_none() {
        keep(&document, &state);
    }
    finish(arguments, &document, before.as_ref(), &page)?;
    for trouble in &trouble {
        say::error(format_args!("{trouble}"));
    }
    if !trouble.is_empty() {
        return Ok(FAILED.into());
    }
    if let (true, Some(file), Some(recommendation)) = (arguments.apply, &file, &document.recommendation) {
        put_in_place(file, &recommendation.config)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of it, also when it ended early.
struct Measured {
    document: Document,
    trouble: Vec<String>,
}

fn measure(
    options: Options,
    subject: &Subject,
    wishes: &Wishes,
    progress: &mut dyn Progress,
) -> Result<Measured, SessionError> {
    let mut session = Session::open(options, Kind::Compare, progress)?;
    let result = compare::run(&mut session, subject, wishes);
    let interrupted = match &result {
        Err(CompareError::Session(SessionError::Interrupted)) => Some("it was interrupted".to_owned()),
        Err(error) => Some(error.to_string()),
        Ok(()) => None,
    };
    session.document.interrupted.clone_from(&interrupted);
    let (document, closed) = session.close();
    let trouble = interrupted.into_iter().chain(closed.err().map(|error| error.to_string())).collect();
    Ok(Measured { document, trouble })
}

fn finish(
    arguments: &CompareArguments,
    document: &Document,
    before: Option<&Document>,
    page: &Path,
) -> anyhow::Result<()> {
    fs::write(page, report::html(document)?).with_context(|| format!("cannot write {}", page.display()))?;
    let json = document.write()? + "\n";
    match arguments.json.as_deref() {
        Some(path) if path == Path::new("-") => return print(&json),
        Some(path) => fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?,
        None => {}
    }
    print(&report::tables(document, laboratory::style()))?;
    if let Some(before) = before {
        print(&changes::text(before, document))?;
    }
    print(&format!("\nreport: {}\n", page.display()))
}

/// For `--against last`. Without it everything else is still there.
fn keep(document: &Document, state: &Path) {
    let put = || -> anyhow::Result<()> {
        fs::create_dir_all(state)?;
        let (mut results, set_aside) = Results::open(&state.join(results::FILE), SystemTime::now())?;
        if let Some(set_aside) = set_aside {
            say::warning(format_args!(
                "results of before cannot be read ({}) and were set aside",
                set_aside.reason
            ));
        }
        results.put(document, SystemTime::now(), &Retention::default())?;
        Ok(())
    };
    if let Err(error) = put() {
        say::warning(format_args!("this result is not kept for --against last: {error:#}"));
    }
}

/// A document to compare with.
fn earlier(against: &str, subject: &str, state: &Path) -> anyhow::Result<Document> {
    if against == "last" {
        let none =
            || Usage(format!("{subject} was not compared before: there is nothing in {}", state.display()));
        let file = state.join(results::FILE);
        if !file.exists() {
            return Err(none().into());
        }
        let (results, _) = Results::open(&file, SystemTime::now())?;
        let found = results.last(&Document::new(Kind::Compare, subject))?;
        return found.map(|(_, document)| document).ok_or_else(|| none().into());
    }
    let text = fs::read(against).with_context(|| format!("cannot read {against}"))?;
    let shown = String::from_utf8_lossy(&text);
    let document = if against.ends_with(".html") { report::extract(&shown) } else { Document::read(&text) };
    document.with_context(|| format!("{against} is no result of the laboratory"))
}

fn put_in_place(file: &Path, fragment: &str) -> anyhow::Result<()> {
    if fragment.is_empty() {
        bail!("nothing is recommended, so {} stays as it is", file.display());
    }
    let changes = apply::apply(file, fragment)?;
    if changes.is_empty() {
        return print(&format!("{} says so already\n", file.display()));
    }
    print(&format!("{}:\n  {}\n", file.display(), changes.join("\n  ")))?;
    say::info(format_args!("`serpentry reload` lets a running host use it"));
    Ok(())
}
