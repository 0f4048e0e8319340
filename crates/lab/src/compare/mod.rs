//! The laboratory on one application: what it spends its time with, how it grows, what neighbours do to it, and what follows.
//!
//! The application is a copy of the user's: the same code, interpreter, directory and environment, started by a host of the
//! laboratory's own beside whatever serves it; nothing is sent to the one that serves. Only GET is sent, and only to pages that
//! changed no file of the application when they were tried.
//!
//! | step | file | gives |
//! |---|---|---|
//! | which pages may be asked for | `survey.rs` (`fetch.rs`, `links.rs`, `routes_app.py`) | the mix |
//! | what each spends its time with | `endpoints.rs` | classes |
//! | how each model grows | `ladder.rs` | throughput and memory against concurrency |
//! | which model | `models.rs` | pairs of models, interleaved |
//! | which tenancy | `tenancy.rs` | shared against isolated, quiet and noisy |
//! | memory and starting | `growth.rs`, `cold.rs` | leak, cold start |
//! | limits, alone and together | `limits/` | what a quota, a limit of memory and more workers do to each other |
//! | what a lost worker looks like, and what more slots give | `failure.rs` | transparency and scaling, in both tenancies |
//! | so what | `conclude.rs` | inputs of `crate::decide` |
//!
//! `visit.rs` is for plans: the first step, and then some requests at a low rate.

mod cold;
mod conclude;
mod endpoints;
mod failure;
mod fetch;
mod growth;
mod ladder;
mod limits;
mod links;
mod models;
mod survey;
mod tenancy;
mod visit;

pub use visit::{Visited, visit};

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::document::{Endpoint, fingerprint};
use crate::experiment::{Effort, Load, Rate, Session, SessionError};
use crate::host::{AppPlan, HostError, HostPlan};
use survey::{Site, Survey, Target};

/// Name of the copy in the laboratory's host.
const SUBJECT: &str = "subject";
/// The application that says the subject's routes.
const ROUTES: &str = "routes";
const ROUTES_APP: &str = include_str!("routes_app.py");
/// Of loops of known work: tenants that take a core each.
const NEIGHBOURS: [&str; 2] = ["neighbour-1", "neighbour-2"];
/// For the application that says routes: it imports the subject.
const IMPORTING: Duration = Duration::from_secs(60);

/// What is compared.
#[derive(Debug, Clone)]
pub struct Subject {
    /// As the user calls it.
    pub name: String,
    /// Without tenancy, concurrency, workers, threads and limits of CPU and memory: those are what is found out.
    pub plan: AppPlan,
    /// The attribute is called to get the application.
    pub factory: bool,
    /// Directories whose files no page may change.
    pub watched: Vec<PathBuf>,
    /// Of the application as configured; where the recommendation says nothing else, it stays.
    pub memory_limit: Option<u64>,
}

/// How it is to be compared.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    pub depth: Depth,
    /// Pages with weights; none: find them.
    pub targets: Vec<(String, f64)>,
    /// Requests per second that are expected; none: what half of a core does.
    pub rate: Option<f64>,
    /// p95 that must be kept to.
    pub p95: Option<Duration>,
    /// Per month, of a core and of a GiB.
    pub prices: Option<(f64, f64)>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// About a minute for a small application.
    Quick,
    /// Five to six.
    #[default]
    Normal,
    Thorough,
}

impl Depth {
    /// Six pairs are the fewest that can be conclusive.
    #[must_use]
    pub fn effort(self) -> Effort {
        match self {
            Depth::Quick => Effort {
                block: Duration::from_millis(500),
                discard: Duration::from_millis(150),
                warm_up: Duration::from_millis(150),
                pairs: 6,
                control: 2,
            },
            Depth::Normal => Effort::NORMAL,
            Depth::Thorough => Effort::THOROUGH,
        }
    }

    fn rungs(self) -> &'static [usize] {
        match self {
            Depth::Quick => &[1, 2, 4, 8, 16, 32],
            Depth::Normal => &[1, 2, 4, 8, 16, 32, 64],
            Depth::Thorough => &[1, 2, 4, 8, 16, 32, 64, 128],
        }
    }

    fn rung(self) -> Duration {
        Duration::from_millis(match self {
            Depth::Quick => 400,
            Depth::Normal => 1_500,
            Depth::Thorough => 3_000,
        })
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("{app} does not start, so there is nothing to compare: {why}")]
    Boot { app: String, why: String },
    #[error("{app} has no page that can be measured; {reasons}; name pages with --url")]
    NoPages { app: String, reasons: String },
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<HostError> for CompareError {
    fn from(error: HostError) -> Self {
        CompareError::Session(error.into())
    }
}

/// Everything that is known on the way, before it is concluded from.
#[derive(Debug, Default)]
struct Known {
    asynchronous: bool,
    survey: Survey,
    endpoints: Vec<Endpoint>,
    /// Processor seconds of a request of the mix: in the model to go on with, under load, once that was measured; of each page alone
    /// before that.
    cpu_seconds: f64,
    /// And seconds that it waits for something other than a processor, if that is known.
    wait_seconds: Option<f64>,
    /// Resident bytes of one worker that has served.
    worker_bytes: Option<u64>,
    models: Vec<models::Measured>,
    tenancy: Option<tenancy::Measured>,
    /// Shared and isolated.
    failures: [Option<failure::Measured>; 2],
}

