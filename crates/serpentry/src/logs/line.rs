//! From what a process wrote to lines of a log: splitting, escaping, and the form of a record in a file.
//!
//! Pure functions over bytes; nothing here reads or writes anything. What comes in is hostile: an application logs what its
//! visitors send. What goes out is UTF-8 without any control character but the tab, so nobody can forge a line or send
//! escapes to the terminal that shows it.
//!
//! ```text
//! 2026-11-24T03:14:15.123Z out 12345 | text            a line, or the end of a long one
//! 2026-11-24T03:14:15.123Z out 12345 + text            too long for one record: goes on in the next of this stream
//! ```

use serpentry::stamp;
use std::fmt::{self, Write as _};

/// Most bytes of text in a record, before and after escaping.
pub(super) const LONGEST: usize = 16 * 1024;

/// Most bytes of a record: what stands before the text is a time, a stream, a process id and a mark.
pub(super) const LONGEST_RECORD: usize = LONGEST + 64;

/// Longest escape of one character: `\u{10ffff}`.
const LONGEST_ESCAPE: usize = 10;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
    /// Said by the host about the application.
    Host,
}

impl Stream {
    const ALL: [Stream; 3] = [Stream::Out, Stream::Err, Stream::Host];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Stream::Out => "out",
            Stream::Err => "err",
            Stream::Host => "host",
        }
    }
}

/// Collects one stream's bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The beginning of a line whose end has not come; shorter than [`LONGEST`].
    partial: Vec<u8>,
}

impl Splitter {
    /// Call `emit` for each line that is complete now (`true`), and for the parts of one that is too long (`false`).
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8], bool)) {
        while !bytes.is_empty() {
            let window = &bytes[..bytes.len().min(LONGEST - self.partial.len())];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                if self.partial.is_empty() {
                    emit(&window[..end], true);
                } else {
                    self.partial.extend_from_slice(&window[..end]);
                    emit(&self.partial, true);
                    self.partial.clear();
                }
                bytes = &bytes[end + 1..];
                continue;
            }
            self.partial.extend_from_slice(window);
            bytes = &bytes[window.len()..];
            if self.partial.len() == LONGEST {
                let whole = whole_characters(&self.partial);
                emit(&self.partial[..whole], false);
                self.partial.drain(..whole);
            }
        }
    }

    /// The stream has ended: what is left is the last line.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8], bool)) {
        if !self.partial.is_empty() {
            emit(&self.partial, true);
            self.partial.clear();
        }
    }
}

/// The length of `bytes` without a UTF-8 character that has begun at its end and is not complete.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let begin = bytes.len() - back;
        let needs = match bytes[begin] {
            0b1000_0000..=0b1011_1111 => continue,
            0b1100_0000..=0b1101_1111 => 2,
            0b1110_0000..=0b1110_1111 => 3,
            0b1111_0000..=0b1111_0111 => 4,
            _ => 1,
        };
        return if needs > back { begin } else { bytes.len() };
    }
    bytes.len()
}

/// Call `emit` with `raw` as harmless text: once, or more often if escaping makes it longer than [`LONGEST`]. Carriage
/// returns at the end of a complete line belong to the line's end.
pub(super) fn escape(raw: &[u8], complete: bool, mut emit: impl FnMut(&str, bool)) {
    let mut raw = raw;
    while let (true, Some(shorter)) = (complete, raw.strip_suffix(b"\r")) {
        raw = shorter;
    }
    let plain = raw.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if let (true, Ok(text)) = (plain, std::str::from_utf8(raw)) {
        emit(text, complete);
        return;
    }
    let mut text = String::with_capacity(raw.len());
    let mut make_room = |text: &mut String| {
        if text.len() + LONGEST_ESCAPE > LONGEST {
            emit(text, false);
            text.clear();
        }
    };
    for chunk in raw.utf8_chunks() {
        for character in chunk.valid().chars() {
            make_room(&mut text);
            // A String as writer cannot fail; the same holds below.
            match character {
                '\t' => text.push('\t'),
                control @ '\0'..='\x7f' if control.is_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(control));
                }
                hidden if is_hidden(hidden) => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(hidden));
                }
                visible => text.push(visible),
            }
        }
        for byte in chunk.invalid() {
            make_room(&mut text);
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    emit(&text, complete);
}

/// Control characters beyond ASCII, separators that some programs take for the end of a line, and what changes the
/// direction of the text around it (Unicode Standard Annex 9, explicit formatting characters).
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Records under way to a buffer: the file's form of some lines, and where each one is.
#[derive(Debug)]
pub(super) struct Records {
    head: String,
    text: Vec<u8>,
    /// Of each record: where its text begins, and where its newline ends.
    ends: Vec<(usize, usize)>,
}

impl Records {
    /// No records yet, for one stream of one process, now.
    pub(super) fn new(stream: Stream, pid: u32) -> Self {
        let head = format!("{} {} {pid} ", stamp::now(), stream.as_str());
        Records { head, text: Vec::new(), ends: Vec::new() }
    }

    /// Append a line as [`Splitter`] emits it.
    pub(super) fn push(&mut self, raw: &[u8], complete: bool) {
        let Records { head, text, ends } = self;
        escape(raw, complete, |piece, complete| {
            text.extend_from_slice(head.as_bytes());
            text.extend_from_slice(if complete { b"| " } else { b"+ " });
            let begin = text.len();
            text.extend_from_slice(piece.as_bytes());
            text.push(b'\n');
            ends.push((begin, text.len()));
        });
    }

    /// Each record with its newline, and its text alone, also with the newline.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        begins.zip(&self.ends).map(|(begin, (text, end))| (&self.text[begin..*end], &self.text[*text..*end]))
    }
}

