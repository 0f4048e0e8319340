//! The Python side, as files that an interpreter can load.
//!
//! A finished program carries them inside itself and writes them once to a folder named by their content, in the user's
//! cache; a development build finds them in `ext/` beside the folder of the program (`target/ext`).

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    folder: PathBuf,
}

impl Extension {
    /// Find the files, writing them first if this program carries them.
    ///
    /// # Errors
    /// When they cannot be written, or a development build has not built them.
    pub(crate) fn find() -> anyhow::Result<Self> {
        if !embedded::EMBEDDED.is_empty() {
            let folder =
                install().context("cannot write the Python side of this program to a cache folder")?;
            return Ok(Extension { folder });
        }
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        let folder =
            program.ancestors().skip(1).take(3).map(|folder| folder.join("ext")).find(|ext| ext.is_dir());
        match folder {
            Some(folder) => Ok(Extension { folder }),
            None => bail!("this development build has no Python side: run `cargo xtask worker` first"),
        }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The first file that Python runs.
    pub(crate) fn boot(&self) -> PathBuf {
        self.folder.join("boot.py")
    }

    /// The extension module for CPython 3.`minor`. From 3.12 on the stable ABI has vectorcall, which the second build uses.
    pub(crate) fn module(&self, minor: u32) -> PathBuf {
        let abi = if minor >= 12 { "abi3-py312" } else { "abi3-py310" };
        self.folder.join(format!("serpentry_worker.{abi}.so"))
    }
}

fn install() -> anyhow::Result<PathBuf> {
    let mut digest = Sha256::new();
    for (name, bytes) in embedded::EMBEDDED {
        digest.update(name.as_bytes());
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    }
    let name: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let base = cache_folder()?;
    let folder = base.join(name);
    if !is_complete(&folder) {
        let fresh = tempfile::Builder::new().prefix("new-").tempdir_in(&base)?;
        for (name, bytes) in embedded::EMBEDDED {
            write_file(&fresh.path().join(name), bytes)?;
        }
        let fresh = fresh.keep();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        put_in_place(&fresh, &folder)?;
    }
    Ok(folder)
}

/// Rename `fresh` to `folder`. Other processes may do the same at this moment; whoever comes second is content with what it
/// finds if that is complete, and moves a damaged copy out of the way otherwise.
fn put_in_place(fresh: &Path, folder: &Path) -> io::Result<()> {
    const TRIES: usize = 10;
    let mut outcome = Ok(());
    for attempt in 0..TRIES {
        outcome = fs::rename(fresh, folder);
        if outcome.is_ok() {
            return Ok(());
        }
        if is_complete(folder) {
            return fs::remove_dir_all(fresh);
        }
        let damaged = fresh.with_extension(format!("damaged{attempt}"));
        if fs::rename(folder, &damaged).is_ok() {
            fs::remove_dir_all(&damaged)?;
        }
    }
    outcome
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o555))?;
    file.sync_all()
}

fn is_complete(folder: &Path) -> bool {
    embedded::EMBEDDED
        .iter()
        .all(|(name, bytes)| fs::read(folder.join(name)).is_ok_and(|content| content == *bytes))
}

/// A folder of ours that nobody else can write to, the first that works of: the service manager's state directory, the
/// user's cache, a private folder in the temporary directory.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let uid = rustix::process::getuid().as_raw();
    let candidates = [
        variable("STATE_DIRECTORY").map(|folder| folder.join("ext")),
        variable("XDG_CACHE_HOME").map(|folder| folder.join("serpentry/ext")),
        variable("HOME").map(|folder| folder.join(".cache/serpentry/ext")),
        Some(std::env::temp_dir().join(format!("serpentry-{uid}/ext"))),
    ];
    let mut reasons = Vec::new();
    for folder in candidates.into_iter().flatten() {
        match make_private(&folder, uid) {
            Ok(()) => return Ok(folder),
            Err(error) => reasons.push(format!("{}: {error}", folder.display())),
        }
    }
    bail!("no folder can be used ({})", reasons.join("; "))
}

fn make_private(folder: &Path, uid: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    // The temporary directory is everybody's: what was there before us must be ours, up to the folder that we share.
    for folder in folder.ancestors().take(2) {
        let metadata = folder.symlink_metadata()?;
        if !metadata.is_dir() || metadata.uid() != uid || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it belongs to somebody else or others can write to it"));
        }
    }
    // Writable for us?
    tempfile::tempfile_in(folder).map(drop)
}
