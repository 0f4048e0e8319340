//! Reading one application's log: its files in order, from a chosen line on, across rotations, for as long as wanted.
//!
//! It only reads. A [`Cursor`] holds the files that it has not finished, so that what is renamed or removed meanwhile is
//! still read to its end.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::files::{self, identity};
use super::line::{self, LONGEST_RECORD};

/// Old files that are looked for.
const MOST_FILES: u32 = 1_000;

/// Bytes that are searched at a time, from the end.
const BLOCK: usize = 64 * 1024;

/// Longer lines are not ours; they are shown in parts.
const LONGEST_LINE: u64 = 4 * LONGEST_RECORD as u64;

/// The applications that have a log in a folder, in alphabetical order.
pub(super) fn applications(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(app) = name.to_str().and_then(|name| name.strip_suffix(".log")).filter(|app| is_name(app))
        {
            names.push(app.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What the configuration accepts as an application's name, roughly: nothing that leads out of the folder.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A place in an application's log.
#[derive(Debug)]
pub(super) struct Cursor {
    directory: PathBuf,
    pub(super) app: String,
    /// The file that is read, and newer ones, oldest first. The last was the current one when it was opened.
    files: VecDeque<BufReader<File>>,
    /// Where we are in the first of `files`.
    position: u64,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
}

impl Cursor {
    /// Before the last `lines` lines, or before the first if that is `None` or there are fewer. Also tells how many lines
    /// there are from there on, if they were counted.
    pub(super) fn open(directory: &Path, app: &str, lines: Option<usize>) -> io::Result<(Self, usize)> {
        let mut files = newest_first(directory, app)?;
        let (mut found, mut position) = (0, 0);
        if let Some(wanted) = lines {
            for index in 0..files.len() {
                let (more, begin) = last_lines(&files[index], wanted - found)?;
                (found, position) = (found + more, begin);
                if found == wanted {
                    files.truncate(index + 1);
                    break;
                }
            }
        }
        let mut files: VecDeque<_> = files.into_iter().rev().map(BufReader::new).collect();
        if let Some(first) = files.front_mut() {
            first.seek(SeekFrom::Start(position))?;
        }
        let (directory, app) = (directory.to_owned(), app.to_owned());
        Ok((Cursor { directory, app, files, position, partial: Vec::new() }, found))
    }

    /// The next line, without its end. `None` when there is none for now.
    pub(super) fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            let Some(file) = self.files.front_mut() else { return Ok(None) };
            let room = LONGEST_LINE.saturating_sub(self.partial.len() as u64);
            let count = file.take(room).read_until(b'\n', &mut self.partial)?;
            self.position += count as u64;
            if self.partial.ends_with(b"\n") {
                self.partial.pop();
                return Ok(Some(self.take_partial()));
            }
            if self.partial.len() as u64 >= LONGEST_LINE {
                return Ok(Some(self.take_partial()));
            }
            if self.files.len() == 1 {
                return Ok(None);
            }
            // Nobody writes to it any more.
            self.files.pop_front();
            self.position = 0;
            if !self.partial.is_empty() {
                return Ok(Some(self.take_partial()));
            }
        }
    }

    /// What is in the log is ours and harmless, unless somebody else wrote there.
    fn take_partial(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        match String::from_utf8(bytes) {
            Ok(text) if !text.chars().any(|character| character != '\t' && character.is_control()) => text,
            text => {
                let bytes = text.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
                let mut harmless = String::new();
                line::escape(&bytes, true, |piece, _| harmless.push_str(piece));
                harmless
            }
        }
    }

    /// Look whether there are newer files by now. Returns whether some were written and removed before they could be read.
    pub(super) fn look_for_newer(&mut self) -> io::Result<bool> {
        let path = files::path(&self.directory, &self.app, 0);
        let now = match fs::symlink_metadata(&path) {
            Ok(now) => now,
            // Just being rotated, or removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(last) = self.files.back() else {
            self.files =
                newest_first(&self.directory, &self.app)?.into_iter().rev().map(BufReader::new).collect();
            self.position = 0;
            return Ok(false);
        };
        let ours = last.get_ref().metadata()?;
        if identity(&ours) == identity(&now) {
            self.begin_again_if_cut(now.len())?;
            return Ok(false);
        }
        let mut newer = newest_first(&self.directory, &self.app)?;
        let mut lost = true;
        for index in 0..newer.len() {
            if identity(&newer[index].metadata()?) == identity(&ours) {
                newer.truncate(index);
                lost = false;
                break;
            }
        }
        self.files.extend(newer.into_iter().rev().map(BufReader::new));
        Ok(lost)
    }

    /// Somebody has emptied the file under our hands.
    fn begin_again_if_cut(&mut self, size: u64) -> io::Result<()> {
        if let (1, Some(file)) = (self.files.len(), self.files.front_mut())
            && size < self.position
        {
            self.position = 0;
            self.partial.clear();
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

/// All files of a log. They are opened from the newest to the oldest: one that is renamed meanwhile comes up twice, which
/// its identity tells, while in the other order it would be missed.
fn newest_first(directory: &Path, app: &str) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    let mut known = Vec::new();
    let mut missing = 0;
    for age in 0..MOST_FILES {
        let file = match files::open_to_read(&files::path(directory, app, age)) {
            Ok(file) => file,
            // One may be between two names; after two there are no more.
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing == 0 => {
                missing += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        missing = 0;
        let identity = identity(&file.metadata()?);
        if !known.contains(&identity) {
            known.push(identity);
            files.push(file);
        }
    }
    Ok(files)
}

/// How many of the last `wanted` lines a file has, and where they begin. A line that is not complete is not counted.
fn last_lines(file: &File, wanted: usize) -> io::Result<(usize, u64)> {
    let mut block = vec![0; BLOCK];
    let mut end = file.metadata()?.len();
    let mut newlines = 0;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let size = usize::try_from(end - begin).map_err(io::Error::other)?;
        let read = match file.read_exact_at(&mut block[..size], begin) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok((0, 0)),
            read => read,
        };
        read?;
        for index in (0..size).rev() {
            if block[index] == b'\n' {
                // The newline before the first wanted line: that line begins after it.
                if newlines == wanted {
                    return Ok((wanted, begin + index as u64 + 1));
                }
                newlines += 1;
            }
        }
        end = begin;
    }
    Ok((newlines, 0))
}

#[cfg(test)]
#[path = "tests/history.rs"]
mod tests;
