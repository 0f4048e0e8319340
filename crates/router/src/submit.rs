//! From a checked request head to a submission: who asks, what is passed on, and the encoded frame for the worker.

use std::borrow::Cow;
use std::io::Write as _;

use wire::{RequestHead, RequestWriter, ToWorker, flag};

use crate::access_log;
use crate::answer::Form;
use crate::core::Core;
use crate::deadline::Limits;
use crate::exchange::{BodyPlan, Submission};
use crate::forwarded::{self, Origin};
use crate::http::date::unix_now;
use crate::http::head::{Framing, Head, Websocket};
use crate::http::response::{self, ResponseEncoder};
use crate::http::target::percent_decode;
use crate::stream::Ends;
use crate::visit::Visit;

/// Response bytes a worker may send before the client has read any: enough that a typical page never holds a worker for a
/// slow client while there are few clients, and less when there are many, so that all of them together stay near
/// [`RESPONSE_MEMORY`].
const LARGEST_WINDOW: usize = 512 * 1024;
const SMALLEST_WINDOW: usize = 64 * 1024;
const RESPONSE_MEMORY: usize = 64 * 1024 * 1024;

fn response_window(connections: usize) -> u32 {
    let share = RESPONSE_MEMORY / connections.max(1);
    u32::try_from(share.clamp(SMALLEST_WINDOW, LARGEST_WINDOW)).unwrap_or(u32::MAX)
}

/// Longest request id accepted from a client.
const REQUEST_ID_LIMIT: usize = 128;

/// The body that goes with a head.
#[derive(Debug)]
pub(crate) enum BodyForm<'a> {
    /// None, or all of it, small enough to travel with the head.
    Inline(&'a [u8]),
    /// Stored, of known length, fed later.
    Stored { length: u64 },
    /// Fed as it arrives; the length is as the client stated it.
    Streamed,
}

/// Who asks, as far as the request's route depends on it.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    /// The peer's forwarding fields are believed.
    trusted: bool,
    origin: Origin,
}

impl Caller {
    pub(crate) fn new(core: &Core, ends: &Ends, head: &Head<'_, '_>) -> Self {
        let proxies = &core.host().trusted_proxies;
        let trusted = proxies.trusts(ends.client.as_ref().map(|peer| peer.address.ip()));
        let origin = if trusted { forwarded::origin(head.fields, proxies) } else { Origin::default() };
        Caller { trusted, origin }
    }

    /// The host that the client asked for.
    pub(crate) fn host<'a>(&'a self, head: &Head<'_, 'a>) -> &'a str {
        self.origin.host.as_deref().unwrap_or(head.target.host)
    }

    /// Address and port of the client.
    fn address<'a>(&'a self, ends: &'a Ends) -> (&'a str, u16) {
        match (&self.origin.client, &ends.client) {
            (Some(client), _) => (client, 0),
            (None, Some(peer)) => (&peer.text, peer.address.port()),
            (None, None) => ("", 0),
        }
    }
}

