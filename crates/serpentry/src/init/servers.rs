//! The servers whose command lines are understood, and what their flags mean here.
//!
//! Tables only; [`super::command`] reads a command line with them. Sources: `--help` and the settings pages of gunicorn 27,
//! uvicorn 0.54, hypercorn 0.18, Granian 2.8, daphne 4.2 and waitress 3.0.

use super::meaning::Meaning::{self, *};

/// A flag and what it means.
#[derive(Debug)]
pub(super) struct Flag {
    /// Every spelling, the long one first.
    pub(super) names: &'static [&'static str],
    /// A value follows.
    pub(super) valued: bool,
    pub(super) meaning: Meaning,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    /// The program, which is also the module of `python -m`, but for waitress.
    pub(super) name: &'static str,
    pub(super) flags: &'static [Flag],
    /// What it does if no flag says otherwise, where that differs from us: setting and value.
    pub(super) defaults: &'static [(Meaning, &'static str)],
    /// Host and port if only one of them is said.
    pub(super) address: (&'static str, &'static str),
    /// Attribute if the command names only a module.
    pub(super) attribute: &'static str,
}

const fn valued(names: &'static [&'static str], meaning: Meaning) -> Flag {
    Flag { names, valued: true, meaning }
}

const fn switch(names: &'static [&'static str], meaning: Meaning) -> Flag {
    Flag { names, valued: false, meaning }
}

pub(super) const TLS: &str = "there is no TLS here yet: put a proxy in front";
pub(super) const USER: &str = "all applications run as the user of the host for now";
pub(super) const RELOAD: &str = "for development: serpentry serve --reload";
pub(super) const BACKLOG: &str = "the kernel's queue is left as it is; requests wait in ours: limits.queue";
pub(super) const LOG_FILES: &str = "output is kept per application in the state directory: serpentry logs";
pub(super) const LOG_FORM: &str = "the access log has three forms: host.access_log_format";
pub(super) const DAEMON: &str = "the service manager's task";
pub(super) const HEADERS: &str = "the fields of answers are the application's";
pub(super) const ENV_FILE: &str = "the file is not read: put what is needed into env";
pub(super) const METRICS: &str = "metrics are read from the host: serpentry status, GET /metrics";
const FILES: &str = "files are not served here: let the application or a proxy do it";
const PING: &str = "WebSockets are not pinged by the host";
const HTTP: &str = "HTTP/1.1 is what is spoken";
const CONFIG: &str = "the file is not read: see docs/migrating.md";

/// Everything that is understood.
pub(super) const SERVERS: &[Server] = &[GUNICORN, UVICORN, HYPERCORN, GRANIAN, DAPHNE, WAITRESS];

