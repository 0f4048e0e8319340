//! Reading a file that somebody may be writing.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// So often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// Between two attempts: writing a file takes less.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a file cannot be read, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Problem {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// A whole file as it was at one moment; one byte more than is allowed if it is too large.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let describe = |error: &io::Error| explain(path, error);
    let metadata = fs::metadata(path).map_err(|error| describe(&error))?;
    if metadata.is_dir() {
        let inside = path.join("serpentry.toml");
        return Err(Problem::new("this is a directory", format!("did you mean {}?", inside.display())));
    }
    if !metadata.is_file() {
        return Err(Problem::new("this is not an ordinary file", "give the path of a file"));
    }
    stable(
        || fs::metadata(path).map(|metadata| stamp(&metadata)),
        || content(path),
        || std::thread::sleep(PAUSE),
    )
    .map_err(|error| describe(&error))?
    .ok_or_else(|| {
        Problem::new(
            "the file changes while it is read",
            "write to another file and rename it, or try again when whatever writes it is done",
        )
    })
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(config::LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Read until nothing changed meanwhile; `None` if it changes every time.
fn stable(
    mut stamp: impl FnMut() -> io::Result<Stamp>,
    mut read: impl FnMut() -> io::Result<Vec<u8>>,
    mut pause: impl FnMut(),
) -> io::Result<Option<Vec<u8>>> {
    for attempt in 1..=ATTEMPTS {
        let before = stamp()?;
        let bytes = read()?;
        if stamp()? == before {
            return Ok(Some(bytes));
        }
        if attempt < ATTEMPTS {
            pause();
        }
    }
    Ok(None)
}

fn explain(path: &Path, error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::new(
            "there is no such file",
            "`serpentry init` writes one for the project in this directory; or give the path of another",
        ),
        io::ErrorKind::PermissionDenied => Problem::new(
            "the file cannot be read: permission denied",
            format!("see: ls -l {}", path.display()),
        ),
        _ => Problem::new(format!("the file cannot be read: {error}"), "give the path of a readable file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(size: u64) -> Stamp {
        Stamp { device: 1, inode: 2, size, modified: (0, 0), changed: (0, 0) }
    }

    /// What comes of a file whose stamps are these, one after another, and how often it was read.
    fn reading(sizes: &[u64]) -> (Option<Vec<u8>>, u8) {
        let (mut sizes, mut reads) = (sizes.iter(), 0);
        let stamps = || Ok(at(*sizes.next().unwrap()));
        let read = || {
            reads += 1;
            Ok(vec![reads])
        };
        let result = stable(stamps, read, || ()).unwrap();
        (result, reads)
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        assert_eq!(reading(&[1, 1]), (Some(vec![1]), 1));
        assert_eq!(reading(&[1, 2, 2, 2]), (Some(vec![2]), 2));
        assert_eq!(reading(&[1, 2, 3, 4, 5, 5]), (Some(vec![3]), 3));
        assert_eq!(reading(&[1, 2, 3, 4, 5, 6]), (None, 3));
    }

    #[test]
    fn a_stamp_changes_with_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let look = || stamp(&fs::metadata(&path).unwrap());
        fs::write(&path, "one").unwrap();
        let first = look();
        assert_eq!(first, look());
        fs::write(&path, "three").unwrap();
        assert_ne!(first.size, look().size);
        let other = directory.path().join("other");
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(first.inode, look().inode);
    }
}
