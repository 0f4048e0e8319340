//! Answers that the host makes itself, when no application can or may answer.

use crate::http::head::Reject;
use crate::http::reason::standard_reason;
use crate::http::response::{AppFault, HostFields, ResponseEncoder};
use crate::snapshot::Reason;
use incident::Name;

/// Why the host answers in the application's place. A letter and a number are the incident code of the design's
/// catalogue (section 7); a word says that nothing went wrong but that it is so; requests that were never valid have
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) code: Option<&'static str>,
    pub(crate) reason: Reason,
    pub(crate) detail: &'static str,
    /// Seconds for Retry-After.
    pub(crate) retry_after: Option<u8>,
}

const fn problem(status: u16, code: &'static str, reason: Reason, detail: &'static str) -> Problem {
    Problem { status, code: Some(code), reason, detail, retry_after: None }
}

/// Retry-After of an application that somebody stopped: nobody knows when it comes back.
const STOPPED_RETRY: u8 = 30;

impl Problem {
    pub(crate) const APP_FAILED: Problem =
        problem(500, "A31", Reason::AppFailed, "The application failed while it answered this request.");
    pub(crate) const BROKEN_RESPONSE: Problem = problem(
        500,
        "A30",
        Reason::BrokenResponse,
        "The application sent a response that is not valid HTTP.",
    );
    pub(crate) const WORKER_DIED: Problem = problem(
        502,
        "A20",
        Reason::WorkerDied,
        "The process that ran this request ended before it answered. The request was not repeated, because it may have had effects.",
    );
    pub(crate) const RETRY_DENIED: Problem = problem(
        502,
        "A20",
        Reason::RetryDenied,
        "The process that ran this request ended before it answered. The request was not repeated, because too many were lately.",
    );
    pub(crate) const TOO_MANY_CONNECTIONS: Problem =
        problem(503, "N10", Reason::Connections, "Too many connections are open.").retry_after(1);
    pub(crate) const QUEUE_FULL: Problem =
        problem(503, "N11", Reason::QueueFull, "Too many requests are waiting.").retry_after(1);
    pub(crate) const QUEUED_TOO_LONG: Problem =
        problem(503, "N12", Reason::QueueTimeout, "This request waited too long for a free worker.")
            .retry_after(1);
    pub(crate) const NOT_STARTED: Problem =
        problem(503, "A11", Reason::StartTimeout, "The application did not start in time.").retry_after(1);
    pub(crate) const STOPPED: Problem =
        problem(503, "stopped", Reason::Stopped, "The application is stopped.").retry_after(STOPPED_RETRY);
    pub(crate) const DEADLINE: Problem = problem(
        504,
        "N20",
        Reason::Deadline,
        "The application did not answer before this request's deadline.",
    );
    pub(crate) const FIRST_BYTE: Problem =
        problem(504, "N20", Reason::FirstByte, "The application did not begin to answer in time.");
    pub(crate) const SLOW_HEAD: Problem =
        problem(408, "N21", Reason::SlowHead, "The request head took too long to arrive.");
    pub(crate) const SLOW_BODY: Problem =
        problem(408, "N21", Reason::SlowBody, "The request body took too long to arrive.");
    pub(crate) const BODY_TOO_LARGE: Problem =
        problem(413, "N22", Reason::BodyTooLarge, "The request body is larger than the limit.");
    pub(crate) const WEBSOCKET_KEY: Problem = malformed(400, "Sec-WebSocket-Key must be 16 bytes in base64.");
    pub(crate) const WEBSOCKET_VERSION: Problem =
        malformed(426, "Only version 13 of the WebSocket protocol is spoken here.");
    pub(crate) const SPOOL_FAILED: Problem =
        problem(507, "D20", Reason::Storage, "There is no space to store this request's body.");
    // These three must not tell which applications there are.
    pub(crate) const UNKNOWN_HOST: Problem = problem(
        421,
        "unknown-host",
        Reason::UnknownHost,
        "This server does not answer for that host name. This is the server's own answer, not an application's.",
    );
    pub(crate) const NO_ROUTE: Problem = problem(
        404,
        "no-route",
        Reason::NoRoute,
        "Nothing is served at this path. This is the server's own answer, not an application's.",
    );
    pub(crate) const LEAVES_ROUTE: Problem = problem(
        400,
        "no-route",
        Reason::NoRoute,
        "The dot segments of this path lead out of where it begins. This is the server's own answer, not an application's.",
    );

    pub(crate) fn refused(reject: Reject) -> Problem {
        let reason = match reject {
            Reject::HeadTooLarge | Reject::RequestLineTooLong | Reject::TooManyFields => Reason::HeadTooLarge,
            _ => Reason::Malformed,
        };
        Problem { reason, ..malformed(reject.status(), reject_detail(reject)) }
    }

