//! Finds the end of a request head in a buffer that grows, looking at each byte once.

use super::head::Reject;

/// Longest request line in bytes, without its CRLF. RFC 9112 section 3 asks for at least 8,000.
pub(crate) const REQUEST_LINE_LIMIT: usize = 16 * 1024;

/// Progress through one head.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct HeadScanner {
    /// Bytes already looked at.
    seen: usize,
    /// Where the current line begins.
    line_start: usize,
    /// Complete lines so far.
    lines: usize,
}

impl HeadScanner {
    /// Length of the head with its final empty line, or `None` when more bytes are needed.
    ///
    /// `bytes` starts at the head and only grows between calls. Refuses line ends without CR (RFC 9112 section 2.2 lets
    /// a server accept them; proxies disagree about them, so we do not) and heads over `limit` bytes.
    pub(crate) fn find_end(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, Reject> {
        if self.seen == 0 && bytes.first().is_some_and(|first| !first.is_ascii_graphic()) {
            return Err(Reject::NotHttp);
        }
        for offset in memchr::memchr_iter(b'\n', &bytes[self.seen..]) {
            let line_end = self.seen + offset;
            let line = &bytes[self.line_start..line_end];
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Reject::BareLineFeed);
            };
            self.lines += 1;
            if self.lines == 1 && line.len() > REQUEST_LINE_LIMIT {
                return Err(Reject::RequestLineTooLong);
            }
            self.line_start = line_end + 1;
            if self.line_start > limit {
                return Err(Reject::HeadTooLarge);
            }
            if line.is_empty() {
                return Ok(Some(self.line_start));
            }
        }
        self.seen = bytes.len();
        if self.lines == 0 && self.seen > REQUEST_LINE_LIMIT + 2 {
            return Err(Reject::RequestLineTooLong);
        }
        if self.seen > limit {
            return Err(Reject::HeadTooLarge);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feed `bytes` in every possible split in two and one byte at a time: the answer must not depend on it.
    fn check(bytes: &[u8], expect: Result<Option<usize>, Reject>) {
        for cut in 0..=bytes.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.find_end(&bytes[..cut], 1 << 16);
            let got = if matches!(first, Ok(None)) { scanner.find_end(bytes, 1 << 16) } else { first };
            assert_eq!(got, expect, "cut at {cut}");
        }
        let mut scanner = HeadScanner::default();
        let stepped =
            (1..=bytes.len()).map(|end| scanner.find_end(&bytes[..end], 1 << 16)).find(|r| *r != Ok(None));
        assert_eq!(stepped.unwrap_or(Ok(None)), expect, "byte by byte");
    }

    #[test]
    fn finds_the_end_of_a_head() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET ", Ok(Some(27)));
        check(b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None));
    }

    #[test]
    fn refuses_bare_line_feeds_wherever_they_are() {
        check(b"GET / HTTP/1.1\nHost: a\n\n", Err(Reject::BareLineFeed));
        check(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Err(Reject::BareLineFeed));
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(Reject::BareLineFeed));
    }

    #[test]
    fn refuses_what_is_not_http_at_the_first_byte() {
        check(b"\x16\x03\x01\x02\x00", Err(Reject::NotHttp));
    }

    #[test]
    fn limits_the_request_line_and_the_head() {
        let mut long = b"GET /".to_vec();
        long.resize(REQUEST_LINE_LIMIT + 10, b'a');
        assert_eq!(HeadScanner::default().find_end(&long, 1 << 16), Err(Reject::RequestLineTooLong));
        long.extend_from_slice(b" HTTP/1.1\r\n\r\n");
        assert_eq!(HeadScanner::default().find_end(&long, 1 << 16), Err(Reject::RequestLineTooLong));
        let mut wide = b"GET / HTTP/1.1\r\nA: ".to_vec();
        wide.resize(2000, b'b');
        assert_eq!(HeadScanner::default().find_end(&wide, 1000), Err(Reject::HeadTooLarge));
        wide.extend_from_slice(b"\r\n\r\n");
        assert_eq!(HeadScanner::default().find_end(&wide, 1000), Err(Reject::HeadTooLarge));
    }
}
