//! The probe applications as they are written to disk, under the rules of both interfaces.

use std::process::Command;

#[test]
fn both_applications_keep_to_their_interface_and_their_bounds() {
    let directory = tempfile::tempdir().unwrap();
    lab::probe::write(directory.path()).unwrap();
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probe/check.py");
    let output =
        Command::new("python3").args(["-B", "-W", "error", check]).arg(directory.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
