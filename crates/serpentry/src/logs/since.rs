//! The last lines of an application's log since a moment, for whoever shows what one event left there.

use serpentry::stamp;
use std::path::Path;

use super::history::Cursor;

/// Lines that are looked at.
const SEEN: usize = 2000;

/// Lines that are kept. What the host says about the application comes first: an application may have said anything.
const KEPT: usize = 24;

/// The current time, as it is in logs.
pub(crate) fn now() -> String {
    stamp::now()
}

/// Oldest first; nothing if there is no log. `state`: the host's state directory.
pub(crate) fn since(state: &Path, app: &str, began: &str) -> Vec<String> {
    let Ok((mut cursor, _)) = Cursor::open(&state.join("logs"), app, Some(SEEN)) else { return Vec::new() };
    let mut lines = Vec::new();
    while let Ok(Some(line)) = cursor.next_line() {
        if line.as_bytes().get(..stamp::LENGTH).is_some_and(|at| at >= began.as_bytes()) {
            lines.push(line);
        }
    }
    let is_host = |line: &&String| line.split(' ').nth(1) == Some("host");
    let room = KEPT.saturating_sub(lines.iter().filter(is_host).count());
    let mut others = 0;
    lines.retain(|line| {
        let own = is_host(&line);
        others += usize::from(!own);
        own || others <= room
    });
    lines.truncate(KEPT);
    lines
}
