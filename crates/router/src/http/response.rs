//! Turns an application's response into HTTP/1 bytes whose framing is right whatever the application did
//! (RFC 9112 section 6, RFC 9110 sections 6.4.1, 8.6 and 15).

use std::io::Write as _;

use super::reason::standard_reason;

/// What the request decides about the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// 10 or 11.
    pub(crate) version: u8,
    /// The request was HEAD: no body, but the fields of GET.
    pub(crate) head: bool,
    /// Keep the connection afterwards if the response's framing allows it.
    pub(crate) keep_alive: bool,
}

/// Fields that the host adds unless the application set them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostFields<'a> {
    pub(crate) date: &'a str,
    pub(crate) request_id: &'a str,
    /// Beside the application's own.
    pub(crate) server_timing: Option<&'a str>,
}

/// What the application did wrong; the text goes to its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppFault {
    #[error("status {0} is not one an application may send")]
    Status(u16),
    #[error("response header {0:?} is not a valid field name or holds a control character")]
    Header(String),
    #[error("Content-Length is repeated or not a number")]
    ContentLength,
    #[error("the body is shorter than the Content-Length of {0} bytes")]
    TooShort(u64),
    #[error("the body is longer than the Content-Length of {0} bytes")]
    TooLong(u64),
    #[error("the worker sent pieces of a response in the wrong order")]
    Order,
    #[error("the worker sent more than it had credit for")]
    Window,
}

/// Bytes that hold most response heads.
const USUAL_HEAD: usize = 384;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFraming {
    /// HEAD, 204, 304: body bytes are dropped.
    Nothing,
    Length {
        stated: u64,
        remaining: u64,
    },
    Chunked,
    UntilClose,
}

/// Encoder of one response.
#[derive(Debug)]
pub(crate) struct ResponseEncoder {
    exchange: Exchange,
    framing: Option<BodyFraming>,
    finished: bool,
    /// Body bytes accepted from the application, for the access log.
    body_bytes: u64,
    status: u16,
}

impl ResponseEncoder {
    pub(crate) fn new(exchange: Exchange) -> Self {
        ResponseEncoder { exchange, framing: None, finished: false, body_bytes: 0, status: 0 }
    }

    /// The head has been encoded: it is too late for another answer.
    pub(crate) fn has_begun(&self) -> bool {
        self.framing.is_some()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// The connection may carry another request after this response.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.finished && self.exchange.keep_alive
    }

    /// 0 before the head.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Say "Connection: close" and mean it. Only before the head.
    pub(crate) fn close_after(&mut self) {
        self.exchange.keep_alive = false;
    }