pub(super) const GUNICORN: Server = Server {
    name: "gunicorn",
    address: ("127.0.0.1", "8000"),
    attribute: "application",
    defaults: &[],
    flags: &[
        valued(&["--bind", "-b"], Bind),
        valued(&["--workers", "-w"], Workers),
        valued(&["--threads"], Threads),
        valued(&["--worker-class", "-k"], WorkerClass),
        valued(&["--timeout", "-t"], RequestTimeout),
        valued(&["--graceful-timeout"], GracefulTimeout),
        valued(&["--keep-alive"], KeepAlive),
        valued(&["--max-requests"], MaxRequests),
        valued(&["--max-requests-jitter"], MaxRequestsJitter),
        switch(&["--preload"], Preload),
        valued(&["--chdir"], Directory),
        valued(&["--pythonpath"], PythonPath),
        valued(&["--env", "-e"], Env),
        valued(&["--limit-request-line"], HeaderSize),
        valued(&["--limit-request-field_size", "--limit-request-field-size"], HeaderSize),
        valued(&["--limit-request-fields"], Not("the head is limited in bytes: limits.header_size")),
        valued(&["--forwarded-allow-ips"], ForwardedAllowIps),
        valued(&["--access-logfile"], AccessLog),
        valued(&["--access-logformat"], Not(LOG_FORM)),
        valued(&["--error-logfile", "--log-file"], Not(LOG_FILES)),
        valued(&["--log-level"], LogLevel),
        valued(&["--log-config", "--log-config-json"], Not(LOG_FILES)),
        valued(&["--root-path"], RootPath),
        valued(&["--asgi-lifespan"], Lifespan),
        valued(&["--asgi-loop"], EventLoop),
        valued(
            &["--worker-connections"],
            Not("an event loop takes as many requests as come, within limits.connections"),
        ),
        valued(&["--backlog"], Not(BACKLOG)),
        valued(&["--certfile", "--keyfile", "--ca-certs"], Not(TLS)),
        valued(&["--user", "-u"], Not(USER)),
        valued(&["--group", "-g"], Not(USER)),
        valued(&["--umask", "-m"], Not(USER)),
        valued(&["--pid", "-p"], Not(DAEMON)),
        switch(&["--daemon", "-D"], Not(DAEMON)),
        valued(&["--statsd-host", "--statsd-prefix"], Not(METRICS)),
        switch(&["--reload"], Not(RELOAD)),
        valued(&["--reload-engine", "--reload-extra-file"], Not(RELOAD)),
        switch(&["--proxy-protocol"], Not("the PROXY protocol is not understood")),
        switch(&["--capture-output"], Nothing),
        switch(&["--enable-stdio-inheritance"], Nothing),
        switch(&["--disable-redirect-access-to-syslog"], Nothing),
        switch(&["--no-sendfile", "--reuse-port", "--check-config", "--print-config", "--spew"], Nothing),
        valued(&["--worker-tmp-dir", "--name", "-n", "--logger-class"], Nothing),
        switch(&["--initgroups"], Nothing),
        // What its configuration file calls the same things.
        valued(&["--keepalive"], KeepAlive),
        valued(&["--accesslog"], AccessLog),
        valued(&["--access-log-format"], Not(LOG_FORM)),
        valued(&["--errorlog", "--logfile"], Not(LOG_FILES)),
        valued(&["--loglevel"], LogLevel),
        // Read by whoever reads the command line.
        valued(&["--config", "-c"], Nothing),
        valued(&["--preload-app"], Preload),
        valued(&["--raw-env"], Env),
        valued(&["--wsgi-app"], Target),
        valued(&["--pidfile", "--proc-name", "--logconfig", "--logconfig-dict", "--sendfile"], Nothing),
    ],
};

pub(super) const UVICORN: Server = Server {
    name: "uvicorn",
    address: ("127.0.0.1", "8000"),
    attribute: "app",
    defaults: &[],
    flags: &[
        valued(&["--host"], Host),
        valued(&["--port"], Port),
        valued(&["--uds"], UnixSocket),
        valued(&["--fd"], Descriptor),
        valued(&["--workers"], Workers),
        valued(&["--loop"], EventLoop),
        valued(&["--http"], Nothing),
        valued(&["--ws", "--ws-max-queue"], Nothing),
        valued(&["--ws-max-size"], MessageSize),
        valued(&["--ws-ping-interval", "--ws-ping-timeout"], Not(PING)),
        valued(&["--ws-per-message-deflate"], Nothing),
        valued(&["--lifespan"], Lifespan),
        valued(&["--interface"], Interface),
        switch(&["--reload"], Not(RELOAD)),
        valued(&["--reload-dir", "--reload-include", "--reload-exclude", "--reload-delay"], Not(RELOAD)),
        valued(&["--env-file"], Not(ENV_FILE)),
        valued(&["--app-dir"], PythonPath),
        switch(&["--factory"], Factory),
        valued(&["--root-path"], RootPath),
        switch(&["--proxy-headers"], Nothing),
        switch(&["--no-proxy-headers"], Not("set host.forwarded_allow_ips = \"\" to believe nobody")),
        valued(&["--forwarded-allow-ips"], ForwardedAllowIps),
        valued(&["--timeout-keep-alive"], KeepAlive),
        valued(&["--timeout-graceful-shutdown"], GracefulTimeout),
        valued(&["--timeout-worker-healthcheck"], Nothing),
        valued(&["--limit-concurrency"], Connections),
        valued(&["--limit-max-requests"], MaxRequests),
        valued(&["--limit-max-requests-jitter"], MaxRequestsJitter),
        valued(&["--backlog"], Not(BACKLOG)),
        valued(&["--log-level"], LogLevel),
        valued(&["--log-config"], Not(LOG_FILES)),
        switch(&["--access-log"], AccessLogOn),
        switch(&["--no-access-log", "--use-colors", "--no-use-colors"], Nothing),
        switch(&["--server-header", "--no-server-header", "--date-header", "--no-date-header"], Nothing),
        valued(&["--header"], Not(HEADERS)),
        valued(&["--h11-max-incomplete-event-size"], HeaderSize),
        valued(&["--ssl-keyfile", "--ssl-certfile", "--ssl-keyfile-password", "--ssl-ca-certs"], Not(TLS)),
        valued(&["--ssl-version", "--ssl-cert-reqs", "--ssl-ciphers"], Not(TLS)),
    ],
};

