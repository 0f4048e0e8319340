use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::logs::history::Cursor;

const SMALL: Rotation = Rotation { size: 100, files: 3 };

fn read(directory: &Path, app: &str, age: u32) -> String {
    fs::read_to_string(path(directory, app, age)).unwrap_or_default()
}

/// Every line of a log, from the oldest file on.
fn everything(directory: &Path, app: &str) -> Vec<String> {
    let (mut cursor, _) = Cursor::open(directory, app, None).unwrap();
    std::iter::from_fn(|| cursor.next_line().unwrap()).collect()
}

#[test]
fn rotation_keeps_every_line_in_order_until_a_file_is_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path().join("logs"));
    let directory = folder.path().join("logs");
    let app = "shop".into();
    let lines: Vec<String> = (0..40).map(|number| format!("line {number:04}")).collect();
    // Batches of all sizes, some larger than a file.
    for batch in [&lines[..1], &lines[1..3], &lines[3..30], &lines[30..]] {
        let text: String = batch.iter().map(|line| format!("{line}\n")).collect();
        files.append(&app, text.as_bytes(), SMALL).unwrap();
    }
    // Ten lines of ten bytes per file: all are there.
    assert_eq!(everything(&directory, "shop"), lines);
    assert_eq!([0, 1, 2, 3].map(|age| read(&directory, "shop", age).lines().count()), [10, 10, 10, 10]);
    files.append(&app, b"one more\n", SMALL).unwrap();
    assert_eq!(everything(&directory, "shop")[..30], lines[10..]);

    // Fewer are kept from now on.
    files.append(&app, &[b'x'; 99], Rotation { files: 1, ..SMALL }).unwrap();
    assert_eq!(read(&directory, "shop", 1), "one more\n");
    assert!(!path(&directory, "shop", 2).exists() && !path(&directory, "shop", 3).exists());
    files.append(&app, b"\nnone\n", Rotation { size: 1, files: 0 }).unwrap();
    assert_eq!(read(&directory, "shop", 0), "none\n");
    assert!(!path(&directory, "shop", 1).exists());
}

#[test]
fn a_record_larger_than_a_file_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path().to_owned());
    let long = "x".repeat(500);
    let text = format!("a\n{long}\nb\n");
    files.append(&"shop".into(), text.as_bytes(), SMALL).unwrap();
    assert_eq!(everything(folder.path(), "shop"), ["a", &long, "b"]);
}

#[test]
fn nothing_but_a_file_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, path(folder.path(), "link", 0)).unwrap();
    fs::create_dir(path(folder.path(), "folder", 0)).unwrap();
    let pipe = path(folder.path(), "pipe", 0);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut files = Files::new(folder.path().to_owned());
    for app in ["link", "folder", "pipe"] {
        let failed = files.append(&app.into(), b"text\n", SMALL).unwrap_err();
        assert_eq!(failed.written, 0);
        assert!(failed.to_string().contains(&format!("{app}.log")), "{failed}");
    }
    assert_eq!(fs::read_to_string(target).unwrap(), "precious");
}

#[test]
fn others_may_not_read_logs() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("state/logs");
    Files::new(directory.clone()).append(&"shop".into(), b"text\n", SMALL).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    // Whoever runs the tests may be stricter.
    assert_eq!(mode(&directory) & !0o750, 0);
    assert_eq!(mode(&path(&directory, "shop", 0)) & !0o640, 0);
}

#[test]
fn files_that_others_rename_or_remove_are_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("logs");
    let mut files = Files::new(directory.clone());
    let app: Arc<str> = "shop".into();
    let current = path(&directory, "shop", 0);
    files.append(&app, b"1\n", SMALL).unwrap();
    fs::rename(&current, directory.join("archived")).unwrap();
    files.append(&app, b"2\n", SMALL).unwrap();
    assert_eq!(read(&directory, "shop", 0), "2\n");
    fs::remove_dir_all(&directory).unwrap();
    files.append(&app, b"3\n", SMALL).unwrap();
    assert_eq!(read(&directory, "shop", 0), "3\n");
}

#[test]
fn a_record_torn_by_a_crash_does_not_spoil_the_next() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(path(folder.path(), "shop", 0), "whole\nto").unwrap();
    let mut files = Files::new(folder.path().to_owned());
    files.append(&"shop".into(), b"next\n", SMALL).unwrap();
    assert_eq!(read(folder.path(), "shop", 0), "whole\nto\nnext\n");
}

#[test]
fn more_applications_than_open_files_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path().to_owned());
    for round in 0..2 {
        for number in 0..OPEN_FILES + 10 {
            let app = format!("app-{number}").into();
            files.append(&app, format!("{round}\n").as_bytes(), SMALL).unwrap();
            assert!(files.open.len() <= OPEN_FILES);
        }
    }
    for number in [0, OPEN_FILES, OPEN_FILES + 9] {
        assert_eq!(read(folder.path(), &format!("app-{number}"), 0), "0\n1\n");
    }
}
