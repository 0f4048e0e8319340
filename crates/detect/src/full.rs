//! D20: a volume, or the disk that the host writes to, without room.

use std::time::Duration;

use incident::{Code, Detection};

use crate::AGAIN;

/// Bytes, and part of the whole, below which a file system is full: ext4 keeps some back while it has not decided where to
/// write, so that a write of a megabyte fails although half a megabyte is free. The smaller of both.
const LEFT: u64 = 1 << 20;
const PART: u64 = 16;

/// Of a file system, in bytes, and whether there are names for files left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    pub size: u64,
    /// For somebody without privileges.
    pub free: u64,
    pub files_left: bool,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct VolumeFull {
    told: Option<Duration>,
}

impl Room {
    fn is_full(self) -> bool {
        self.size > 0 && (self.free < LEFT.min(self.size / PART) || self.free == 0 || !self.files_left)
    }
}

impl VolumeFull {
    /// `app`: whose volume it is; `None`: where the host keeps its state.
    pub fn look(&mut self, at: Duration, now: Room, app: Option<&str>) -> Option<Detection> {
        if !now.is_full() {
            // The next time it is full is another time.
            self.told = None;
            return None;
        }
        if self.told.is_some_and(|told| at.saturating_sub(told) < AGAIN) {
            return None;
        }
        self.told = Some(at);
        let cause = if app.is_some() { "volume" } else { "state" };
        Some(
            Detection::new(Code::D20, cause, app)
                .number("limit_bytes", now.size as f64)
                .number("used_bytes", now.size.saturating_sub(now.free) as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_when_nothing_fits_any_more() {
        let room = |size: u64, free: u64| Room { size, free, files_left: true };
        for (full, now) in [
            (true, room(64 << 20, 0)),
            // As measured: a volume of 32 MiB in which a write of 1 MiB failed.
            (true, room(7033 << 12, 212 << 12)),
            (true, room(64 << 20, 1000 << 10)),
            (false, room(64 << 20, 1 << 20)),
            (true, room(8 << 20, 500 << 10)),
            (false, room(8 << 20, 512 << 10)),
            (true, room(1 << 40, 1000 << 10)),
            (false, room(1 << 40, 1 << 20)),
            (true, Room { files_left: false, ..room(64 << 20, 32 << 20) }),
            (false, room(0, 0)),
        ] {
            let told = VolumeFull::default().look(Duration::ZERO, now, Some("shop"));
            assert_eq!(told.is_some(), full, "{now:?}");
        }
    }

    #[test]
    fn it_is_told_when_it_fills_up_and_now_and_then() {
        let mut detector = VolumeFull::default();
        let mut look = |second, free| {
            let now = Room { size: 64 << 20, free, files_left: true };
            detector.look(Duration::from_secs(second), now, None).map(|it| it.cause)
        };
        assert_eq!(
            [look(0, 1 << 30), look(1, 0), look(2, 0), look(31, 0)],
            [None, Some("state"), None, Some("state")]
        );
        assert_eq!([look(32, 9 << 20), look(33, 0)], [None, Some("state")]);
    }
}