pub(super) const HYPERCORN: Server = Server {
    name: "hypercorn",
    address: ("127.0.0.1", "8000"),
    attribute: "app",
    defaults: &[],
    flags: &[
        valued(&["--bind", "-b"], Bind),
        valued(&["--insecure-bind"], Bind),
        valued(&["--quic-bind"], Not(HTTP)),
        valued(&["--workers", "-w"], Workers),
        valued(&["--worker-class", "-k"], WorkerClass),
        valued(&["--config", "-c"], Not(CONFIG)),
        valued(&["--graceful-timeout"], GracefulTimeout),
        valued(&["--keep-alive"], KeepAlive),
        valued(&["--read-timeout"], HeaderTimeout),
        valued(&["--max-requests"], MaxRequests),
        valued(&["--max-requests-jitter"], MaxRequestsJitter),
        valued(&["--root-path"], RootPath),
        valued(&["--access-logfile", "--access-log"], AccessLog),
        valued(&["--access-logformat"], Not(LOG_FORM)),
        valued(&["--error-logfile", "--error-log", "--log-file", "--log-config"], Not(LOG_FILES)),
        valued(&["--log-level"], LogLevel),
        valued(&["--backlog"], Not(BACKLOG)),
        valued(&["--certfile", "--keyfile", "--keyfile-password", "--ca-certs", "--ciphers"], Not(TLS)),
        valued(&["--cert-reqs", "--verify-mode"], Not(TLS)),
        valued(&["--user", "-u", "--group", "-g", "--umask", "-m"], Not(USER)),
        valued(&["--pid", "-p"], Not(DAEMON)),
        valued(&["--statsd-host", "--statsd-prefix"], Not(METRICS)),
        valued(&["--websocket-ping-interval"], Not(PING)),
        switch(&["--reload"], Not(RELOAD)),
        valued(&["--server-name"], Not("hosts are told apart by routes")),
        switch(&["--debug"], Nothing),
    ],
};

pub(super) const GRANIAN: Server = Server {
    name: "granian",
    address: ("127.0.0.1", "8000"),
    attribute: "app",
    defaults: &[(Interface, "rsgi")],
    flags: &[
        valued(&["--host"], Host),
        valued(&["--port"], Port),
        valued(&["--uds"], UnixSocket),
        valued(&["--interface"], Interface),
        valued(&["--http"], Not(HTTP)),
        valued(&["--workers"], Workers),
        valued(&["--blocking-threads"], Threads),
        valued(
            &["--blocking-threads-idle-timeout", "--runtime-threads", "--runtime-blocking-threads"],
            Nothing,
        ),
        valued(&["--runtime-mode", "--task-impl", "--uds-permissions", "--process-name"], Nothing),
        valued(&["--loop"], EventLoop),
        valued(&["--backlog"], Not(BACKLOG)),
        valued(&["--backpressure"], Connections),
        valued(&["--http1-buffer-size"], HeaderSize),
        valued(&["--http1-header-read-timeout"], Nothing),
        switch(&["--http1-keep-alive", "--http1-pipeline-flush", "--respawn-failed-workers"], Nothing),
        switch(
            &["--ws", "--no-ws", "--log", "--no-log", "--no-reload", "--no-access-log", "--no-factory"],
            Nothing,
        ),
        valued(&["--respawn-interval"], Nothing),
        valued(
            &["--workers-lifetime", "--workers-lifetime-jitter"],
            Not("workers are replaced by max_requests"),
        ),
        valued(&["--workers-max-rss"], RecycleMemory),
        valued(&["--workers-kill-timeout"], GracefulTimeout),
        valued(&["--rss-sample-interval", "--rss-samples"], Nothing),
        valued(&["--log-level"], LogLevel),
        valued(&["--log-config"], Not(LOG_FILES)),
        switch(&["--access-log"], AccessLogOn),
        valued(&["--access-log-fmt"], Not(LOG_FORM)),
        valued(&["--working-dir"], Directory),
        valued(&["--env-files"], Not(ENV_FILE)),
        switch(&["--factory"], Factory),
        valued(&["--url-path-prefix"], RootPath),
        switch(&["--reload"], Not(RELOAD)),
        valued(&["--static-path-mount", "--static-path-route", "--static-path-expires"], Not(FILES)),
        switch(&["--metrics"], Not(METRICS)),
        valued(&["--ssl-certificate", "--ssl-keyfile", "--ssl-keyfile-password", "--ssl-ca"], Not(TLS)),
        valued(&["--pid-file"], Not(DAEMON)),
    ],
};