/// Make a submission of a request for an application, and its access log entry if there is a log.
pub(crate) fn prepare(
    visit: &Visit,
    ends: &Ends,
    caller: &Caller,
    head: &Head<'_, '_>,
    body: &BodyForm<'_>,
) -> (Submission, Option<Box<access_log::Entry>>) {
    let core = &visit.app.core;
    let settings = visit.app.settings();
    let (client_host, client_port) = caller.address(ends);
    let request_id = request_id(core, head);
    let (root_path, decoded) = mounted(visit, &settings.root_path, head.target.path);
    let content_length = match (body, head.framing) {
        (BodyForm::Inline(body), Framing::Length(_) | Framing::Chunked) => Some(body.len() as u64),
        (BodyForm::Stored { length }, _) => Some(*length),
        (BodyForm::Streamed, Framing::Length(length)) => Some(length),
        _ => None,
    };
    let window = response_window(core.connections.get());
    let wire_head = RequestHead {
        method: head.method,
        version: head.version,
        scheme: if caller.origin.https { "https" } else { "http" },
        raw_path: head.target.path.as_bytes(),
        path: without_root(&decoded, if visit.used == 0 { &root_path } else { "" }),
        query: head.target.query.as_bytes(),
        root_path: &root_path,
        client_host,
        client_port,
        server_host: &ends.server.0,
        server_port: ends.server.1,
        request_id: &request_id,
        content_length,
        window,
    };

    let is_websocket = matches!(head.websocket, Websocket::Key(_));
    // RFC 9110 section 9.2.2. A WebSocket is a GET, but its handler may have started to act.
    let repeatable =
        matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE") && !is_websocket;
    let has_body = !matches!(body, BodyForm::Inline([]));
    let flags = bit(has_body, flag::HAS_BODY)
        | bit(is_websocket, flag::WEBSOCKET)
        // A streamed body is sent only once the application runs, or it could not be given back.
        | bit(!repeatable || matches!(body, BodyForm::Streamed), flag::ACK_START);
    let id = core.next_id();
    let mut handover = Vec::with_capacity(512);
    let mut writer = RequestWriter::new(&mut handover, id, flags, &wire_head);
    write_fields(&mut writer, head, content_length, caller.trusted, caller.host(head), &request_id);
    writer.finish();
    if let BodyForm::Inline(body) = body {
        let mut pieces = body.chunks(wire::MAX_CHUNK).peekable();
        while let Some(data) = pieces.next() {
            ToWorker::Body { id, data, end: pieces.peek().is_none() }.encode(&mut handover);
        }
    }

    let log = core.access_log.as_ref().map(|_| Box::new(log_entry(head, client_host)));
    let submission = Submission {
        window,
        input: core.input(head.target.path, head.target.query),
        handover,
        body: match body {
            BodyForm::Inline(_) => BodyPlan::Complete,
            BodyForm::Stored { .. } => BodyPlan::Stored,
            BodyForm::Streamed => BodyPlan::Streamed,
        },
        repeatable,
        websocket: is_websocket,
        limits: visit.limits,
        app: Some(visit.app.id),
        // The life of a WebSocket says nothing about others.
        route: (!is_websocket).then(|| visit.app.measure.route(head.method, head.target.path)),
        ..bare(id, request_id, head, head.keep_alive)
    };
    (submission, log)
}

/// The same for a request that the host will answer itself. Unless it is without a body, it ends its connection.
pub(crate) fn prepare_refusal(
    core: &Core,
    ends: &Ends,
    head: &Head<'_, '_>,
) -> (Submission, Option<Box<access_log::Entry>>) {
    let keep_alive = head.keep_alive && head.framing == Framing::None;
    let submission = bare(core.next_id(), request_id(core, head), head, keep_alive);
    let log = core
        .access_log
        .as_ref()
        .map(|_| Box::new(log_entry(head, Caller::new(core, ends, head).address(ends).0)));
    (submission, log)
}

/// A submission with nothing to hand over.
fn bare(id: u64, request_id: Box<str>, head: &Head<'_, '_>, keep_alive: bool) -> Submission {
    let exchange = response::Exchange { version: head.version, head: head.method == "HEAD", keep_alive };
    Submission {
        id,
        request_id,
        window: 0,
        input: 0,
        handover: Vec::new(),
        body: BodyPlan::Complete,
        repeatable: false,
        websocket: false,
        form: Form::from_accept(field(head, "accept")),
        encoder: ResponseEncoder::new(exchange),
        limits: Limits::default(),
        app: None,
        route: None,
    }
}

fn request_id(core: &Core, head: &Head<'_, '_>) -> Box<str> {
    field(head, "x-request-id").and_then(accept_request_id).map_or_else(|| core.request_id(), Box::from)
}

fn log_entry(head: &Head<'_, '_>, client: &str) -> access_log::Entry {
    access_log::Entry {
        client: client.to_owned(),
        method: head.method.to_owned(),
        target: match head.target.query {
            "" => head.target.path.to_owned(),
            query => format!("{}?{query}", head.target.path),
        },
        version: head.version,
        referer: field(head, "referer").unwrap_or_default().to_owned(),
        user_agent: field(head, "user-agent").unwrap_or_default().to_owned(),
    }
}

/// The root path, of front proxy and route together, and the decoded path after the route's prefix.
fn mounted<'a>(visit: &'a Visit, root_path: &'a str, path: &'a str) -> (Cow<'a, str>, Cow<'a, [u8]>) {
    let root_path = match (&visit.prefix, root_path) {
        (None, root_path) => Cow::Borrowed(root_path),
        (Some(prefix), "") => Cow::Borrowed(&**prefix),
        (Some(prefix), root_path) => Cow::Owned(format!("{root_path}{prefix}")),
    };
    (root_path, percent_decode(&path[visit.used..]))
}

