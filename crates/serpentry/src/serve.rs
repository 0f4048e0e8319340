//! `serpentry serve`: one application, from its command line to its end.
//!
//! It is a host of one application, without a file and without a state directory: what the command line does not set is as in
//! a configuration file that says nothing.

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use config::Named;
use router::{AccessLog, HostSettings, Listener, LogFormat, LogTarget};

use crate::cli::{self, Concurrency, ServeArguments};
use crate::exit::Usage;
use crate::extension::Extension;
use crate::host::spec::{self, Spec};
use crate::host::{Host, Options, change};
use crate::process::Output;
use crate::tenancy::{Keeper, Pool, Settings, UNNAMED};
use crate::{interpreter, listening, say};

/// Room for a request head on the wire to the worker.
const LARGEST_HEADER: u64 = 128 * 1024;

/// The application's name where one is needed: nobody sees it.
const NAME: &str = "app";

pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    say::set_level(arguments.log_level);
    check(arguments)?;
    listening::raise_descriptor_limit();
    let directory = std::path::absolute(&arguments.chdir).context("--chdir")?;
    if !directory.is_dir() {
        bail!(Usage(format!("the application's directory {} does not exist", directory.display())));
    }
    let interpreter = interpreter::find(arguments.python.as_deref(), &directory)?;
    let extension = Extension::find()?;
    let listeners = listeners(arguments)?;
    let access_log =
        arguments.access_log.as_deref().map(|target| open_log(target, arguments.log_format)).transpose()?;
    let listening: Vec<String> = listeners.iter().map(Listener::describe).collect();
    for address in &listening {
        say::info(format_args!("listening on {address}"));
    }

    let app = application(arguments, &directory)?;
    let keeper = Keeper::start(Settings {
        // Several can run at a time.
        name: format!("{UNNAMED}{}", std::process::id()),
        state: None,
        machine: crate::host::machine(),
        pool: Pool::default(),
    })?;
    let mut spec =
        spec::of_app(&app, interpreter, &extension, Output::Inherit, &keeper, std::sync::Arc::default());
    spec.router.root_path.clone_from(&arguments.root_path);
    // While developing, an application that does not start is waited for: the next change may mend it.
    spec.supervisor.give_up_on_first_boot_failure = !arguments.reload;
    let seed = listening::seed();
    let settings = host_settings(arguments, &spec);
    let specs = vec![Rc::new(spec)];
    let (apps, routes) = change::first(&specs, Some(NAME));
    let router = router::start(router::Start { host: settings, apps, routes, listeners, access_log, seed })
        .context("cannot start the router")?;
    let options = Options {
        graceful_timeout: arguments.graceful_timeout,
        single: true,
        watch_code: arguments.reload,
        watch_file: false,
        source: None,
        default_app: Some(NAME.to_owned()),
        seed,
        logs: None,
        keeper,
        history: None,
        hooks: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the host")?;
    runtime.block_on(Host::new(router, listening, options).run(specs))
}

/// Combinations that clap cannot refuse.
fn check(arguments: &ServeArguments) -> anyhow::Result<()> {
    let refuse = |text: &str| bail!(Usage(text.to_owned()));
    if arguments.app.is_empty() || arguments.app.starts_with(':') {
        return refuse("the application must look like module:attribute");
    }
    if arguments.threads > 1 && matches!(arguments.concurrency, Concurrency::Sync | Concurrency::Async) {
        return refuse("--threads above 1 needs --concurrency threads");
    }
    if arguments.max_header > LARGEST_HEADER || arguments.max_header < 1024 {
        return refuse("--max-header must be between 1KiB and 128KiB");
    }
    if arguments.connections == 0 {
        return refuse("--connections must be at least 1");
    }
    Ok(())
}