/// A record as it was read from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) at: &'a str,
    pub(super) stream: Stream,
    pub(super) pid: u32,
    /// The line goes on in the next record of this stream.
    pub(super) continued: bool,
    pub(super) text: &'a str,
}

impl<'a> Record<'a> {
    /// `None` for what this program has not written.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (at, rest) = line.split_at_checked(stamp::LENGTH)?;
        let shape = at.bytes().zip(b"0000-00-00T00:00:00.000Z");
        let fits =
            |(byte, like): (u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == *like };
        let mut fields = rest.strip_prefix(' ')?.splitn(4, ' ');
        let name = fields.next()?;
        let stream = Stream::ALL.into_iter().find(|stream| stream.as_str() == name)?;
        let pid = fields.next()?.parse().ok()?;
        let continued = match fields.next()? {
            "|" => false,
            "+" => true,
            _ => return None,
        };
        shape.into_iter().all(fits).then_some(Record { at, stream, pid, continued, text: fields.next()? })
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { at, stream, pid, continued, text } = self;
        write!(f, "{at} {} {pid} {} {text}", stream.as_str(), if *continued { '+' } else { '|' })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Split after every `step` bytes, and escape.
    fn lines(input: &[u8], step: usize) -> Vec<(String, bool)> {
        let mut lines = Vec::new();
        let mut emit = |raw: &[u8], complete| {
            assert!(raw.len() <= LONGEST);
            escape(raw, complete, |text, complete| lines.push((text.to_owned(), complete)));
        };
        let mut splitter = Splitter::default();
        for piece in input.chunks(step) {
            splitter.feed(piece, &mut emit);
        }
        splitter.finish(&mut emit);
        lines
    }

    #[test]
    fn escapes_everything_that_a_terminal_or_a_parser_would_obey() {
        for (input, expect) in [
            (&b"plain \\ text\t~"[..], "plain \\ text\t~"),
            (b"crlf\r\n", "crlf"),
            (b"pro\rgress\r\r", "pro\\x0dgress"),
            (b"\x1b[31mred\x07\x00\x7f", "\\x1b[31mred\\x07\\x00\\x7f"),
            (b"latin-1 \xe9\xff", "latin-1 \\xe9\\xff"),
            (b"broken \xe2\x82", "broken \\xe2\\x82"),
            ("ümläut € 🐍".as_bytes(), "ümläut € 🐍"),
            ("csi \u{9b} sep \u{2028} bidi \u{202e}".as_bytes(), "csi \\u{9b} sep \\u{2028} bidi \\u{202e}"),
            (b"", ""),
        ] {
            // The empty line needs its newline to be one.
            let mut input = input.to_vec();
            if !input.ends_with(b"\n") {
                input.push(b'\n');
            }
            for step in [1, 2, 3, input.len()] {
                assert_eq!(lines(&input, step), [(expect.to_owned(), true)], "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn every_byte_and_pair_of_bytes_comes_out_harmless() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                for (text, _) in lines(&[first, second], 1) {
                    assert!(!text.chars().any(|c| c != '\t' && c.is_control()), "{first} {second}: {text:?}");
                }
            }
        }
    }

    #[test]
    fn a_long_line_is_split_and_marked_and_no_character_is_cut() {
        // An odd number of one-byte characters first, so that a cut would hit the middle of one of four bytes.
        let long = format!("xyz{}", "🐍".repeat(LONGEST));
        for step in [1000, 65_536, long.len()] {
            let pieces = lines(long.as_bytes(), step);
            assert_eq!(pieces.iter().map(|(text, _)| &text[..]).collect::<String>(), long);
            assert!(pieces.iter().all(|(text, _)| text.len() <= LONGEST));
            let (last, others) = pieces.split_last().unwrap();
            assert!(last.1 && others.len() >= 4 && others.iter().all(|(_, complete)| !complete));
        }
    }

    #[test]
    fn what_escaping_makes_long_is_split_too() {
        let pieces = lines(&[0xff; LONGEST], LONGEST);
        assert!(pieces.iter().all(|(text, _)| text.len() <= LONGEST));
        assert_eq!(pieces.iter().map(|(text, _)| text.len()).sum::<usize>(), 4 * LONGEST);
    }

    #[test]
    fn a_last_line_without_its_end_is_a_line_and_no_line_is_none() {
        let expect = [("a".to_owned(), true), (String::new(), true), ("b".to_owned(), true)];
        assert_eq!(lines(b"a\n\nb", 1), expect);
        assert_eq!(lines(b"a\n\nb\n", 2), expect);
        assert_eq!(lines(b"", 1), []);
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut records = Records::new(Stream::Err, 4711);
        records.push(b"text | with  marks ", true);
        records.push(b"", true);
        records.push(b"cut", false);
        let written: Vec<_> = records.iter().collect();
        let expect = [("text | with  marks ", false), ("", false), ("cut", true)];
        assert_eq!(written.len(), expect.len());
        for ((whole, text), (content, continued)) in written.into_iter().zip(expect) {
            assert_eq!(text, format!("{content}\n").as_bytes());
            let line = std::str::from_utf8(whole).unwrap().trim_end_matches('\n');
            let record = Record::parse(line).unwrap();
            assert_eq!((record.stream, record.pid), (Stream::Err, 4711));
            assert_eq!((record.text, record.continued), (content, continued));
            assert_eq!(record.to_string(), line);
        }
        for foreign in ["", "text", "2026-11-24T03:14:15.123Z", "2026-11-24T03:14:15.123Z out x | y"] {
            assert_eq!(Record::parse(foreign), None, "{foreign}");
        }
    }
}
