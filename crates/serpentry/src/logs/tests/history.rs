use std::io::Write as _;

use super::*;
use crate::logs::files::path;

/// A folder with a log: its files from the oldest to the current one.
fn log(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (age, text) in files.iter().rev().enumerate() {
        fs::write(path(folder.path(), "shop", age.try_into().unwrap()), text).unwrap();
    }
    folder
}

fn rest(cursor: &mut Cursor) -> Vec<String> {
    std::iter::from_fn(|| cursor.next_line().unwrap()).collect()
}

/// What the last `count` lines are, and how many were announced.
fn tail(folder: &Path, count: Option<usize>) -> (Vec<String>, usize) {
    let (mut cursor, found) = Cursor::open(folder, "shop", count).unwrap();
    (rest(&mut cursor), found)
}

fn append(folder: &Path, text: &str) {
    let path = path(folder, "shop", 0);
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// As the writer does.
fn rotate(folder: &Path, kept: u32) {
    for age in (0..kept).rev() {
        let _ = fs::rename(path(folder, "shop", age), path(folder, "shop", age + 1));
    }
}

#[test]
fn the_last_lines_are_found_across_files() {
    let folder = log(&["1\n2\n", "", "3\n4\n5\n", "6\n"]);
    let all = ["1", "2", "3", "4", "5", "6"];
    for count in 0..=6 {
        let (lines, found) = tail(folder.path(), Some(count));
        assert_eq!(lines, all[6 - count..], "{count}");
        assert_eq!(found, count);
    }
    assert_eq!(tail(folder.path(), Some(100)), (all.map(str::to_owned).to_vec(), 6));
    assert_eq!(tail(folder.path(), None).0, all);
}

#[test]
fn long_files_are_searched_in_blocks() {
    let lines: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    let folder = log(&[&(lines.join("\n") + "\n")]);
    for count in [1, 9_999, 30_000] {
        assert_eq!(tail(folder.path(), Some(count)).0, lines[lines.len() - count..]);
    }
}

#[test]
fn a_line_is_shown_once_it_is_complete() {
    let folder = log(&["one\ntw"]);
    let (mut cursor, _) = Cursor::open(folder.path(), "shop", None).unwrap();
    assert_eq!(rest(&mut cursor), ["one"]);
    append(folder.path(), "o\nthree\n");
    assert!(!cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["two", "three"]);
}

#[test]
fn following_misses_nothing_across_rotations() {
    let folder = log(&["0\n"]);
    let (mut cursor, _) = Cursor::open(folder.path(), "shop", Some(0)).unwrap();
    assert_eq!(rest(&mut cursor), [""; 0]);
    append(folder.path(), "1\n");
    rotate(folder.path(), 5);
    // Between the old file and the new one.
    assert!(!cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["1"]);
    append(folder.path(), "2\n");
    rotate(folder.path(), 5);
    append(folder.path(), "3\n");
    rotate(folder.path(), 5);
    append(folder.path(), "4\n");
    assert!(!cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["2", "3", "4"]);
    append(folder.path(), "5\n");
    assert!(!cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["5"]);
}

#[test]
fn what_was_rotated_away_is_said_and_what_is_left_is_shown() {
    let folder = log(&["0\n"]);
    let (mut cursor, _) = Cursor::open(folder.path(), "shop", None).unwrap();
    assert_eq!(rest(&mut cursor), ["0"]);
    for number in 1..=4 {
        rotate(folder.path(), 2);
        append(folder.path(), &format!("{number}\n"));
    }
    assert!(cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["2", "3", "4"]);
    assert!(!cursor.look_for_newer().unwrap());
}

#[test]
fn a_file_that_is_cut_or_appears_later_is_read_from_its_beginning() {
    let folder = log(&["before\n"]);
    let (mut cursor, _) = Cursor::open(folder.path(), "shop", None).unwrap();
    assert_eq!(rest(&mut cursor), ["before"]);
    fs::write(path(folder.path(), "shop", 0), "after\n").unwrap();
    assert!(!cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["after"]);

    let empty = log(&[]);
    let (mut cursor, _) = Cursor::open(empty.path(), "shop", Some(3)).unwrap();
    assert!(!cursor.look_for_newer().unwrap());
    append(empty.path(), "first\n");
    assert!(!cursor.look_for_newer().unwrap());
    assert_eq!(rest(&mut cursor), ["first"]);
}

#[test]
fn what_others_wrote_is_made_harmless_and_bounded() {
    let folder = log(&[""]);
    let mut bytes = b"\x1b[2J\xff\n".to_vec();
    bytes.extend(vec![b'x'; 3 * LONGEST_RECORD * 4]);
    fs::write(path(folder.path(), "shop", 0), bytes).unwrap();
    let (lines, _) = tail(folder.path(), None);
    assert_eq!(lines[0], "\\x1b[2J\\xff");
    assert_eq!(lines[1..].iter().map(String::len).collect::<Vec<_>>(), [4 * LONGEST_RECORD; 3]);
}

#[test]
fn a_rotation_that_is_under_way_hides_and_repeats_nothing() {
    // A file that is between two names when its old one is looked up.
    let folder = log(&["1\n", "2\n", "3\n"]);
    fs::rename(path(folder.path(), "shop", 2), path(folder.path(), "shop", 3)).unwrap();
    fs::rename(path(folder.path(), "shop", 1), path(folder.path(), "shop", 2)).unwrap();
    assert_eq!(tail(folder.path(), None).0, ["1", "2", "3"]);
    // One that is opened, renamed and then found again.
    fs::hard_link(path(folder.path(), "shop", 0), path(folder.path(), "shop", 1)).unwrap();
    assert_eq!(tail(folder.path(), None).0, ["1", "2", "3"]);
}

#[test]
fn only_logs_count_as_applications() {
    let folder = log(&["", ""]);
    for name in ["feed.log", "feed.log.1", "..log", "a b.log", "notes.txt", ".log"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(applications(folder.path()).unwrap(), ["feed", "shop"]);
}
