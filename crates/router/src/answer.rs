//! Answers that the host makes itself, when no application can or may answer.

use crate::http::reason::standard_reason;
use crate::http::response::{AppFault, HostFields, ResponseEncoder};

/// Why the host answers in the application's place. The letter and number are the incident code of the design's
/// catalogue (section 7); requests that were never valid have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) code: Option<&'static str>,
    pub(crate) detail: &'static str,
    /// Seconds for Retry-After.
    pub(crate) retry_after: Option<u8>,
}

const fn problem(
    status: u16,
    code: Option<&'static str>,
    detail: &'static str,
    retry_after: Option<u8>,
) -> Problem {
    Problem { status, code, detail, retry_after }
}

impl Problem {
    pub(crate) const APP_FAILED: Problem =
        problem(500, None, "The application failed while it answered this request.", None);
    pub(crate) const BROKEN_RESPONSE: Problem =
        problem(500, Some("A30"), "The application sent a response that is not valid HTTP.", None);
    pub(crate) const WORKER_DIED: Problem = problem(
        502,
        Some("A20"),
        "The process that ran this request ended before it answered. The request was not repeated, because it may have had effects.",
        None,
    );
    pub(crate) const TOO_MANY_CONNECTIONS: Problem =
        problem(503, Some("N10"), "Too many connections are open.", Some(1));
    pub(crate) const QUEUE_FULL: Problem =
        problem(503, Some("N11"), "Too many requests are waiting.", Some(1));
    pub(crate) const QUEUED_TOO_LONG: Problem =
        problem(503, Some("N12"), "This request waited too long for a free worker.", Some(1));
    pub(crate) const DEADLINE: Problem =
        problem(504, Some("N20"), "The application did not answer before this request's deadline.", None);
    pub(crate) const SLOW_HEAD: Problem =
        problem(408, Some("N21"), "The request head took too long to arrive.", None);
    pub(crate) const SLOW_BODY: Problem =
        problem(408, Some("N21"), "The request body took too long to arrive.", None);
    pub(crate) const BODY_TOO_LARGE: Problem =
        problem(413, Some("N22"), "The request body is larger than the limit.", None);
    pub(crate) const WEBSOCKET_KEY: Problem =
        problem(400, None, "Sec-WebSocket-Key must be 16 bytes in base64.", None);
    pub(crate) const WEBSOCKET_VERSION: Problem =
        problem(426, None, "Only version 13 of the WebSocket protocol is spoken here.", None);
    pub(crate) const SPOOL_FAILED: Problem =
        problem(507, Some("D20"), "There is no space to store this request's body.", None);

    pub(crate) fn refused(reject: crate::http::head::Reject) -> Problem {
        problem(reject.status(), None, reject_detail(reject), None)
    }
}

/// The texts of [`crate::http::head::Reject`] are `Display`; answers need them static.
fn reject_detail(reject: crate::http::head::Reject) -> &'static str {
    use crate::http::head::Reject;
    match reject {
        Reject::RequestLineTooLong => "The request line is too long.",
        Reject::HeadTooLarge | Reject::TooManyFields => "The header fields are too many or too large.",
        Reject::Version => "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
        Reject::UnknownEncoding => "This transfer coding is not implemented.",
        Reject::Expectation => "This expectation cannot be met.",
        Reject::Host => "HTTP/1.1 needs exactly one valid Host field.",
        _ => "The request is malformed.",
    }
}

/// The form of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Html,
    /// application/problem+json, RFC 9457.
    Json,
}

impl Form {
    /// What the client would rather read. A full negotiation is not worth it for an error: the first match wins.
    pub(crate) fn from_accept(accept: Option<&[u8]>) -> Form {
        let accept = accept.unwrap_or_default();
        if memchr::memmem::find(accept, b"text/html").is_some() {
            Form::Html
        } else if memchr::memmem::find(accept, b"json").is_some() {
            Form::Json
        } else {
            Form::Text
        }
    }
}

/// Append a complete answer. Nothing in it comes from the client but the (checked) request id, so nothing needs
/// escaping.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    encoder: &mut ResponseEncoder,
    problem: Problem,
    form: Form,
    host: HostFields<'_>,
) -> Result<(), AppFault> {
    let Problem { status, code, detail, retry_after } = problem;
    let title = standard_reason(status);
    let code_text = code.unwrap_or("-");
    let id = host.request_id;
    let (content_type, body) = match form {
        Form::Text => (
            "text/plain; charset=utf-8",
            format!("{status} {title}\n{detail}\ncode: {code_text}\nrequest: {id}\n"),
        ),
        Form::Html => (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status} {title}</title>\
                 <h1>{title}</h1><p>{detail}</p><p><small>code {code_text}, request {id}</small></p></html>\n"
            ),
        ),
        Form::Json => (
            "application/problem+json",
            format!(
                "{{\"type\":\"about:blank\",\"status\":{status},\"title\":\"{title}\",\"detail\":\"{detail}\",\
                 \"code\":\"{code_text}\",\"request_id\":\"{id}\"}}\n"
            ),
        ),
    };
    let retry = retry_after.map(|seconds| seconds.to_string());
    let retry = retry.as_ref().map(|seconds| (&b"retry-after"[..], seconds.as_bytes()));
    // RFC 6455 section 4.4 and RFC 9110 section 15.5.22.
    let upgrade: &[(&[u8], &[u8])] = if status == 426 { &[(b"sec-websocket-version", b"13")] } else { &[] };
    let headers = [(&b"content-type"[..], content_type.as_bytes())]
        .into_iter()
        .chain(retry)
        .chain(upgrade.iter().copied());
    encoder.head(out, (status, b""), headers, (body.as_bytes(), true), host)
}