    /// Append status line, fields and the first piece of the body; `end` says that it is all of it.
    ///
    /// # Errors
    /// `out` is unchanged and nothing has begun: another answer can still be encoded.
    pub(crate) fn head<'h>(
        &mut self,
        out: &mut Vec<u8>,
        (status, reason): (u16, &[u8]),
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        (body, end): (&[u8], bool),
        host: HostFields<'_>,
    ) -> Result<(), AppFault> {
        if self.framing.is_some() {
            return Err(AppFault::Order);
        }
        let start = out.len();
        // Room for a usual head, so that it does not grow field by field.
        out.reserve(USUAL_HEAD + body.len());
        let result = self.try_head(out, (status, reason), headers, (body, end), host);
        if result.is_err() {
            out.truncate(start);
            self.framing = None;
            self.finished = false;
        }
        result
    }

    fn try_head<'h>(
        &mut self,
        out: &mut Vec<u8>,
        (status, reason): (u16, &[u8]),
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        (body, end): (&[u8], bool),
        host: HostFields<'_>,
    ) -> Result<(), AppFault> {
        if !(200..=999).contains(&status) {
            return Err(AppFault::Status(status));
        }
        put_status_line(out, status, reason);
        let fields = put_fields(out, headers)?;
        if !fields.date {
            put_field(out, b"date", host.date.as_bytes());
        }
        if !fields.server {
            out.extend_from_slice(b"server: serpentry\r\n");
        }
        if !fields.request_id {
            put_field(out, b"x-request-id", host.request_id.as_bytes());
        }
        if let Some(timing) = host.server_timing {
            put_field(out, b"server-timing", timing.as_bytes());
        }
        if fields.close {
            self.exchange.keep_alive = false;
        }
        let framing =
            self.choose_framing(out, status, fields.content_length, end.then_some(body.len() as u64));
        if framing == BodyFraming::UntilClose {
            self.exchange.keep_alive = false;
        }
        match (self.exchange.version, self.exchange.keep_alive) {
            (11, false) => out.extend_from_slice(b"connection: close\r\n"),
            (10, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            _ => {}
        }
        out.extend_from_slice(b"\r\n");
        self.framing = Some(framing);
        self.status = status;
        self.body(out, body, end)
    }

    /// `whole`: length of the body when it is already complete.
    fn choose_framing(
        &self,
        out: &mut Vec<u8>,
        status: u16,
        stated: Option<u64>,
        whole: Option<u64>,
    ) -> BodyFraming {
        let bodiless = status == 204 || status == 304;
        if bodiless || self.exchange.head {
            // 204 must not state a length; 304 and HEAD may state that of the body they do not send.
            let length = stated.or(whole.filter(|_| self.exchange.head && !bodiless));
            if let Some(length) = length.filter(|_| status != 204) {
                put_length(out, length);
            } else if !bodiless && self.exchange.version == 11 {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
            return BodyFraming::Nothing;
        }
        if status == 205 {
            // RFC 9110 section 15.3.6: the client resets its form and expects nothing.
            put_length(out, 0);
            return BodyFraming::Nothing;
        }
        if let Some(stated) = stated.or(whole) {
            put_length(out, stated);
            return BodyFraming::Length { stated, remaining: stated };
        }
        if self.exchange.version == 11 {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            return BodyFraming::Chunked;
        }
        BodyFraming::UntilClose
    }

    /// Append a piece of the body.
    ///
    /// # Errors
    /// The response cannot be completed: cut the connection so that the client notices.
    pub(crate) fn body(&mut self, out: &mut Vec<u8>, data: &[u8], end: bool) -> Result<(), AppFault> {
        if self.finished {
            return Err(AppFault::Order);
        }
        let length = data.len() as u64;
        self.body_bytes += length;
        match self.framing.as_mut().ok_or(AppFault::Order)? {
            BodyFraming::Nothing => {}
            BodyFraming::Length { stated, remaining } => {
                *remaining = remaining.checked_sub(length).ok_or(AppFault::TooLong(*stated))?;
                if end && *remaining > 0 {
                    return Err(AppFault::TooShort(*stated));
                }
                out.extend_from_slice(data);
            }
            BodyFraming::Chunked => {
                if !data.is_empty() {
                    // A Vec as writer cannot fail.
                    let _ = write!(out, "{:x}\r\n", data.len());
                    out.extend_from_slice(data);
                    out.extend_from_slice(b"\r\n");
                }
                if end {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
            }
            BodyFraming::UntilClose => out.extend_from_slice(data),
        }
        self.finished = end;
        Ok(())
    }
}

/// What the application's own fields said.
#[derive(Default)]
struct Fields {
    date: bool,
    server: bool,
    request_id: bool,
    close: bool,
    content_length: Option<u64>,
}

fn put_fields<'h>(
    out: &mut Vec<u8>,
    headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
) -> Result<Fields, AppFault> {
    let mut fields = Fields::default();
    for (name, value) in headers {
        if !is_token(name) || !is_field_value(value) {
            return Err(AppFault::Header(String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned()));
        }
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => continue,
            4 if name.eq_ignore_ascii_case(b"date") => fields.date = true,
            6 if name.eq_ignore_ascii_case(b"server") => fields.server = true,
            7 if name.eq_ignore_ascii_case(b"upgrade") || name.eq_ignore_ascii_case(b"trailer") => continue,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                fields.close |= value
                    .to_ascii_lowercase()
                    .split(|byte| *byte == b',')
                    .any(|e| e.trim_ascii() == b"close");
                continue;
            }
            10 if name.eq_ignore_ascii_case(b"keep-alive") => continue,
            12 if name.eq_ignore_ascii_case(b"x-request-id") => fields.request_id = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = parse_length(value).ok_or(AppFault::ContentLength)?;
                if fields.content_length.replace(length).is_some_and(|other| other != length) {
                    return Err(AppFault::ContentLength);
                }
                continue;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => continue,
            _ => {}
        }
        put_field(out, name, value);
    }
    Ok(fields)
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// `field-name` (RFC 9110 section 5.1).
pub(crate) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token_byte)
}

