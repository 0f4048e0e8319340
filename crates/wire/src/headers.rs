//! Header fields inside a payload. Common request names travel as one byte, so that the worker finds its ready-made
//! Python strings by index instead of decoding and upper-casing the name for every request.

use crate::WireError;
use crate::cursor::{Cursor, put_bytes};

/// Request header names with a one-byte code: the code is the index plus one. Part of the protocol: append only
/// within one [`crate::VERSION`]. Sorted by length so that a lookup compares only names of the right length.
pub const KNOWN_HEADERS: [&str; 58] = [
    "te",
    "dnt",
    "via",
    "host",
    "date",
    "etag",
    "from",
    "range",
    "accept",
    "cookie",
    "expect",
    "origin",
    "pragma",
    "sec-gpc",
    "referer",
    "trailer",
    "upgrade",
    "if-match",
    "if-range",
    "priority",
    "forwarded",
    "x-real-ip",
    "connection",
    "keep-alive",
    "user-agent",
    "x-csrftoken",
    "traceparent",
    "content-type",
    "cache-control",
    "if-none-match",
    "authorization",
    "last-modified",
    "x-request-id",
    "max-forwards",
    "accept-charset",
    "content-length",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "accept-encoding",
    "accept-language",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-start",
    "x-requested-with",
    "content-encoding",
    "if-modified-since",
    "transfer-encoding",
    "sec-websocket-key",
    "x-forwarded-proto",
    "proxy-authorization",
    "if-unmodified-since",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "upgrade-insecure-requests",
];

const LONGEST_KNOWN: usize = 25;

/// `BY_LENGTH[n]..BY_LENGTH[n + 1]` are the positions in [`SORTED`] of the names that are `n` bytes long.
const BY_LENGTH: [u8; LONGEST_KNOWN + 2] = {
    let mut starts = [0_u8; LONGEST_KNOWN + 2];
    let mut length = 0;
    let mut position = 0_u8;
    while length <= LONGEST_KNOWN {
        starts[length] = position;
        let mut index = 0;
        while index < KNOWN_HEADERS.len() {
            if KNOWN_HEADERS[index].len() == length {
                position += 1;
            }
            index += 1;
        }
        length += 1;
    }
    starts[LONGEST_KNOWN + 1] = position;
    assert!(position as usize == KNOWN_HEADERS.len(), "LONGEST_KNOWN must cover every name");
    starts
};

/// Indices into [`KNOWN_HEADERS`], ordered by the length of the name.
const SORTED: [u8; KNOWN_HEADERS.len()] = {
    let mut order = [0_u8; KNOWN_HEADERS.len()];
    let mut filled = 0;
    let mut length = 0;
    while length <= LONGEST_KNOWN {
        let mut index = 0;
        while index < KNOWN_HEADERS.len() {
            if KNOWN_HEADERS[index].len() == length {
                order[filled] = index as u8;
                filled += 1;
            }
            index += 1;
        }
        length += 1;
    }
    order
};

/// The code of a header name in any case, if it has one.
#[must_use]
pub fn known_header(name: &[u8]) -> Option<u8> {
    let length = name.len();
    if length > LONGEST_KNOWN {
        return None;
    }
    let candidates = &SORTED[BY_LENGTH[length] as usize..BY_LENGTH[length + 1] as usize];
    let index = candidates
        .iter()
        .find(|&&index| KNOWN_HEADERS[index as usize].as_bytes().eq_ignore_ascii_case(name))?;
    Some(index + 1)
}

/// A header name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// Index into [`KNOWN_HEADERS`].
    Known(u8),
    /// Any other name, lower case.
    Other(&'a [u8]),
}

impl<'a> Name<'a> {
    /// The name in lower case.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        match *self {
            Name::Known(index) => KNOWN_HEADERS[index as usize].as_bytes(),
            Name::Other(name) => name,
        }
    }
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: Name<'a>,
    pub value: &'a [u8],
}

/// Encoded header fields, checked when they were decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderList<'a> {
    count: u16,
    encoded: &'a [u8],
}

impl<'a> HeaderList<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The fields in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut cursor = Cursor::new(0, self.encoded);
        // Decoding walked the list once already, so an error cannot happen and would only end the list early.
        (0..self.count).map_while(move |_| take_header(&mut cursor).ok())
    }

    pub(crate) fn decode(kind: u8, cursor: &mut Cursor<'a>) -> Result<Self, WireError> {
        let count = cursor.u16()?;
        let before = cursor.rest();
        for _ in 0..count {
            take_header(cursor).map_err(|error| match error {
                WireError::Truncated(_) => WireError::Truncated(kind),
                _ => WireError::BadField(kind),
            })?;
        }
        let encoded = &before[..before.len() - cursor.rest().len()];
        Ok(HeaderList { count, encoded })
    }
}

fn take_header<'a>(cursor: &mut Cursor<'a>) -> Result<Header<'a>, WireError> {
    let name = match cursor.u8()? {
        0 => Name::Other(cursor.bytes()?),
        code if usize::from(code) <= KNOWN_HEADERS.len() => Name::Known(code - 1),
        _ => return Err(WireError::BadField(0)),
    };
    Ok(Header { name, value: cursor.bytes()? })
}

/// Append one field; a name without a code is written in lower case.
pub(crate) fn put_header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if let Some(code) = known_header(name) {
        out.push(code);
    } else {
        out.push(0);
        let start = out.len();
        put_bytes(out, name);
        out[start + 4..].make_ascii_lowercase();
    }
    put_bytes(out, value);
}
