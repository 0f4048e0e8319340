//! Our own mistakes, so that they are told as such (H99): where a thread of this program panicked. What can go on does: a task
//! that panics ends alone, and so does the connection that it was for.

use std::panic::PanicHookInfo;
use std::sync::{Mutex, Once, PoisonError};

/// Defects that wait to be told; more of them are the same one again and again.
const MOST: usize = 16;

static WAITING: Mutex<Vec<String>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// From now on panics are remembered, besides being printed.
pub(crate) fn remember() {
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            note(sentence(panic));
            print(panic);
        }));
    });
}

/// Something that must not be was found.
pub(crate) fn note(reason: String) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.len() < MOST {
        waiting.push(reason);
    }
}

/// What was found since the last call.
pub(crate) fn take() -> Vec<String> {
    std::mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner))
}

fn sentence(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name").to_owned();
    let place =
        panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    let message = panic.payload_as_str().unwrap_or("no message");
    format!("its thread {thread} panicked{place}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_remembered_with_its_place() {
        remember();
        let thread = std::thread::Builder::new().name("worker bee".to_owned());
        let bee = thread.spawn(|| panic!("no {}", "honey")).unwrap();
        assert!(bee.join().is_err());
        let found = take();
        let own: Vec<_> = found.iter().filter(|text| text.contains("worker bee")).collect();
        assert_eq!(own.len(), 1, "{found:?}");
        let expected = "its thread worker bee panicked at crates/serpentry/src/defects.rs:";
        assert!(own[0].starts_with(expected) && own[0].ends_with(": no honey"), "{}", own[0]);
        (0..100).for_each(|number| note(number.to_string()));
        assert_eq!(take().len(), MOST);
    }
}
