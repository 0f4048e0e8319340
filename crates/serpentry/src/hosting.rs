//! `serpentry host`: many applications, from a configuration file to their end.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context as _;
use router::{AccessLog, Listener, LogFormat, LogTarget};

use rustix::process::{Signal, set_parent_process_death_signal};
use serpentry::control;
use serpentry::state::State;

use crate::cli::HostArguments;
use crate::extension::Extension;
use crate::history::{History, Retention};
use crate::hook::Hooks;
use crate::host::change::{self, Source};
use crate::host::{Host, Options, spec};
use crate::logs::{self, Logs, Rotation};
use crate::tenancy::{Keeper, Pool, Settings};
use crate::{listening, load, say};

pub(crate) fn run(arguments: &HostArguments) -> anyhow::Result<ExitCode> {
    if arguments.with_parent {
        end_with_parent()?;
    }
    let file = std::path::absolute(&arguments.file).context("the configuration file")?;
    let loaded = load::load(&file, &BTreeMap::new())?;
    say::set_level(level(loaded.plan.host.log_level));
    let warnings = loaded.warnings.render(std::io::stderr().is_terminal());
    if !warnings.is_empty() {
        say::warning(format_args!("the configuration:\n{}", warnings.trim_end()));
    }
    listening::raise_descriptor_limit();
    let extension = Extension::find()?;
    let plan = &loaded.plan;
    // From here on no other host may use it.
    let state = State::claim(&plan.host.state)?;
    let listeners = listeners(plan, &loaded)?;
    let listening: Vec<String> = listeners.iter().map(Listener::describe).collect();
    let logs = Logs::start(&logs::Settings {
        directory: plan.host.state.join("logs"),
        rotation: Rotation { size: plan.host.log_size, files: plan.host.log_files },
        echo: !arguments.no_echo,
    })
    .context("cannot start the logs")?;
    let history =
        History::start(&plan.host.state, Retention::default()).context("cannot start the history")?;
    let hooks = Hooks::start(plan.host.on_incident.clone()).context("cannot start the hooks")?;
    let source = Source {
        file,
        state: plan.host.state.clone(),
        listen: plan.host.listen.clone(),
        extension: extension.clone(),
        applied: loaded.read.clone(),
        moved: BTreeMap::new(),
    };
    let keeper = Keeper::start(Settings {
        name: instance(&plan.host.state),
        state: Some(plan.host.state.clone()),
        machine: crate::host::machine(),
        pool: Pool { cpu: plan.host.pool_cpu, memory: plan.host.pool_memory },
    })?;
    let specs: Vec<_> = source.specs(&loaded, &logs, &keeper).into_iter().map(Rc::new).collect();
    let (apps, routes) = change::first(&specs, plan.host.default_app.as_deref());
    let seed = listening::seed();
    let router = router::start(router::Start {
        host: spec::of_host(plan)?,
        apps,
        routes,
        listeners,
        access_log: plan.host.access_log.as_deref().map(|target| access_log(target, plan)).transpose()?,
        seed,
    })
    .context("cannot start the router")?;
    let options = Options {
        graceful_timeout: plan.host.graceful_timeout,
        single: false,
        watch_code: false,
        watch_file: arguments.watch,
        source: Some(source),
        default_app: plan.host.default_app.clone(),
        seed,
        logs: Some(logs),
        keeper,
        history: Some(history),
        hooks: Some(hooks),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the host")?;
    runtime.block_on(async {
        let host = Host::new(router, listening.clone(), options);
        let _control =
            control::start(state.bind()?, host.orders()).context("cannot start the control interface")?;
        // Whoever reads this may ask for the status at once.
        for address in &listening {
            say::info(format_args!("listening on {address}"));
        }
        host.run(specs).await
    })
}

/// Tells this host's control groups from those of others: the same whenever a host is started on the same state.
fn instance(state: &Path) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(state.as_os_str().as_encoded_bytes());
    digest[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sockets that a service manager passed, or those of the file.
fn listeners(plan: &config::Plan, loaded: &load::Loaded) -> anyhow::Result<Vec<Listener>> {
    let passed = listening::passed()?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    let mut listeners = Vec::new();
    for address in &plan.host.listen {
        listeners.push(listening::bind(address).map_err(|error| unable_to_listen(loaded, address, &error))?);
    }
    Ok(listeners)
}

/// The configuration asks for what the operating system refuses: where in the file, and why.
fn unable_to_listen(loaded: &load::Loaded, address: &str, error: &anyhow::Error) -> anyhow::Error {
    let mut all = loaded.origins.diagnostics();
    let index = loaded.plan.host.listen.iter().position(|it| it == address).unwrap_or_default();
    let hint = "another program may use it: `ss -ltnp` shows which";
    let (place, severity) = (config::Place::Host, config::Severity::Error);
    all.push(loaded.origins.item_diagnostic(place, index, severity, format!("{error:#}"), hint));
    load::Report(all).into()
}

fn access_log(target: &Path, plan: &config::Plan) -> anyhow::Result<AccessLog> {
    let format = match plan.host.access_log_format {
        config::AccessLogFormat::Common => LogFormat::Common,
        config::AccessLogFormat::Combined => LogFormat::Combined,
        config::AccessLogFormat::Json => LogFormat::Json,
    };
    let output =
        if target == Path::new("-") { LogTarget::Stdout } else { LogTarget::File(PathBuf::from(target)) };
    AccessLog::open(output, format)
        .with_context(|| format!("cannot open the access log {}", target.display()))
}

fn level(level: config::LogLevel) -> say::Level {
    match level {
        config::LogLevel::Error => say::Level::Error,
        config::LogLevel::Warning => say::Level::Warning,
        config::LogLevel::Info => say::Level::Info,
        config::LogLevel::Debug => say::Level::Debug,
    }
}

/// Whoever started us must not leave us behind, however it ends.
fn end_with_parent() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot end with the parent")
}
