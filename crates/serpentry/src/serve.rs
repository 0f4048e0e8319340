//! `serpentry serve`: one application, from its command line to its end.

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use router::{AccessLog, Listener, LogFormat, LogTarget};
use serde_json::json;

use crate::cli::{self, Concurrency, ServeArguments};
use crate::driver::{self, Driver};
use crate::exit::Usage;
use crate::extension::Extension;
use crate::process::Template;
use crate::template::Preload;
use crate::{interpreter, say};

/// How long an interrupted request may take to stop before its worker is given up.
const INTERRUPT_GRACE: Duration = Duration::from_secs(2);

/// Requests at a time in one event loop.
const ASYNC_SLOTS: u32 = 1000;

/// Largest WebSocket message.
const MESSAGE_SIZE: usize = 16 * 1024 * 1024;

/// Room for a request head on the wire to the worker.
const LARGEST_HEADER: u64 = 128 * 1024;

pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    say::set_level(arguments.log_level);
    check(arguments)?;
    raise_descriptor_limit();
    let directory = std::path::absolute(&arguments.chdir).context("--chdir")?;
    if !directory.is_dir() {
        bail!(Usage(format!("the application's directory {} does not exist", directory.display())));
    }
    let interpreter = interpreter::find(arguments.python.as_deref(), &directory)?;
    let extension = Extension::find()?;
    let listeners =
        addresses(arguments).iter().map(|address| bind(address)).collect::<anyhow::Result<Vec<_>>>()?;
    let access_log =
        arguments.access_log.as_deref().map(|target| open_log(target, arguments.log_format)).transpose()?;
    for listener in &listeners {
        say::info(format_args!("listening on {}", listener.describe()));
    }

    let template = Template {
        interpreter,
        extension,
        directory,
        environment: arguments.env.clone(),
        settings: worker_settings(arguments),
        preload: arguments.preload.then(|| Rc::new(Preload::new(arguments.start_timeout))),
    };
    let seed = seed();
    let router =
        router::start(router::Start { settings: router_settings(arguments)?, listeners, access_log, seed })
            .context("cannot start the router")?;
    let supervisor = supervisor::Supervisor::new(supervisor_settings(arguments), seed);
    let options = driver::Options { graceful_timeout: arguments.graceful_timeout, watch: arguments.reload };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("cannot start the supervisor")?;
    runtime.block_on(Driver::new(supervisor, router, template, options).run())
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

/// A host of thousands of connections needs as many descriptors; the hard limit is what we are allowed.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        say::debug(format_args!("the limit of open files cannot be raised"));
    }
}

fn addresses(arguments: &ServeArguments) -> Vec<String> {
    if !arguments.bind.is_empty() {
        return arguments.bind.clone();
    }
    // The convention of Heroku and those who follow it: a port in the environment means all interfaces.
    match std::env::var("PORT") {
        Ok(port) if !port.is_empty() => vec![format!("0.0.0.0:{port}")],
        _ => vec!["127.0.0.1:8000".to_owned()],
    }
}

fn bind(address: &str) -> anyhow::Result<Listener> {
    let context = || format!("cannot listen on {address}");
    if let Some(path) = address.strip_prefix("unix:") {
        return Listener::unix(Path::new(path)).with_context(context);
    }
    if let Some(number) = address.strip_prefix("fd://") {
        let fd = number.parse().map_err(|_| Usage(format!("{address}: fd:// needs a number")))?;
        return Ok(Listener::Tcp(jail::listener_from_fd(fd)?));
    }
    // ":8000" means all interfaces, "example.org" alone port 8000.
    let bare_ipv6 = address.matches(':').count() > 1 && !address.starts_with('[');
    let full = match address.rsplit_once(':').filter(|_| !bare_ipv6) {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => address.to_owned(),
        _ if address.contains(':') && !address.starts_with('[') => {
            bail!(Usage(format!(
                "{address}: an address looks like HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N"
            )))
        }
        _ => format!("{address}:8000"),
    };
    Listener::tcp(&full).with_context(context)
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

fn worker_settings(arguments: &ServeArguments) -> serde_json::Value {
    let name = |value: &dyn clap_name::Name| value.name();
    json!({
        "app": arguments.app,
        "factory": arguments.factory,
        "interface": name(&arguments.interface),
        "concurrency": name(&arguments.concurrency),
        "threads": arguments.threads,
        "lifespan": name(&arguments.lifespan),
        "loop": name(&arguments.event_loop),
        "async_slots": ASYNC_SLOTS,
    })
}

/// The name of an enum value on the command line, which is also its name in the worker's settings.
mod clap_name {
    pub(super) trait Name {
        fn name(&self) -> String;
    }

    impl<T: clap::ValueEnum> Name for T {
        fn name(&self) -> String {
            self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        }
    }
}

fn router_settings(arguments: &ServeArguments) -> anyhow::Result<router::Settings> {
    Ok(router::Settings {
        queue: arguments.queue,
        queue_timeout: arguments.queue_timeout,
        request_timeout: Some(arguments.timeout).filter(|timeout| !timeout.is_zero()),
        interrupt_grace: INTERRUPT_GRACE,
        header_timeout: arguments.header_timeout,
        body_timeout: arguments.body_timeout,
        keepalive_timeout: arguments.keep_alive,
        header_size: usize::try_from(arguments.max_header)?,
        body_size: arguments.max_body,
        message_size: MESSAGE_SIZE,
        connections: arguments.connections,
        root_path: arguments.root_path.clone(),
        trusted_proxies: arguments.forwarded_allow_ips.clone(),
    })
}

fn supervisor_settings(arguments: &ServeArguments) -> supervisor::Settings {
    supervisor::Settings {
        workers: arguments.workers.into(),
        start_timeout: arguments.start_timeout,
        graceful_timeout: arguments.graceful_timeout,
        max_requests: Some(arguments.max_requests).filter(|requests| *requests > 0),
        max_requests_jitter: arguments.max_requests_jitter,
        // While developing, an application that does not start is waited for: the next change may mend it.
        give_up_on_first_boot_failure: !arguments.reload,
        ..supervisor::Settings::default()
    }
}

/// A number that differs between runs; nothing secret depends on it.
fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
