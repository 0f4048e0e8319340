//! A second reader of HTTP/1 that shares no code with the router: slow, allocating, and refusing all that RFC 9112
//! does not spell out. Two readers that agree on where a message ends leave no room for smuggling.

/// A head split at its line ends.
#[derive(Debug)]
pub(crate) struct Lines<'b> {
    first: &'b [u8],
    pub(crate) fields: Vec<(&'b [u8], &'b [u8])>,
}

impl<'b> Lines<'b> {
    /// Method, target, version (10 or 11).
    pub(crate) fn request_line(&self) -> (&'b [u8], &'b [u8], u8) {
        let words: Vec<_> = self.first.split(|byte| *byte == b' ').collect();
        let &[method, target, version] = &words[..] else {
            panic!("{} is not three words", self.first.escape_ascii())
        };
        assert!(!method.is_empty() && method.iter().all(is_name_byte));
        assert!(!target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f));
        match version {
            b"HTTP/1.0" => (method, target, 10),
            b"HTTP/1.1" => (method, target, 11),
            other => panic!("{} is not a version", other.escape_ascii()),
        }
    }

    /// Values of all fields of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&'b [u8]> {
        let same = |field: &&(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(same).map(|field| field.1).collect()
    }

    /// True when a comma-separated field has this element.
    pub(crate) fn list(&self, name: &str, element: &str) -> bool {
        let elements = self.all(name).join(&b","[..]).to_ascii_lowercase();
        elements.split(|byte| *byte == b',').any(|found| found.trim_ascii() == element.as_bytes())
    }
}

fn is_name_byte(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Take one line with its CRLF off `rest`; neither CR nor LF may be in it.
fn line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let (line, after) = rest.split_at(end);
    *rest = after.strip_prefix(b"\r\n")?;
    Some(line)
}

/// Read exactly one head that ends with its empty line.
pub(crate) fn read_head(mut head: &[u8]) -> Option<Lines<'_>> {
    let lines = take_head(&mut head)?;
    head.is_empty().then_some(lines)
}

fn take_head<'b>(rest: &mut &'b [u8]) -> Option<Lines<'b>> {
    let first = line(rest)?;
    let mut fields = Vec::new();
    loop {
        let line = line(rest)?;
        if line.is_empty() {
            return Some(Lines { first, fields });
        }
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let value = &value[1..];
        let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        if name.is_empty() || !name.iter().all(is_name_byte) || value.iter().any(control) {
            return None;
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        fields.push((name, &value[start..end]));
    }
}

/// A plain decimal number.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// Take a whole chunked body off `rest`.
pub(crate) fn read_chunks(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(rest)?;
        let size = size.split(|byte| *byte == b';').next()?.trim_ascii_end();
        let hexadecimal = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
        let size = hexadecimal.then(|| usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok())??;
        if size == 0 {
            while !line(rest)?.is_empty() {}
            return Some(body);
        }
        let (data, after) = rest.split_at_checked(size)?;
        body.extend_from_slice(data);
        *rest = after.strip_prefix(b"\r\n")?;
    }
}

/// One response as a client sees it.
#[derive(Debug)]
pub(crate) struct Response<'b> {
    pub(crate) status: u16,
    pub(crate) lines: Lines<'b>,
    pub(crate) body: Vec<u8>,
    /// Only the end of the connection ends the body.
    pub(crate) until_close: bool,
}

/// Take one response off `rest`, as RFC 9112 section 6.3 has it; `None` when it is incomplete or malformed. `head`: it
/// answers HEAD. Panics on a head that a client could misread.
pub(crate) fn read_response<'b>(rest: &mut &'b [u8], head: bool) -> Option<Response<'b>> {
    let lines = take_head(rest)?;
    let status = lines.first.strip_prefix(b"HTTP/1.1 ")?;
    let (status, reason) = status.split_first_chunk::<3>()?;
    assert!(reason.starts_with(b" "), "the space before the reason is not optional");
    let status = u16::try_from(digits(status)?).ok()?;
    let (lengths, codings) = (lines.all("content-length"), lines.all("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two lengths: {lines:?}");
    assert!(codings.iter().all(|coding| *coding == b"chunked"));
    assert!(status != 204 || (lengths.is_empty() && codings.is_empty()), "204 has no length");
    let length = lengths.first().map(|length| digits(length).expect("a plain number"));
    let (body, until_close) = match (head || matches!(status, 204 | 304), length) {
        (true, _) => (Vec::new(), false),
        (false, Some(length)) => {
            let (body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = after;
            (body.to_vec(), false)
        }
        (false, None) if !codings.is_empty() => (read_chunks(rest)?, false),
        (false, None) => (std::mem::take(rest).to_vec(), true),
    };
    Some(Response { status, lines, body, until_close })
}
