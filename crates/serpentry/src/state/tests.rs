//! Owning, losing and taking over a state directory.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("a/b/state");
    (folder, directory)
}

#[test]
fn it_is_created_for_the_owner_alone_and_has_one_owner() {
    let (_folder, directory) = folder();
    assert_eq!(owner(&directory), None);
    let state = State::claim(&directory).unwrap();
    assert_eq!(state.directory(), directory);
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(LOCK)), 0o600);
    assert_eq!(owner(&directory), Some(std::process::id()));
    match State::claim(&directory) {
        Err(StateError::Owned { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(state);
    assert_eq!(owner(&directory), None);
    State::claim(&directory).unwrap();
}

#[test]
fn the_lock_names_one_process() {
    let (_folder, directory) = folder();
    let _state = State::claim(&directory).unwrap();
    let content = fs::read_to_string(directory.join(LOCK)).unwrap();
    let (pid, ticks) = content.trim_end().split_once(' ').unwrap();
    assert_eq!(pid, std::process::id().to_string());
    assert!(ticks.parse::<u64>().unwrap() > 0, "{content}");
}

#[test]
fn a_socket_left_behind_is_taken_over() {
    let (_folder, directory) = folder();
    fs::create_dir_all(&directory).unwrap();
    drop(UnixListener::bind(directory.join(SOCKET)).unwrap());
    let refused = connect(&directory, LIMIT).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    let state = State::claim(&directory).unwrap();
    let listener = state.bind().unwrap();
    assert_eq!(mode(&directory.join(SOCKET)), 0o600);
    connect(&directory, LIMIT).unwrap();
    listener.accept().unwrap();
    drop((listener, state));
    assert_eq!(connect(&directory, LIMIT).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_is_not_a_socket_is_not_removed() {
    let (_folder, directory) = folder();
    let state = State::claim(&directory).unwrap();
    fs::write(directory.join(SOCKET), "precious").unwrap();
    let error = state.bind().unwrap_err();
    assert!(
        matches!(&error, StateError::Failed { source, .. } if source.to_string().contains("not a socket"))
    );
    assert_eq!(fs::read_to_string(directory.join(SOCKET)).unwrap(), "precious");
}

#[test]
fn a_path_too_long_for_a_socket_works() {
    let (_folder, directory) = folder();
    let long = directory.join("x".repeat(120));
    let state = State::claim(&long).unwrap();
    let listener = state.bind().unwrap();
    assert_eq!(mode(&long.join(SOCKET)), 0o600);
    connect(&long, LIMIT).unwrap();
    listener.accept().unwrap();
}

#[test]
fn a_directory_that_others_may_change_is_refused() {
    let (_folder, directory) = folder();
    fs::create_dir_all(&directory).unwrap();
    for bad in [0o777, 0o770, 0o702] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(bad)).unwrap();
        let error = State::claim(&directory).unwrap_err();
        assert!(matches!(error, StateError::Denied { .. }), "{bad:o}: {error}");
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }
    // What systemd makes.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    State::claim(&directory).unwrap();
}

#[test]
fn a_lock_that_is_a_link_is_refused() {
    let (folder, directory) = folder();
    fs::create_dir_all(&directory).unwrap();
    fs::write(folder.path().join("precious"), "precious").unwrap();
    symlink(folder.path().join("precious"), directory.join(LOCK)).unwrap();
    assert!(matches!(State::claim(&directory), Err(StateError::Failed { .. })));
    assert_eq!(fs::read_to_string(folder.path().join("precious")).unwrap(), "precious");
}

#[test]
fn a_file_in_its_place_is_an_error() {
    let (_folder, directory) = folder();
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    fs::write(&directory, "").unwrap();
    assert!(matches!(State::claim(&directory), Err(StateError::Denied { .. })));
}
