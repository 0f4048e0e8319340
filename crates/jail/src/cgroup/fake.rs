//! Directories that look like cgroups, for unit tests of what is written where. They keep the last thing written; what the
//! kernel would make of it is for the tests on real ones.

use std::fs;
use std::path::PathBuf;

use super::group::Place;
use super::hierarchy::Version;
use super::limits::{Outcome, Refusal};

pub(super) struct Fake {
    pub(super) dir: tempfile::TempDir,
    version: Version,
}

impl Fake {
    /// A group with these files.
    pub(super) fn new(version: Version, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Fake { dir, version }
    }

    pub(super) fn place(&self) -> Result<Place, Refusal> {
        Ok(Place { version: self.version, dir: self.dir.path().to_path_buf() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap().trim().to_owned()
    }
}

/// The names and values written, each as `name=value`.
pub(super) fn written(outcome: &Outcome) -> Vec<String> {
    let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    outcome.written.iter().map(|written| format!("{}={}", name(&written.file), written.value)).collect()
}
