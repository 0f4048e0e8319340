//! The files of the logs: `STATE/logs/APP.log`, and `APP.log.1` (the newest) to `APP.log.N` of before.
//!
//! Rotation renames, so that no line is lost or repeated: whoever has a file open keeps reading it under its new name. A
//! record is in a file whole or not at all. No thread and no buffer here: it writes when it is told and may wait for the
//! disk.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::book::Rotation;

/// Files that are open at a time; before the next one, all are closed.
const OPEN_FILES: usize = 256;

/// Old files beyond those wanted that are removed in one go.
const MOST_REMOVED: u32 = 1_000;

/// Where lines go. In the tests it may also be slower.
pub(super) trait Store: Send {
    /// Append whole records.
    fn append(&mut self, app: &Arc<str>, text: &[u8], rotation: Rotation) -> Result<(), Failed>;

    /// No more lines of this application are expected.
    fn close(&mut self, app: &str);
}

/// A text was not written, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub(super) struct Failed {
    /// The first bytes that were: whole records.
    pub(super) written: usize,
    path: PathBuf,
    error: io::Error,
}

#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    open: HashMap<Arc<str>, File>,
}

/// `APP.log` in a folder, or an older one.
pub(super) fn path(directory: &Path, app: &str, age: u32) -> PathBuf {
    directory.join(if age == 0 { format!("{app}.log") } else { format!("{app}.log.{age}") })
}

/// Open without following a link that somebody may have put there, and nothing but a file.
fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    // Nobody waits for the other side of a named pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.clone().custom_flags(flags.bits().cast_signed()).mode(0o640).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Open a log for reading.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), path)
}

/// What makes two names one file.
pub(super) fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Files {
    /// The folder is created when the first line comes, if it is not there.
    pub(super) fn new(directory: PathBuf) -> Self {
        Files { directory, open: HashMap::new() }
    }

    /// The application's current file. One that somebody has renamed or removed is not written any more.
    fn current(&mut self, app: &Arc<str>) -> io::Result<&File> {
        let path = path(&self.directory, app, 0);
        let known = match self.open.get(app) {
            Some(file) => {
                let now = fs::symlink_metadata(&path);
                now.is_ok_and(|now| file.metadata().is_ok_and(|ours| identity(&ours) == identity(&now)))
            }
            None => false,
        };
        if !known {
            self.open.remove(app);
            if self.open.len() >= OPEN_FILES {
                self.open.clear();
            }
            let file = self.create(&path)?;
            self.open.insert(Arc::clone(app), file);
        }
        self.open.get(app).ok_or_else(|| io::Error::other("it was closed"))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = match open(&options, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o750).create(&self.directory)?;
                open(&options, path)?
            }
            file => file?,
        };
        end_torn_record(&file)?;
        Ok(file)
    }

    /// Append the first whole records that the current file has room for; the number of their bytes.
    fn append_some(
        &mut self,
        app: &Arc<str>,
        text: &[u8],
        rotation: Rotation,
    ) -> Result<usize, (usize, io::Error)> {
        let nothing = |error| (0, error);
        let mut file = self.current(app).map_err(nothing)?;
        let mut size = file.metadata().map_err(nothing)?.len();
        let first = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
        if size > 0 && size.saturating_add(first as u64) > rotation.size {
            self.rotate(app, rotation.files).map_err(nothing)?;
            file = self.current(app).map_err(nothing)?;
            size = file.metadata().map_err(nothing)?.len();
        }
        let room = usize::try_from(rotation.size.saturating_sub(size)).unwrap_or(usize::MAX);
        let whole =
            text[..room.min(text.len())].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        // A record larger than a file has one for itself.
        let piece = &text[..whole.max(first)];
        let mut written = 0;
        while written < piece.len() {
            match file.write(&piece[written..]) {
                Ok(0) => return Err(self.undo(app, piece, size, written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.undo(app, piece, size, written, error)),
            }
        }
        Ok(written)
    }

    /// Take back the record of which only a part was written; what remains written.
    fn undo(
        &mut self,
        app: &Arc<str>,
        piece: &[u8],
        size: u64,
        written: usize,
        error: io::Error,
    ) -> (usize, io::Error) {
        let whole = piece[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < written {
            // If even that fails, the next one who opens it ends the line.
            let kept = self.open.get(app).map(|file| file.set_len(size + whole as u64));
            if !matches!(kept, Some(Ok(()))) {
                self.open.remove(app);
            }
        }
        (whole, error)
    }

    /// Every file gets one older, from the oldest on; then there is no current one.
    fn rotate(&mut self, app: &Arc<str>, kept: u32) -> io::Result<()> {
        let name = |age| path(&self.directory, app, age);
        // Only up to the first that is missing: there may be room for many more than there are.
        let last = (1..kept).take_while(|age| name(*age).exists()).last().unwrap_or(0);
        for age in (1..=last).rev() {
            unless_missing(fs::rename(name(age), name(age + 1)))?;
        }
        if kept == 0 {
            unless_missing(fs::remove_file(name(0)))?;
        } else {
            unless_missing(fs::rename(name(0), name(1)))?;
        }
        // More were kept before.
        for age in (kept..kept.saturating_add(MOST_REMOVED)).map(|age| age + 1) {
            if fs::remove_file(name(age)).is_err() {
                break;
            }
        }
        self.open.remove(app);
        Ok(())
    }
}

impl Store for Files {
    fn append(&mut self, app: &Arc<str>, text: &[u8], rotation: Rotation) -> Result<(), Failed> {
        let mut written = 0;
        while written < text.len() {
            match self.append_some(app, &text[written..], rotation) {
                Ok(count) => written += count,
                Err((count, error)) => {
                    let path = path(&self.directory, app, 0);
                    return Err(Failed { written: written + count, path, error });
                }
            }
        }
        Ok(())
    }

    fn close(&mut self, app: &str) {
        self.open.remove(app);
    }
}

/// Somebody was killed while writing: the next record begins on a line of its own.
fn end_torn_record(mut file: &File) -> io::Result<()> {
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
#[path = "tests/files.rs"]
mod tests;
