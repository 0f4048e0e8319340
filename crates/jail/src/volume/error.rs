//! What can go wrong with a volume, in sentences for whoever reads them at night.

use std::io;
use std::path::{Path, PathBuf};

/// Why a volume could not be made ready, filled or taken away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused one step.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io { doing: &'static str, path: PathBuf, error: io::Error },
    /// The disk that holds the image has not that much left.
    #[error(
        "no room for a volume of {} at {}: {} are free on that file system, {} more are needed; free some or lower \
         disk_space", bytes(*size), image.display(), bytes(*free), bytes(missing.saturating_sub(*free))
    )]
    NoSpace { image: PathBuf, size: u64, missing: u64, free: u64 },
    /// Below what ext4 with a journal can be.
    #[error("disk_space of {} is too small for a volume: the least is {}", bytes(*asked), bytes(*least))]
    TooSmall { asked: u64, least: u64 },
    /// A volume never shrinks.
    #[error(
        "the volume {} has {} already and cannot be made smaller ({} asked): set disk_space back, or move the data \
         away and remove the file", image.display(), bytes(*has), bytes(*asked)
    )]
    Smaller { image: PathBuf, has: u64, asked: u64 },
    /// A program of e2fsprogs is not installed.
    #[error("the program {program} is not installed: it comes with the package e2fsprogs")]
    MissingProgram { program: &'static str },
    /// A program of e2fsprogs failed.
    #[error("{program} failed on {} ({ended}): {said}", image.display())]
    Program { program: &'static str, image: PathBuf, ended: String, said: String },
    /// This machine, or this container, cannot do it at all.
    #[error("a volume of its own is impossible here: {why}")]
    Impossible { why: String },
    /// Somebody else's file system is mounted where the volume belongs.
    #[error("{} is taken: {by} is mounted there and is not this volume", mount_point.display())]
    Occupied { mount_point: PathBuf, by: String },
    /// Another process holds the image's lock.
    #[error("the volume {} is in use by another host process", image.display())]
    InUse { image: PathBuf },
    /// Copying needs an empty target.
    #[error("{} is not empty: nothing was copied", target.display())]
    NotEmpty { target: PathBuf },
    /// More data than the volume takes.
    #[error(
        "the data in {} ({}) does not fit into {}: {} are free there; raise disk_space", source_path.display(),
        bytes(*needed), target.display(), bytes(*free)
    )]
    DoesNotFit { source_path: PathBuf, target: PathBuf, needed: u64, free: u64 },
    /// Deeper than what is copied.
    #[error("{} has directories more than {deepest} levels deep: nothing deeper is copied", source_path.display())]
    TooDeep { source_path: PathBuf, deepest: usize },
}

/// For `map_err`: a refused step with its path.
pub(super) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |error| Error::Io { doing, path: path.to_owned(), error: error.into() }
}

/// Bytes for people, in binary units with one decimal where it says something.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10 / 1024;
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, UNITS[unit]),
        rest => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_said_in_binary_units() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(1536 << 20), "1.5 GiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }
}
