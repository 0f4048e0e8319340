//! The bytes of one example of each message. A worker and a router of the same [`wire::VERSION`] must understand each
//! other, so these bytes may only change together with the version: then raise it, and put the new bytes here.

use crate::messages::{Values, encode_all};

/// The version that the bytes below belong to.
const VERSION: u16 = 1;

const PINNED: [(&str, &str); 22] = [
];

#[test]
fn the_bytes_of_every_message_are_those_of_this_version() {
    assert_eq!(wire::VERSION, VERSION, "a new version: put its bytes here");
    let encoded = encode_all(&Values::fixed());
    assert_eq!(encoded.len(), PINNED.len(), "a new message needs its bytes here");
    for ((way, bytes), (name, expect)) in encoded.iter().zip(PINNED) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expect = expect.replace([' ', '\n'], "");
        assert_eq!(hex, expect, "{way:?} {name} is encoded differently: raise wire::VERSION");
    }
}

#[test]
fn codes_of_header_names_are_those_of_this_version() {
    // FNV-1a over the names, each followed by a line feed. Names may be appended without a new version.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for name in &wire::KNOWN_HEADERS[..58] {
        for byte in name.bytes().chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(hash, 0, "a name got another code: raise wire::VERSION");
}

#[test]
fn sizes_that_both_sides_count_on_are_those_of_this_version() {
    assert_eq!((wire::FRAME_HEADER, wire::MAX_PAYLOAD), (16, 384 * 1024));
    assert_eq!((wire::MAX_CHUNK, wire::REQUEST_WINDOW), (64 * 1024, 256 * 1024));
}
