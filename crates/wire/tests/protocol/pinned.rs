//! The bytes of one example of each message. A worker and a router of the same [`wire::VERSION`] must understand each
//! other, so these bytes may only change together with the version: then raise it, and put the new bytes here.

use crate::messages::{Values, encode_all};

/// The version that the bytes below belong to.
const VERSION: u16 = 3;

/// Length, kind, flags, reserved, id; then the payload.
const PINNED: [(&str, &str); 28] = [
    (
        "Request",
        "6e000000 01 14 0000 0807060504030201 \
         0b0d0c0b0ae90350000105000000000000000300000074c3a904000000687474700300000074c3a9 \
         000000000300000074c3a90300000074c3a90600000000ff646174610300000074c3a90600000000 \
         ff6461746102000401000000610007000000782d6f7468657201000000ff",
    ),
    (
        "Body",
        "06000000 02 01 0000 0807060504030201 \
         00ff64617461",
    ),
    (
        "Credit",
        "04000000 03 00 0000 0807060504030201 \
         0d0c0b0a",
    ),
    ("Cancel", "00000000 04 00 0000 0807060504030201"),
    (
        "Message",
        "06000000 09 20 0000 0807060504030201 \
         00ff64617461",
    ),
    (
        "Close",
        "09000000 0a 00 0000 0807060504030201 \
         e9030300000074c3a9",
    ),
    (
        "Response",
        "2e000000 05 01 0000 0807060504030201 \
         e9030300000074c3a9020004000000486f7374010000006107000000582d4f7468657201000000ff \
         00ff64617461",
    ),
    (
        "Body",
        "06000000 02 01 0000 0807060504030201 \
         00ff64617461",
    ),
    (
        "Credit",
        "04000000 03 00 0000 0807060504030201 \
         0d0c0b0a",
    ),
    (
        "Failed",
        "03000000 06 02 0000 0807060504030201 \
         74c3a9",
    ),
    ("Started", "00000000 07 00 0000 0807060504030201"),
    ("Done", "00000000 08 00 0000 0807060504030201"),
    (
        "Message",
        "06000000 09 20 0000 0807060504030201 \
         00ff64617461",
    ),
    (
        "Close",
        "09000000 0a 00 0000 0807060504030201 \
         e9030300000074c3a9",
    ),
    ("Nudge", "00000000 23 40 0000 0000000000000000"),
    ("Interrupt", "00000000 25 00 0000 0807060504030201"),
    ("Finish", "00000000 26 00 0000 0000000000000000"),
    (
        "Fork",
        "01000000 28 00 0000 0000000000000000 \
         04",
    ),
    (
        "Look",
        "03000000 29 00 0000 0807060504030201 \
         000000",
    ),
    (
        "Look",
        "03000000 29 00 0000 0807060504030201 \
         01e903",
    ),
    (
        "Hello",
        "0e000000 20 00 0000 0000000000000000 \
         e903010d0c0b0a0300000074c3a9",
    ),
    ("Ready", "00000000 21 00 0000 0000000000000000"),
    (
        "BootFailed",
        "10000000 22 00 0000 0000000000000000 \
         0300000074c3a9050000006c696e650a",
    ),
    (
        "Reclaimed",
        "10000000 24 00 0000 0000000000000000 \
         0100000000000000ffffffffffffffff",
    ),
    (
        "Stack",
        "07000000 27 00 0000 0807060504030201 \
         0300000074c3a9",
    ),
    (
        "Blocked",
        "27000000 2a 01 0000 0807060504030201 \
         0d0c0b0a3900000000080000006170702e70793a310300000074c3a9000000000300000074c3a9",
    ),
    (
        "Durable",
        "21000000 2b 00 0000 0000000000000000 \
         010d0c0b0a050000004e080000006170702e70793a310300000074c3a900000000",
    ),
    (
        "Seen",
        "07000000 2c 01 0000 0807060504030201 \
         0300000074c3a9",
    ),
];

#[test]
fn the_bytes_of_every_message_are_those_of_this_version() {
    assert_eq!(wire::VERSION, VERSION, "a new version: put its bytes here");
    let encoded = encode_all(&Values::fixed());
    assert_eq!(encoded.len(), PINNED.len(), "a new message needs its bytes here");
    for ((way, bytes), (name, expect)) in encoded.iter().zip(PINNED) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expect = expect.replace(' ', "");
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
    assert_eq!(hash, 0xe681_93c5_ee5e_2a4b, "a name got another code: raise wire::VERSION");
}

#[test]
fn sizes_that_both_sides_count_on_are_those_of_this_version() {
    assert_eq!((wire::FRAME_HEADER, wire::MAX_PAYLOAD), (16, 384 * 1024));
    assert_eq!((wire::MAX_CHUNK, wire::REQUEST_WINDOW), (64 * 1024, 256 * 1024));
}
