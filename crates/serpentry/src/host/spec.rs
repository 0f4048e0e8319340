//! What the host runs for one application, in the terms of the parts that carry it out.
//!
//! Made from the configuration here and from the command line in `serve.rs`. Two specifications are compared to find what
//! a change needs: a worker that would be started differently means a new generation, anything else takes effect in place.

use std::rc::Rc;
use std::time::Duration;

use router::{HostSettings, RouteOverride, Settings, TrustedProxies};
use serde_json::json;

use crate::extension::Extension;
use crate::interpreter::Interpreter;
use crate::process::{Output, Template};
use crate::template::Preload;

/// How long an interrupted request may take to stop before its worker is given up.
pub(crate) const INTERRUPT_GRACE: Duration = Duration::from_secs(2);

/// Requests at a time in one event loop.
pub(crate) const ASYNC_SLOTS: u32 = 1000;

/// Everything about one application.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    /// How a worker is started.
    pub(crate) template: Template,
    pub(crate) router: Settings,
    pub(crate) supervisor: supervisor::Settings,
    /// What it was made from.
    pub(crate) app: config::App,
}

impl Spec {
    /// Nothing would be different.
    pub(crate) fn is_same(&self, other: &Spec) -> bool {
        self.app == other.app && self.has_same_workers(other)
    }

    /// A worker would be started in the same way.
    pub(crate) fn has_same_workers(&self, other: &Spec) -> bool {
        let (one, two) = (&self.template, &other.template);
        one.settings == two.settings
            && one.directory == two.directory
            && one.environment == two.environment
            && one.interpreter == two.interpreter
            && self.app.preload == other.app.preload
    }
}

/// The specification of an application.
pub(crate) fn of_app(
    app: &config::App,
    interpreter: Interpreter,
    extension: &Extension,
    output: Output,
) -> Spec {
    let limits = &app.limits;
    Spec {
        name: app.name.clone(),
        template: Template {
            interpreter,
            extension: extension.clone(),
            directory: app.directory.clone(),
            environment: app.env.clone(),
            settings: json!({
                "app": app.app,
                "factory": app.factory,
                "interface": app.interface,
                "concurrency": app.concurrency,
                "threads": app.threads,
                "lifespan": app.lifespan,
                "loop": app.event_loop,
                "async_slots": ASYNC_SLOTS,
            }),
            output,
            preload: app.preload.then(|| Rc::new(Preload::new(app.start_timeout))),
        },
        router: Settings {
            queue: limits.queue,
            queue_timeout: limits.queue_timeout,
            start_patience: app.start_timeout,
            request_timeout: limits.request_timeout,
            first_byte_timeout: limits.first_byte_timeout,
            interrupt_grace: INTERRUPT_GRACE,
            body_timeout: limits.body_timeout,
            keepalive_timeout: limits.keepalive_timeout,
            header_size: size(limits.header_size),
            body_size: limits.body_size,
            message_size: size(limits.message_size),
            connections: limits.connections,
            bandwidth_in: limits.bandwidth_in,
            bandwidth_out: limits.bandwidth_out,
            socket_buffers: limits.socket_buffers.map(size),
            root_path: String::new(),
            retry_budget: app.retry_budget,
            overrides: app.overrides.iter().map(route_override).collect(),
        },
        supervisor: supervisor::Settings {
            min_workers: app.workers.min as usize,
            max_workers: app.workers.max as usize,
            idle: app.workers.idle,
            start_timeout: app.start_timeout,
            graceful_timeout: app.graceful_timeout,
            max_requests: app.max_requests,
            max_requests_jitter: app.max_requests_jitter,
            ..supervisor::Settings::default()
        },
        app: app.clone(),
    }
}

/// What holds before it is known which application a request is for.
///
/// # Errors
/// When `forwarded_allow_ips` is not a list of addresses and networks.
pub(crate) fn of_host(plan: &config::Plan) -> Result<HostSettings, router::NotAnAddress> {
    let host = &plan.host;
    let longest = plan.apps.iter().map(|app| app.limits.body_timeout).max();
    Ok(HostSettings {
        connections: host.connections,
        header_timeout: host.header_timeout,
        keepalive_timeout: host.keepalive_timeout,
        body_timeout: longest.unwrap_or(Duration::from_secs(30)),
        header_size: size(host.header_size),
        trusted_proxies: TrustedProxies::parse(&host.forwarded_allow_ips)?,
    })
}

fn route_override(it: &config::RouteOverride) -> RouteOverride {
    RouteOverride {
        prefix: it.prefix.clone(),
        request_timeout: it.request_timeout,
        first_byte_timeout: it.first_byte_timeout,
        body_size: it.body_size,
    }
}

/// Sizes in memory: on a machine of 32 bits, the largest there is.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
