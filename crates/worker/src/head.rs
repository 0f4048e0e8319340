//! The head of a response while the application may still replace it: checked, but not sent.
//!
//! The fields are kept in one buffer so that a response costs one allocation. Names and values are checked
//! here (RFC 9110 sections 5.1 and 5.5) because here the application can still be told what is wrong; the
//! router checks them again.

use wire::FromWorker;

/// Why a header field cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("header name is not a token (letters, digits and !#$%&'*+-.^_`|~)")]
    Name,
    #[error("header value contains a control character")]
    Value,
    #[error("Content-Length is not a number, or is stated twice with different values")]
    ContentLength,
    #[error("header fields are larger than {} bytes together", Head::LIMIT)]
    TooLarge,
}

/// Status and header fields of one response.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Empty means the standard reason phrase of the status.
    reason: Vec<u8>,
    /// `Content-Length`, if the application stated it.
    pub(crate) content_length: Option<u64>,
    fields: Vec<u8>,
}

/// Standard reason phrases of the statuses that make up nearly all responses (RFC 9110 section 15).
const EVERYDAY: [(u16, &[u8]); 9] = [
    (200, b"OK"),
    (201, b"Created"),
    (204, b"No Content"),
    (301, b"Moved Permanently"),
    (302, b"Found"),
    (304, b"Not Modified"),
    (400, b"Bad Request"),
    (403, b"Forbidden"),
    (404, b"Not Found"),
];

/// Which bytes may be in a token (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let symbol = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte] = symbol || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

impl Head {
    /// Well below the largest frame, with room for a first piece of the body.
    const LIMIT: usize = 256 * 1024;

    pub(crate) fn new(status: u16) -> Self {
        Head { status, reason: Vec::new(), content_length: None, fields: Vec::with_capacity(256) }
    }

    /// Use this reason phrase; the everyday ones are left to the router, which has them ready.
    pub(crate) fn with_reason(mut self, reason: &[u8]) -> Self {
        if !EVERYDAY.contains(&(self.status, reason)) {
            self.reason = reason.to_vec();
        }
        self
    }

    /// Add one field after checking it.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if name.is_empty() || !name.iter().all(|byte| TOKEN[usize::from(*byte)]) {
            return Err(HeadError::Name);
        }
        if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
            return Err(HeadError::Value);
        }
        if name.len() == 14 && name.eq_ignore_ascii_case(b"content-length") {
            self.set_content_length(value)?;
        }
        if self.fields.len() + name.len() + value.len() > Self::LIMIT {
            return Err(HeadError::TooLarge);
        }
        for part in [name, value] {
            // Bounded by LIMIT, so it fits.
            self.fields.extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.fields.extend_from_slice(part);
        }
        Ok(())
    }

    fn set_content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let digits = value.trim_ascii();
        let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let length =
            std::str::from_utf8(digits).ok().filter(|_| all_digits).and_then(|text| text.parse().ok());
        match (length, self.content_length) {
            (None, _) => Err(HeadError::ContentLength),
            (Some(new), Some(old)) if new != old => Err(HeadError::ContentLength),
            _ => {
                self.content_length = length;
                Ok(())
            }
        }
    }

    /// Append the Response frame with the first piece of the body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, id: u64, body: &[u8], flags: u8) {
        FromWorker::encode_response(
            out,
            id,
            self.status,
            &self.reason,
            Fields { rest: &self.fields },
            body,
            flags,
        );
    }
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some(part)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.part()?, self.part()?))
    }
}