/// `tchar` (RFC 9110 section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `field-value` (RFC 9110 section 5.5): no CR, LF, NUL or other control character but tab.
pub(crate) fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f || *byte == b'\t')
}

fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    // A Vec as writer cannot fail.
    let _ = write!(out, "content-length: {length}\r\n");
}

fn put_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    if status == 200 && (reason.is_empty() || reason == b"OK") {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let own = !reason.is_empty() && is_field_value(reason);
    let reason = if own { reason } else { standard_reason(status).as_bytes() };
    // A Vec as writer cannot fail.
    let _ = write!(out, "HTTP/1.1 {status} ");
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostFields<'_> = HostFields { date: "D", request_id: "R", server_timing: None };

    struct Case {
        version: u8,
        head: bool,
        status: u16,
        fields: &'static [(&'static str, &'static str)],
        body: &'static str,
        end: bool,
    }

    const PLAIN: Case = Case { version: 11, head: false, status: 200, fields: &[], body: "hello", end: true };

    fn encode(case: &Case) -> (Result<String, AppFault>, bool) {
        let exchange = Exchange { version: case.version, head: case.head, keep_alive: case.version == 11 };
        let mut encoder = ResponseEncoder::new(exchange);
        let mut out = Vec::new();
        let headers = case.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let result =
            encoder.head(&mut out, (case.status, b""), headers, (case.body.as_bytes(), case.end), HOST);
        let text = String::from_utf8(out).unwrap();
        assert!(result.is_ok() || text.is_empty(), "nothing may be left behind by an error");
        (
            result.map(|()| text.replace("date: D\r\nserver: serpentry\r\nx-request-id: R\r\n", "")),
            encoder.keeps_alive(),
        )
    }

    #[track_caller]
    fn check(case: &Case, expect: &str, keeps_alive: bool) {
        assert_eq!(encode(case), (Ok(expect.replace('\n', "\r\n")), keeps_alive));
    }

    #[test]
    fn frames_complete_bodies() {
        check(&PLAIN, "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", true);
        check(
            &Case { fields: &[("Content-Length", "5")], ..PLAIN },
            "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
            true,
        );
        check(&Case { version: 10, ..PLAIN }, "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", false);
        check(
            &Case { status: 404, body: "", ..PLAIN },
            "HTTP/1.1 404 Not Found\ncontent-length: 0\n\n",
            true,
        );
    }

    #[test]
    fn frames_streams() {
        let stream = Case { end: false, ..PLAIN };
        check(&stream, "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n5\nhello\n", false);
        check(&Case { version: 10, ..stream }, "HTTP/1.1 200 OK\n\nhello", false);
    }

    #[test]
    fn sends_no_body_where_http_forbids_it() {
        check(&Case { head: true, ..PLAIN }, "HTTP/1.1 200 OK\ncontent-length: 5\n\n", true);
        check(&Case { status: 204, ..PLAIN }, "HTTP/1.1 204 No Content\n\n", true);
        check(
            &Case { status: 204, fields: &[("content-length", "5")], ..PLAIN },
            "HTTP/1.1 204 No Content\n\n",
            true,
        );
        check(&Case { status: 205, ..PLAIN }, "HTTP/1.1 205 Reset Content\ncontent-length: 0\n\n", true);
        check(&Case { status: 304, ..PLAIN }, "HTTP/1.1 304 Not Modified\n\n", true);
        let stated = Case { status: 304, fields: &[("content-length", "9")], ..PLAIN };
        check(&stated, "HTTP/1.1 304 Not Modified\ncontent-length: 9\n\n", true);
    }

    #[test]
    fn drops_the_applications_connection_fields() {
        let fields =
            &[("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Keep-Alive", "5"), ("A", "b")];
        check(
            &Case { fields, ..PLAIN },
            "HTTP/1.1 200 OK\nA: b\ncontent-length: 5\nconnection: close\n\nhello",
            false,
        );
    }

    #[test]
    fn names_the_applications_mistakes() {
        let fault = |case: &Case| encode(case).0.unwrap_err();
        assert_eq!(fault(&Case { status: 99, ..PLAIN }), AppFault::Status(99));
        assert_eq!(fault(&Case { status: 101, ..PLAIN }), AppFault::Status(101));
        let header = |fields| fault(&Case { fields, ..PLAIN });
        assert_eq!(header(&[("A", "b\r\nSet-Cookie: x")]), AppFault::Header("A".into()));
        assert_eq!(header(&[("A b", "c")]), AppFault::Header("A b".into()));
        assert_eq!(header(&[("", "c")]), AppFault::Header(String::new()));
        assert_eq!(header(&[("Content-Length", "x")]), AppFault::ContentLength);
        assert_eq!(header(&[("Content-Length", "5"), ("Content-Length", "6")]), AppFault::ContentLength);
        assert_eq!(header(&[("Content-Length", "6")]), AppFault::TooShort(6));
        assert_eq!(header(&[("Content-Length", "4")]), AppFault::TooLong(4));
    }

    #[test]
    fn counts_streamed_bytes_against_the_stated_length() {
        let start = |length: &'static str| {
            let mut encoder = ResponseEncoder::new(Exchange { version: 11, head: false, keep_alive: true });
            let headers = [(&b"content-length"[..], length.as_bytes())].into_iter();
            encoder.head(&mut Vec::new(), (200, b""), headers, (b"abc", false), HOST).unwrap();
            encoder
        };
        assert_eq!(start("6").body(&mut Vec::new(), b"def", true), Ok(()));
        assert_eq!(start("7").body(&mut Vec::new(), b"def", true), Err(AppFault::TooShort(7)));
        assert_eq!(start("5").body(&mut Vec::new(), b"def", false), Err(AppFault::TooLong(5)));
        let mut finished = start("3");
        finished.body(&mut Vec::new(), b"", true).unwrap();
        assert_eq!(finished.body(&mut Vec::new(), b"x", true), Err(AppFault::Order));
    }

    #[test]
    fn a_second_head_is_an_error_that_changes_nothing() {
        let mut encoder = ResponseEncoder::new(Exchange { version: 11, head: false, keep_alive: true });
        let mut out = Vec::new();
        let mut head =
            |out: &mut Vec<u8>| encoder.head(out, (200, b""), std::iter::empty(), (b"hel", false), HOST);
        head(&mut out).unwrap();
        let before = out.clone();
        assert_eq!(head(&mut out), Err(AppFault::Order));
        assert_eq!(out, before);
        assert!(encoder.has_begun(), "no other answer may follow");
    }

    #[test]
    fn keeps_the_applications_reason_phrase() {
        let mut encoder = ResponseEncoder::new(Exchange { version: 11, head: false, keep_alive: true });
        let mut out = Vec::new();
        encoder.head(&mut out, (299, b"Quite Fine"), std::iter::empty(), (b"", true), HOST).unwrap();
        assert!(out.starts_with(b"HTTP/1.1 299 Quite Fine\r\n"));
    }
}
