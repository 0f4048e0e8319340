//! An application without a running host: it is hosted, by the means of `compare`, for as long as it takes to see what its
//! requests need.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::anyhow;
use lab::compare::{self, CompareError, Depth, Subject, Wishes};
use lab::document::Kind;
use lab::experiment::{Options, Progress, Session, SessionError};
use serpentry::control::Client;

use super::arguments::PlanArguments;
use super::observe::{self, Observed, Unobserved};
use crate::laboratory::{self, denied, subject};

/// `app` is `module:attribute`.
///
/// # Errors
/// It cannot be hosted, or has no pages.
pub(super) fn observed(arguments: &PlanArguments, app: &str) -> anyhow::Result<Result<Observed, Unobserved>> {
    let found = subject::find(app, Path::new(""), &arguments.chdir, arguments.python.as_deref())?;
    let targets = arguments.url.iter().map(|url| (url.clone(), 1.0)).collect();
    let wishes = Wishes { targets, ..Wishes::default() };
    let interrupt = Arc::new(AtomicBool::new(false));
    let options = laboratory::options(1, Depth::Normal.effort(), &interrupt)?;
    let measured = laboratory::attend("plan", &interrupt, move |progress| {
        visit(options, &found.subject, &wishes, progress)
    })?;
    match measured {
        Ok(observed) => Ok(observed),
        Err(CompareError::Session(SessionError::Journal(error))) => Err(denied(error)),
        Err(error) => Err(anyhow!(error)),
    }
}

fn visit(
    options: Options,
    subject: &Subject,
    wishes: &Wishes,
    progress: &mut dyn Progress,
) -> Result<Result<Observed, Unobserved>, CompareError> {
    let mut session = Session::open(options, Kind::Compare, progress)?;
    let visited = compare::visit(&mut session, subject, wishes);
    let observed = visited.map(|visited| {
        let found = observe::running(&Client::new(&visited.state), visited.app, Duration::ZERO);
        found.map(|found| found.visited(&subject.name, &visited))
    });
    let (_, closed) = session.close();
    let observed = observed?;
    closed?;
    Ok(observed)
}