/// In this order: `--bind`, the sockets of a service manager, `PORT`, the default.
fn listeners(arguments: &ServeArguments) -> anyhow::Result<Vec<Listener>> {
    if !arguments.bind.is_empty() {
        return arguments.bind.iter().map(|address| listening::bind(address)).collect();
    }
    let passed = listening::passed()?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    // The convention of Heroku and those who follow it: a port in the environment means all interfaces.
    let address = match std::env::var("PORT") {
        Ok(port) if !port.is_empty() => format!("0.0.0.0:{port}"),
        _ => "127.0.0.1:8000".to_owned(),
    };
    Ok(vec![listening::bind(&address)?])
}

fn open_log(target: &Path, format: cli::LogFormat) -> anyhow::Result<AccessLog> {
    let format = match format {
        cli::LogFormat::Common => LogFormat::Common,
        cli::LogFormat::Combined => LogFormat::Combined,
        cli::LogFormat::Json => LogFormat::Json,
    };
    let output =
        if target == Path::new("-") { LogTarget::Stdout } else { LogTarget::File(target.to_owned()) };
    AccessLog::open(output, format)
        .with_context(|| format!("cannot open the access log {}", target.display()))
}

/// The application of an empty file, with what the command line says.
fn application(arguments: &ServeArguments, directory: &Path) -> anyhow::Result<config::App> {
    let environment =
        config::Environment { directory: directory.to_owned(), ..config::Environment::default() };
    // The defaults of some limits depend on the tenancy.
    let tenancy = named::<config::Tenancy>(&arguments.tenancy)?;
    let empty = format!("[apps.{NAME}]\napp = \"module\"\ntenancy = \"{tenancy}\"\n");
    let resolved = config::load(empty.as_bytes(), "the command line", &environment);
    let Some(mut app) = resolved.ok().and_then(|mut resolved| resolved.plan.apps.pop()) else {
        bail!("an empty configuration is refused; this is a defect of serpentry");
    };
    app.app.clone_from(&arguments.app);
    app.factory = arguments.factory;
    app.interface = named(&arguments.interface)?;
    app.concurrency = named(&arguments.concurrency)?;
    app.threads = arguments.threads.into();
    app.lifespan = named(&arguments.lifespan)?;
    app.event_loop = named(&arguments.event_loop)?;
    app.workers.min = arguments.workers.into();
    app.workers.max = arguments.workers.into();
    app.preload = arguments.preload;
    app.env.clone_from(&arguments.env);
    app.max_requests = Some(arguments.max_requests).filter(|requests| *requests > 0);
    app.max_requests_jitter = arguments.max_requests_jitter;
    app.start_timeout = arguments.start_timeout;
    app.graceful_timeout = arguments.graceful_timeout;
    let limits = &mut app.limits;
    limits.cpu = arguments.cpu.or(limits.cpu);
    limits.memory = arguments.memory.or(limits.memory);
    limits.connections = arguments.connections;
    limits.queue = arguments.queue;
    limits.queue_timeout = arguments.queue_timeout;
    limits.request_timeout = Some(arguments.timeout).filter(|timeout| !timeout.is_zero());
    limits.header_timeout = arguments.header_timeout;
    limits.body_timeout = arguments.body_timeout;
    limits.keepalive_timeout = arguments.keep_alive;
    limits.header_size = arguments.max_header;
    limits.body_size = arguments.max_body;
    Ok(app)
}

/// The same word on the command line and in the file.
fn named<T: Named>(value: &impl ValueEnum) -> anyhow::Result<T> {
    let value = value.to_possible_value();
    let word = value.as_ref().map_or("", |value| value.get_name());
    T::from_name(word).with_context(|| format!("{word} is no setting; this is a defect of serpentry"))
}

fn host_settings(arguments: &ServeArguments, spec: &Spec) -> HostSettings {
    HostSettings {
        connections: arguments.connections,
        header_timeout: arguments.header_timeout,
        keepalive_timeout: arguments.keep_alive,
        body_timeout: arguments.body_timeout,
        header_size: spec.router.header_size,
        trusted_proxies: arguments.forwarded_allow_ips.clone(),
    }
}
