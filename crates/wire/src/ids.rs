//! Tables by request id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Request ids are a counter of the router: they need no mixing that an attacker could not guess.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        // The multiplication spreads a counter over the high bits, which the table uses to tell entries
        // apart.
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What is kept by request id. Only for ids that the router gave out: others may be looked up, never inserted.
pub type ById<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;