/// Run all of it. The results are in the session's document, also when it ends early.
///
/// # Errors
/// The application does not start, has no page to ask for, or the session cannot go on.
pub fn run(session: &mut Session<'_>, subject: &Subject, wishes: &Wishes) -> Result<(), CompareError> {
    session.document.subject.clone_from(&subject.name);
    let mut known = Known::default();
    session.progress.part("which pages can be asked for");
    known.survey = find_pages(session, subject, wishes, &mut known.asynchronous)?;
    describe(session, &known.survey);
    let plan = format!(
        "{:?} {:?} {:?} {}",
        session.document.method.mix, wishes, session.options.effort, session.options.seed
    );
    session.document.plan_hash = fingerprint(&plan);
    session.progress.part("what pages spend their time with");
    endpoints::measure(session, wishes, &mut known)?;
    session.progress.part("memory while it serves");
    growth::measure(session, wishes, &mut known)?;
    session.progress.part("starting");
    cold::measure(session, subject)?;
    session.progress.part("how each model grows");
    models::measure(session, subject, wishes, &mut known)?;
    session.progress.part("shared against isolated");
    tenancy::measure(session, subject, wishes, &mut known)?;
    session.progress.part("limits, alone and together");
    limits::measure(session, wishes, &known)?;
    session.progress.part("a worker is lost, and workers are added");
    failure::measure(session, wishes, &mut known)?;
    conclude::all(session, subject, wishes, &known);
    Ok(())
}

/// The copy, in one worker.
fn copy(subject: &Subject) -> AppPlan {
    subject.plan.clone().set("workers", 1).set("tenancy", "shared")
}

fn find_pages(
    session: &mut Session<'_>,
    subject: &Subject,
    wishes: &Wishes,
    asynchronous: &mut bool,
) -> Result<Survey, CompareError> {
    let mut host = HostPlan::default().with(SUBJECT, copy(subject));
    if wishes.targets.is_empty() {
        host = host.with(ROUTES, routes_plan(session, subject)?);
    }
    start(session, subject, host)?;
    let running = session.host()?;
    *asynchronous = running.app(SUBJECT)?.concurrency == "async";
    let address = running.address();
    let authority = HostPlan::authority(SUBJECT);
    let site = Site { address, authority: &authority, directories: &subject.watched };
    let survey = if wishes.targets.is_empty() {
        let routes = ask_routes(session, address);
        survey::discover(&site, &routes)
    } else {
        survey::named(&site, &wishes.targets)
    };
    if survey.targets.is_empty() {
        let reasons = survey.reasons().join("; ");
        return Err(CompareError::NoPages { app: subject.name.clone(), reasons });
    }
    Ok(survey)
}

/// A host in which the subject does not start is not the laboratory's failure.
fn start(session: &mut Session<'_>, subject: &Subject, host: HostPlan) -> Result<(), CompareError> {
    session.start(host).map_err(|error| match error {
        SessionError::Host(HostError::App { app, why }) if app == SUBJECT => {
            CompareError::Boot { app: subject.name.clone(), why }
        }
        other => other.into(),
    })
}

/// The same interpreter, directory and environment, and another application that imports it.
fn routes_plan(session: &Session<'_>, subject: &Subject) -> Result<AppPlan, CompareError> {
    let directory = session.directory().join("routes");
    let write = || {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("lab_routes_app.py"), ROUTES_APP)
    };
    write().map_err(SessionError::io("write the application that says routes"))?;
    let mut plan = subject.plan.clone();
    plan.app = "lab_routes_app:app".to_owned();
    let env = plan.keys.entry("env".to_owned()).or_insert_with(|| serde_json::json!({}));
    if let Some(env) = env.as_object_mut() {
        let before = env.get("PYTHONPATH").and_then(|path| path.as_str()).map(|path| format!(":{path}"));
        let path = format!("{}{}", directory.display(), before.unwrap_or_default());
        env.insert("PYTHONPATH".to_owned(), path.into());
        env.insert("LAB_APP".to_owned(), subject.plan.app.as_str().into());
        env.insert("LAB_FACTORY".to_owned(), u8::from(subject.factory).to_string().into());
    }
    for key in ["factory", "interface", "lifespan", "preload"] {
        plan.keys.remove(key);
    }
    Ok(plan.set("workers", 1).set("tenancy", "shared").set("concurrency", "sync"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Routes {
    framework: Option<String>,
    routes: Vec<String>,
    error: Option<String>,
}

/// Routes without parameters; none when the framework is not known.
fn ask_routes(session: &mut Session<'_>, address: std::net::SocketAddr) -> Vec<String> {
    let page = fetch::get(address, &HostPlan::authority(ROUTES), "/", IMPORTING);
    let said: Routes =
        page.ok().and_then(|page| serde_json::from_slice(&page.content).ok()).unwrap_or_default();
    let note = match (&said.framework, &said.error) {
        (Some(framework), _) => format!("{framework} says {} routes without parameters", said.routes.len()),
        (None, Some(error)) => {
            let last = error.trim_end().lines().last().unwrap_or_default();
            format!("the routes could not be asked for ({last}); links of its pages are followed")
        }
        (None, None) => "its framework is not known; links of its pages are followed".to_owned(),
    };
    session.document.notes.push(note);
    said.routes
}

/// What is asked for and what is not goes into the document.
fn describe(session: &mut Session<'_>, survey: &Survey) {
    let total: f64 = survey.targets.iter().map(|target| target.weight).sum();
    let share = |target: &Target| (target.target.clone(), target.weight / total);
    session.document.method.mix = survey.targets.iter().map(share).collect();
    let refused = survey.reasons().into_iter().map(|reason| format!("not asked for: {reason}"));
    session.document.notes.extend(refused);
}

/// The mix at some pace.
fn load(survey: &Survey, rate: Rate) -> Load {
    let targets = survey.targets.iter().map(|target| (target.target.clone(), target.weight));
    Load { targets: targets.collect(), rate }
}