    /// In a list of requests that went wrong.
    pub(crate) fn outcome(&self) -> &'static str {
        match self.status {
            408 => "answered 408",
            413 => "answered 413",
            431 => "answered 431",
            500 => "answered 500",
            502 => "answered 502",
            503 => "answered 503",
            504 => "answered 504",
            507 => "answered 507",
            _ => "refused",
        }
    }

    /// The same, to be tried again after so many seconds.
    pub(crate) const fn retry_after(self, seconds: u8) -> Problem {
        Problem { retry_after: Some(seconds), ..self }
    }
}

const fn malformed(status: u16, detail: &'static str) -> Problem {
    Problem { code: None, ..problem(status, "", Reason::Malformed, detail) }
}

/// The texts of [`crate::http::head::Reject`] are `Display`; answers need them static.
fn reject_detail(reject: Reject) -> &'static str {
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

/// Append a complete answer. `name`: the incident that it is part of. Nothing in it comes from the client but the (checked)
/// request id, so nothing needs escaping.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    encoder: &mut ResponseEncoder,
    problem: Problem,
    name: Option<Name>,
    form: Form,
    host: HostFields<'_>,
) -> Result<(), AppFault> {
    let Problem { status, code, detail, retry_after, .. } = problem;
    let title = standard_reason(status);
    // The incident knows better than whoever answered first.
    let code_text = name.map_or(code.unwrap_or("-"), |name| name.code.as_str());
    let name = name.map(|name| name.to_string());
    let id = host.request_id;
    let (content_type, body) = match form {
        Form::Text => {
            let incident = name.as_ref().map_or_else(String::new, |name| format!("incident: {name}\n"));
            (
                "text/plain; charset=utf-8",
                format!("{status} {title}\n{detail}\ncode: {code_text}\n{incident}request: {id}\n"),
            )
        }
        Form::Html => {
            let what =
                name.as_ref().map_or_else(|| format!("code {code_text}"), |name| format!("incident {name}"));
            (
                "text/html; charset=utf-8",
                format!(
                    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{status} {title}</title>\
                     <h1>{title}</h1><p>{detail}</p><p><small>{what}, request {id}</small></p></html>\n"
                ),
            )
        }
        Form::Json => {
            let incident = name.as_ref().map_or_else(String::new, |name| format!(",\"incident\":\"{name}\""));
            (
                "application/problem+json",
                format!(
                    "{{\"type\":\"about:blank\",\"status\":{status},\"title\":\"{title}\",\"detail\":\"{detail}\",\
                     \"code\":\"{code_text}\"{incident},\"request_id\":\"{id}\"}}\n"
                ),
            )
        }
    };
    let incident = name.as_ref().map(|name| (&b"serpentry-incident"[..], name.as_bytes()));
    let retry = retry_after.map(|seconds| seconds.to_string());
    let retry = retry.as_ref().map(|seconds| (&b"retry-after"[..], seconds.as_bytes()));
    // RFC 6455 section 4.4 and RFC 9110 section 15.5.22.
    let upgrade: &[(&[u8], &[u8])] = if status == 426 { &[(b"sec-websocket-version", b"13")] } else { &[] };
    let headers = [(&b"content-type"[..], content_type.as_bytes())]
        .into_iter()
        .chain(retry)
        .chain(incident)
        .chain(upgrade.iter().copied());
    encoder.head(out, (status, b""), headers, (body.as_bytes(), true), host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_the_catalogue_agree() {
        for problem in [
            Problem::APP_FAILED,
            Problem::BROKEN_RESPONSE,
            Problem::WORKER_DIED,
            Problem::RETRY_DENIED,
            Problem::TOO_MANY_CONNECTIONS,
            Problem::QUEUE_FULL,
            Problem::QUEUED_TOO_LONG,
            Problem::NOT_STARTED,
            Problem::STOPPED,
            Problem::DEADLINE,
            Problem::FIRST_BYTE,
            Problem::SLOW_HEAD,
            Problem::SLOW_BODY,
            Problem::BODY_TOO_LARGE,
            Problem::SPOOL_FAILED,
            Problem::UNKNOWN_HOST,
            Problem::NO_ROUTE,
            Problem::LEAVES_ROUTE,
            Problem::WEBSOCKET_KEY,
            Problem::refused(Reject::HeadTooLarge),
            Problem::refused(Reject::Malformed),
        ] {
            let Some((code, cause)) = problem.reason.incident() else {
                assert!(problem.code.is_none_or(|code| code.parse::<Name>().is_err()), "{problem:?}");
                assert!(problem.code.and_then(incident::Code::from_name).is_none(), "{problem:?}");
                continue;
            };
            let entry = code.entry();
            // A head that is too large never was a request; it is counted, and its answer needs no code.
            assert!(problem.code.is_none_or(|told| told == code.as_str()), "{problem:?}");
            assert!(entry.causes.iter().any(|it| it.name == cause), "{code} has no cause {cause}");
            let head = problem.status == 431;
            assert!(head || entry.status == Some(problem.status), "{problem:?}");
        }
        for reason in Reason::ALL {
            if let Some((code, cause)) = reason.incident() {
                assert_eq!(code.entry().cause(cause).name, cause, "{reason:?}");
            }
        }
    }
}
