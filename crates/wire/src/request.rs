//! The head of a request, digested by the router so that the worker parses nothing.

use crate::cursor::{Cursor, put_bytes};
use crate::data::kind;
use crate::frame::seal;
use crate::headers::{HeaderList, put_header};
use crate::{FRAME_HEADER, WireError};

/// Everything about a request but its header fields and body. All strings are as the client sent them unless said
/// otherwise; the router has checked their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    /// 10 or 11: HTTP/1.0 or HTTP/1.1.
    pub version: u8,
    /// "http", "https" (WebSockets too: the worker makes "ws" of it).
    pub scheme: &'a str,
    /// Path without query, percent-encoded as it was sent, with the root path.
    pub raw_path: &'a [u8],
    /// Percent-decoded path, without the root path.
    pub path: &'a [u8],
    /// Query without the question mark, percent-encoded.
    pub query: &'a [u8],
    /// Where the application is mounted: `SCRIPT_NAME`, `root_path`. Empty or "/prefix".
    pub root_path: &'a str,
    /// Address of the client, after trusted proxies; empty for a Unix socket.
    pub client_host: &'a str,
    pub client_port: u16,
    /// Address that accepted the connection; a path and port 0 for a Unix socket.
    pub server_host: &'a str,
    pub server_port: u16,
    pub request_id: &'a str,
    /// Length of the body if the client stated it.
    pub content_length: Option<u64>,
    /// How many response bytes the worker may send before it needs credit.
    pub window: u32,
}

impl<'a> RequestHead<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.version);
        out.extend_from_slice(&self.window.to_le_bytes());
        out.extend_from_slice(&self.client_port.to_le_bytes());
        out.extend_from_slice(&self.server_port.to_le_bytes());
        out.push(u8::from(self.content_length.is_some()));
        out.extend_from_slice(&self.content_length.unwrap_or(0).to_le_bytes());
        for text in
            [self.method, self.scheme, self.root_path, self.client_host, self.server_host, self.request_id]
        {
            put_bytes(out, text.as_bytes());
        }
        for bytes in [self.raw_path, self.path, self.query] {
            put_bytes(out, bytes);
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'a>) -> Result<Self, WireError> {
        let version = cursor.u8()?;
        let window = cursor.u32()?;
        let client_port = cursor.u16()?;
        let server_port = cursor.u16()?;
        let stated = cursor.u8()?;
        let length = cursor.u64()?;
        let content_length = match stated {
            0 => None,
            1 => Some(length),
            _ => return Err(WireError::BadField(kind::REQUEST)),
        };
        Ok(RequestHead {
            version,
            window,
            client_port,
            server_port,
            content_length,
            method: cursor.text()?,
            scheme: cursor.text()?,
            root_path: cursor.text()?,
            client_host: cursor.text()?,
            server_host: cursor.text()?,
            request_id: cursor.text()?,
            raw_path: cursor.bytes()?,
            path: cursor.bytes()?,
            query: cursor.bytes()?,
        })
    }
}

/// Encodes one Request frame: [`RequestWriter::new`], then the fields, then [`RequestWriter::finish`].
#[derive(Debug)]
pub struct RequestWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    count_at: usize,
    count: u16,
}

impl<'b> RequestWriter<'b> {
    /// `flags`: any of `HAS_BODY`, `WEBSOCKET`, `ACK_START`.
    pub fn new(out: &'b mut Vec<u8>, id: u64, flags: u8, head: &RequestHead<'_>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind::REQUEST, flags, 0, 0]);
        out.extend_from_slice(&id.to_le_bytes());
        debug_assert_eq!(out.len() - start, FRAME_HEADER);
        head.encode(out);
        let count_at = out.len();
        out.extend_from_slice(&[0, 0]);
        RequestWriter { out, start, count_at, count: 0 }
    }

    /// Add one field; the name may be in any case.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        put_header(self.out, name, value);
        self.count += 1;
    }

    /// Complete the frame.
    pub fn finish(self) {
        self.out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_le_bytes());
        seal(self.out, self.start);
    }
}

pub(crate) fn decode<'a>(payload: &'a [u8]) -> Result<(RequestHead<'a>, HeaderList<'a>), WireError> {
    let mut cursor = Cursor::new(kind::REQUEST, payload);
    let head = RequestHead::decode(&mut cursor)?;
    let headers = HeaderList::decode(kind::REQUEST, &mut cursor)?;
    cursor.finish()?;
    Ok((head, headers))
}
