//! What the host runs for one application, in the terms of the parts that carry it out.
//!
//! Made from the configuration here and from the command line in `serve.rs`. Two specifications are compared to find what
//! a change needs: a worker that would be started differently means a new generation, anything else takes effect in place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use router::{HostSettings, RouteOverride, Settings, TrustedProxies};
use serde_json::json;

use crate::extension::Extension;
use crate::interpreter::Interpreter;
use crate::process::{Output, Template};
use crate::template::Preload;
use crate::tenancy::{Keeper, Tenant, Wants};

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

    /// Start workers where those of `other` are, if they would be there anyway, with the limits that this one says.
    pub(crate) fn keep_place_of(&mut self, other: &Spec) {
        let wants = self.template.tenant.wants().clone();
        if wants.is_same_place(&other.template.tenant.wants()) {
            other.template.tenant.adjust(wants);
            self.template.tenant = Rc::clone(&other.template.tenant);
        }
    }

    /// A worker would be started in the same way.
    pub(crate) fn has_same_workers(&self, other: &Spec) -> bool {
        let (one, two) = (&self.template, &other.template);
        one.settings == two.settings
            && one.directory == two.directory
            && one.environment == two.environment
            && one.interpreter == two.interpreter
            && self.app.preload == other.app.preload
            && one.tenant.wants().is_same_place(&two.tenant.wants())
    }
}

/// The specification of an application.
pub(crate) fn of_app(
    app: &config::App,
    interpreter: Interpreter,
    extension: &Extension,
    output: Output,
    keeper: &Keeper,
    lines: Arc<BTreeMap<String, String>>,
) -> Spec {
    let limits = &app.limits;
    let wants = Wants::new(app, visible(&interpreter, extension), lines);
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
            tenant: Rc::new(Tenant::new(keeper.clone(), wants, app.workers.min == 0)),
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
            // The kernel takes an int, and no machine has room for that much.
            socket_buffers: limits.socket_buffers.map(|bytes| bytes.try_into().unwrap_or(1 << 30)),
            root_path: String::new(),
            server_timing: app.server_timing,
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

/// What a worker reads besides the application's directory: the interpreter's installation, a virtual environment, our
/// extension.
fn visible(interpreter: &Interpreter, extension: &Extension) -> Vec<PathBuf> {
    let mut visible = vec![extension.folder().to_owned(), interpreter.path.clone()];
    visible.extend(Some(&interpreter.base).filter(|base| base.parent().is_some()).cloned());
    let environment = interpreter.path.parent().and_then(Path::parent);
    visible.extend(environment.filter(|path| path.join("pyvenv.cfg").exists()).map(Path::to_owned));
    visible
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