/// The first field of that name.
pub(crate) fn field<'b>(head: &Head<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    head.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// A request id from outside is kept if it cannot do harm in a log or a header.
fn accept_request_id(value: &[u8]) -> Option<&str> {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let fits = !value.is_empty() && value.len() <= REQUEST_ID_LIMIT && value.iter().all(harmless);
    std::str::from_utf8(value).ok().filter(|_| fits)
}

/// Pass the fields on, but for those that speak about this connection only (RFC 9110 section 7.6.1), those that
/// nobody we trust has vouched for, and those that we set ourselves.
fn write_fields(
    writer: &mut RequestWriter<'_>,
    head: &Head<'_, '_>,
    content_length: Option<u64>,
    trusted: bool,
    host: &str,
    request_id: &str,
) {
    let websocket = matches!(head.websocket, Websocket::Key(_));
    let mut has_start = false;
    for field in head.fields {
        let name = field.name;
        match name.len() {
            2 if name.eq_ignore_ascii_case("te") => continue,
            4 if name.eq_ignore_ascii_case("host") => {
                writer.header(b"host", host.as_bytes());
                continue;
            }
            6 if name.eq_ignore_ascii_case("expect") => continue,
            7 if name.eq_ignore_ascii_case("upgrade") && !websocket => continue,
            7 if name.eq_ignore_ascii_case("trailer") => continue,
            9 if name.eq_ignore_ascii_case("forwarded") && !trusted => continue,
            10 if name.eq_ignore_ascii_case("keep-alive") => continue,
            10 if name.eq_ignore_ascii_case("connection") && !websocket => continue,
            12 if name.eq_ignore_ascii_case("x-request-id") => continue,
            14 if name.eq_ignore_ascii_case("content-length") && content_length.is_some() => continue,
            15 if name.eq_ignore_ascii_case("x-request-start") => {
                if !trusted {
                    continue;
                }
                has_start = true;
            }
            16 if name.eq_ignore_ascii_case("proxy-connection") => continue,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => continue,
            _ if !trusted && forwarded::is_forwarding_field(name) => continue,
            _ => {}
        }
        writer.header(name.as_bytes(), field.value);
    }
    let mut number = [0_u8; 32];
    if let Some(length) = content_length {
        writer.header(b"content-length", decimal(&mut number, "", length));
    }
    writer.header(b"x-request-id", request_id.as_bytes());
    if !has_start {
        // The form that New Relic, Scout and Judoscale read: milliseconds since 1970.
        let millis = u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX);
        writer.header(b"x-request-start", decimal(&mut number, "t=", millis));
    }
}

fn decimal<'a>(space: &'a mut [u8; 32], prefix: &str, number: u64) -> &'a [u8] {
    let mut rest = &mut space[..];
    // 32 bytes hold every prefix here and a 64-bit number.
    let _ = write!(rest, "{prefix}{number}");
    let free = rest.len();
    &space[..32 - free]
}

/// The path below the mount point. A front proxy may or may not have stripped the prefix: both are served.
fn without_root<'a>(path: &'a [u8], root_path: &str) -> &'a [u8] {
    match path.strip_prefix(root_path.as_bytes()) {
        Some(rest) if !root_path.is_empty() && (rest.is_empty() || rest[0] == b'/') => rest,
        _ => path,
    }
}

fn bit(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_the_mount_point_only_at_a_slash() {
        for (path, root, expect) in [
            ("/a/b", "/a", "/b"),
            ("/a", "/a", ""),
            ("/ab", "/a", "/ab"),
            ("/b", "/a", "/b"),
            ("/a", "", "/a"),
        ] {
            assert_eq!(without_root(path.as_bytes(), root), expect.as_bytes(), "{path} below {root:?}");
        }
    }

    #[test]
    fn shares_response_memory_between_connections() {
        assert_eq!(response_window(1), 512 * 1024);
        assert_eq!(response_window(256), 256 * 1024);
        assert_eq!(response_window(1024), 64 * 1024);
        assert_eq!(response_window(100_000), 64 * 1024);
    }

    #[test]
    fn accepts_only_harmless_request_ids() {
        assert_eq!(accept_request_id(b"7f-A_1.x"), Some("7f-A_1.x"));
        for bad in [&b""[..], b"a b", b"a\"b", b"<x>", "\u{e4}".as_bytes(), &[b'a'; REQUEST_ID_LIMIT + 1]] {
            assert_eq!(accept_request_id(bad), None);
        }
    }
}
