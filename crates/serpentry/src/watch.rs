//! `--reload`: notice that the application's Python files changed. It looks at their times twice a second: a few
//! milliseconds for a few thousand files, which works on every file system, and development is its only use.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

const PERIOD: Duration = Duration::from_millis(500);

/// Folders that hold no code of the application's own.
const IGNORED: [&str; 4] = ["__pycache__", "node_modules", "venv", "site-packages"];

/// Send a message whenever a `.py` file below `directory` is added, removed or changed.
pub(crate) fn start(directory: PathBuf, changes: mpsc::Sender<()>) {
    tokio::task::spawn_local(async move {
        let mut before = None;
        loop {
            let folder = directory.clone();
            let now = tokio::task::spawn_blocking(move || fingerprint(&folder)).await.ok();
            if before.is_some() && now != before {
                // A change that is waiting already stands for this one too.
                let _ = changes.try_send(());
            }
            before = now;
            tokio::time::sleep(PERIOD).await;
        }
    });
}

/// Send a message whenever the file changes. Its content counts, since editors and configuration tools replace files and links.
pub(crate) fn file(path: PathBuf, changes: mpsc::Sender<()>) {
    tokio::task::spawn_local(async move {
        let mut before = None;
        loop {
            let file = path.clone();
            let read = tokio::task::spawn_blocking(move || fs::read(file).ok().map(|bytes| content(&bytes)));
            // A file that is not there for a moment is being replaced.
            if let Ok(Some(now)) = read.await {
                if before.is_some_and(|before| before != now) {
                    let _ = changes.try_send(());
                }
                before = Some(now);
            }
            tokio::time::sleep(PERIOD).await;
        }
    });
}

fn content(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// A number that differs when any file's path, size or time of change does.
fn fingerprint(directory: &Path) -> u64 {
    let mut sum = 0_u64;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder that vanished meanwhile has no files.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !name.starts_with('.') && !IGNORED.contains(&&*name) {
                folders.push(entry.path());
            } else if kind.is_file()
                && name.ends_with(".py")
                && let Ok(metadata) = entry.metadata()
            {
                let mut hasher = DefaultHasher::new();
                (entry.path(), metadata.len(), metadata.modified().ok()).hash(&mut hasher);
                // A sum does not depend on the order in which the folder lists its files.
                sum = sum.wrapping_add(hasher.finish());
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_python_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("package")).unwrap();
        fs::create_dir_all(path(".venv")).unwrap();
        let mut last = fingerprint(folder.path());
        for (name, text, noticed) in [
            ("a.py", "1", true),
            ("package/b.py", "1", true),
            ("package/b.py", "22", true),
            ("a.txt", "1", false),
            (".venv/c.py", "1", false),
        ] {
            fs::write(path(name), text).unwrap();
            let now = fingerprint(folder.path());
            assert_eq!(now != last, noticed, "{name}");
            last = now;
        }
        fs::remove_file(path("a.py")).unwrap();
        assert_ne!(fingerprint(folder.path()), last);
    }
}