pub(super) const DAPHNE: Server = Server {
    name: "daphne",
    address: ("127.0.0.1", "8000"),
    attribute: "application",
    defaults: &[],
    flags: &[
        valued(&["--port", "-p"], Port),
        valued(&["--bind", "-b"], Host),
        valued(&["--unix-socket", "-u"], UnixSocket),
        valued(&["--fd"], Descriptor),
        valued(&["--endpoint", "-e"], Not("use listen for addresses")),
        valued(&["--verbosity", "-v", "--ping-interval", "--ping-timeout", "--log-fmt"], Nothing),
        valued(&["--http-timeout", "-t"], RequestTimeout),
        valued(
            &["--websocket_timeout", "--websocket_connect_timeout"],
            Not("WebSockets may live as long as they like"),
        ),
        valued(&["--application-close-timeout"], Nothing),
        valued(&["--access-log"], AccessLog),
        valued(&["--root-path"], RootPath),
        switch(&["--proxy-headers"], Nothing),
        valued(&["--proxy-headers-host", "--proxy-headers-port"], Nothing),
        valued(&["--server-name", "-s"], Nothing),
        switch(&["--no-server-name"], Nothing),
    ],
};

pub(super) const WAITRESS: Server = Server {
    name: "waitress-serve",
    address: ("0.0.0.0", "8080"),
    attribute: "application",
    defaults: &[(Threads, "4")],
    flags: &[
        valued(&["--listen"], Bind),
        valued(&["--host"], Host),
        valued(&["--port"], Port),
        valued(&["--unix-socket"], UnixSocket),
        valued(&["--unix-socket-perms"], Nothing),
        valued(&["--threads"], Threads),
        switch(&["--call"], Factory),
        valued(&["--app"], Target),
        valued(&["--url-prefix"], Prefix),
        valued(&["--url-scheme", "--trusted-proxy-count", "--trusted-proxy-headers"], Nothing),
        valued(&["--trusted-proxy"], ForwardedAllowIps),
        valued(&["--connection-limit"], Connections),
        valued(&["--channel-timeout"], KeepAlive),
        valued(&["--max-request-body-size"], BodySize),
        valued(&["--max-request-header-size"], HeaderSize),
        valued(&["--backlog"], Not(BACKLOG)),
        valued(
            &["--ident", "--recv-bytes", "--send-bytes", "--cleanup-interval", "--channel-request-lookahead"],
            Nothing,
        ),
        valued(
            &["--outbuf-overflow", "--outbuf-high-watermark", "--inbuf-overflow", "--asyncore-loop-timeout"],
            Nothing,
        ),
        switch(&["--expose-tracebacks", "--no-expose-tracebacks", "--log-untrusted-proxy-headers"], Nothing),
        switch(&["--asyncore-use-poll", "--clear-untrusted-proxy-headers", "--log-socket-errors"], Nothing),
        switch(
            &["--no-clear-untrusted-proxy-headers", "--no-log-socket-errors", "--ipv4", "--ipv6"],
            Nothing,
        ),
    ],
};
