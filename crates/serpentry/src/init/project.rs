//! A project's files, within bounds: what is there, and the text of one.
//!
//! The folder is not trusted. Nothing in it is run, symbolic links are not followed, and how much is looked at is bounded in
//! files, depth and bytes. What lies beyond a bound is said, not silently left out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Folders below the project's own that are looked into.
const DEPTH: usize = 3;

/// Files and folders that are looked at.
const ENTRIES: usize = 2000;

/// Largest file that is read, in bytes: source written by people is smaller.
pub(super) const FILE_SIZE: u64 = 1024 * 1024;

/// Bytes read altogether, so that no project takes long.
const TOTAL_SIZE: u64 = 16 * 1024 * 1024;

/// Folders that hold no entry point of the application. Hidden ones and virtual environments neither.
const PASSED_OVER: &[&str] = &[
    "__pycache__",
    "build",
    "dist",
    "docs",
    "examples",
    "migrations",
    "node_modules",
    "site-packages",
    "static",
    "templates",
    "test",
    "tests",
];

/// What was found in a folder.
pub(super) struct Project {
    root: PathBuf,
    /// Relative to the root with slashes; those nearest to the root first, then by name.
    files: Vec<String>,
    /// What was not looked at, and why.
    omitted: RefCell<Vec<String>>,
    /// Texts read so far, so that a file counts once.
    texts: RefCell<BTreeMap<String, Option<String>>>,
    read: Cell<u64>,
}

impl Project {
    /// List the files of a folder.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        let mut omitted = Vec::new();
        let mut seen = 0;
        let mut folders = vec![String::new()];
        for depth in 0..=DEPTH {
            let mut deeper = Vec::new();
            for folder in std::mem::take(&mut folders) {
                let entries = match list(&root.join(&folder), ENTRIES.saturating_sub(seen)) {
                    Ok(entries) => entries,
                    Err(error) if depth == 0 => return Err(error),
                    Err(error) => {
                        omitted.push(format!("{folder}: {error}"));
                        continue;
                    }
                };
                seen += entries.len();
                for (name, is_folder) in entries {
                    let path = join(&folder, &name);
                    if !is_folder {
                        files.push(path);
                    } else if is_looked_into(root, &path, &name) {
                        deeper.push(path);
                    }
                }
            }
            folders = deeper;
        }
        if seen >= ENTRIES {
            omitted.push(format!("only the first {ENTRIES} files were looked at"));
        }
        let omitted = RefCell::new(omitted);
        Ok(Project { root: root.to_owned(), files, omitted, texts: RefCell::default(), read: Cell::new(0) })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file == path)
    }

    /// A file's text; what is not UTF-8 in it is replaced. `None` if there is no such file or it is too large.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        if !self.has(path) {
            return None;
        }
        match self.texts.borrow_mut().entry(path.to_owned()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(self.read(path)).clone(),
        }
    }

    /// What was not looked at, and why.
    pub(super) fn omitted(&self) -> Vec<String> {
        self.omitted.borrow().clone()
    }

    fn read(&self, path: &str) -> Option<String> {
        if self.read.get() >= TOTAL_SIZE {
            self.omit(format!("{path}: not read, more than {} MiB were read before it", TOTAL_SIZE >> 20));
            return None;
        }
        match read_bounded(&self.root.join(path)) {
            Ok(Some(text)) => {
                self.read.set(self.read.get() + text.len() as u64);
                Some(text)
            }
            Ok(None) => {
                self.omit(format!("{path}: not read, it is larger than {} MiB", FILE_SIZE >> 20));
                None
            }
            Err(error) => {
                self.omit(format!("{path}: {error}"));
                None
            }
        }
    }

    fn omit(&self, what: String) {
        // One line says enough if a thousand files are too many.
        let mut omitted = self.omitted.borrow_mut();
        if omitted.len() < 10 {
            omitted.push(what);
        }
    }
}

/// A regular file's text, or `None` if it is larger than [`FILE_SIZE`].
///
/// # Errors
/// When it is no regular file or cannot be read.
pub(super) fn read_bounded(path: &Path) -> io::Result<Option<String>> {
    // A pipe or a device would block or never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_SIZE + 1).read_to_end(&mut bytes)?;
    let fits = bytes.len() as u64 <= FILE_SIZE;
    Ok(fits.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// `folder/name`, or `name` in the project's own folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The folder of a path: "" for the project's own.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last part of a path.
pub(super) fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Names and whether each is a folder, sorted, at most `most`. Neither links nor what is no file.
fn list(folder: &Path, most: usize) -> io::Result<Vec<(String, bool)>> {
    let regular = |entry: DirEntry| {
        let kind = entry.file_type().ok()?;
        let name = entry.file_name().into_string().ok()?;
        (kind.is_file() || kind.is_dir()).then(|| (name, kind.is_dir()))
    };
    let mut entries: Vec<_> = fs::read_dir(folder)?.flatten().take(most).filter_map(regular).collect();
    entries.sort();
    Ok(entries)
}

fn is_looked_into(root: &Path, path: &str, name: &str) -> bool {
    let hidden = name.starts_with('.');
    let environment = matches!(name, "venv" | "env") || root.join(path).join("pyvenv.cfg").exists();
    !hidden && !environment && !PASSED_OVER.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn lists_near_files_first_and_passes_over_the_rest() {
        let files =
            ["b/a.py", "a.py", "b/c/d/e.py", "b/c/d/e/too_deep.py", ".git/x.py", "my/pyvenv.cfg", "my/y.py"];
        let folder = folder(&files);
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.files().collect::<Vec<_>>(), ["a.py", "b/a.py", "b/c/d/e.py"]);
        assert_eq!(project.text("b/a.py").as_deref(), Some("b/a.py"));
        assert_eq!(project.text("nothing.py"), None);
        assert!(project.omitted().is_empty());
    }

    #[test]
    fn links_are_not_followed() {
        let folder = folder(&["a.py"]);
        symlink(folder.path(), folder.path().join("loop")).unwrap();
        symlink("/etc/passwd", folder.path().join("b.py")).unwrap();
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.files().collect::<Vec<_>>(), ["a.py"]);
    }

    #[test]
    fn too_many_files_are_said() {
        let folder = folder(&[]);
        for number in 0..=ENTRIES {
            fs::write(folder.path().join(format!("{number}.txt")), "").unwrap();
        }
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.files().count(), ENTRIES);
        assert_eq!(project.omitted(), ["only the first 2000 files were looked at"]);
    }

    #[test]
    fn too_large_files_are_said() {
        let folder = folder(&["b.py"]);
        let size = usize::try_from(FILE_SIZE).unwrap();
        fs::write(folder.path().join("a.py"), vec![b'x'; size + 1]).unwrap();
        fs::write(folder.path().join("b.py"), vec![b'x'; size]).unwrap();
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.text("a.py"), None);
        assert_eq!(project.text("b.py").map(|text| text.len()), Some(size));
        assert_eq!(project.omitted(), ["a.py: not read, it is larger than 1 MiB"]);
    }

    #[test]
    fn what_is_no_utf_8_is_read_all_the_same() {
        let folder = folder(&[]);
        fs::write(folder.path().join("a.py"), b"x = '\xe9'\n").unwrap();
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.text("a.py").as_deref(), Some("x = '\u{fffd}'\n"));
    }
}
