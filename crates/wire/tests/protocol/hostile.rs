//! Bytes from a broken or hostile peer: an error or a value, never a panic, never memory that was not sent.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::{Frame, FrameBuffer, WireError, flag};

use crate::messages::{Values, WAYS, Way, any_values, decode, encode_all, feed, first};

/// Kinds of each way, the flags each accepts, and whether every payload byte belongs to a field of stated length.
const KINDS: [(Way, u8, u8, bool); 27] = [
    (Way::Down, 1, flag::HAS_BODY | flag::WEBSOCKET | flag::ACK_START, true),
    (Way::Down, 2, flag::END, false),
    (Way::Down, 3, 0, true),
    (Way::Down, 4, 0, true),
    (Way::Down, 9, flag::TEXT | flag::END, false),
    (Way::Down, 10, 0, true),
    (Way::Up, 5, flag::END | flag::DONE, false),
    (Way::Up, 2, flag::END | flag::DONE, false),
    (Way::Up, 3, 0, true),
    (Way::Up, 6, flag::DONE, false),
    (Way::Up, 7, 0, true),
    (Way::Up, 8, 0, true),
    (Way::Up, 9, flag::TEXT | flag::END, false),
    (Way::Up, 10, 0, true),
    (Way::ControlDown, 35, flag::RECLAIM, true),
    (Way::ControlDown, 37, 0, true),
    (Way::ControlDown, 38, 0, true),
    (Way::ControlDown, 40, 0, true),
    (Way::ControlDown, 41, 0, true),
    (Way::ControlUp, 32, 0, true),
    (Way::ControlUp, 33, 0, true),
    (Way::ControlUp, 34, 0, true),
    (Way::ControlUp, 36, 0, true),
    (Way::ControlUp, 39, 0, true),
    (Way::ControlUp, 42, flag::END, true),
    (Way::ControlUp, 43, 0, true),
    (Way::ControlUp, 44, flag::END, true),
];

fn facts(way: Way, kind: u8) -> Option<(u8, bool)> {
    let found = KINDS.iter().find(|(its_way, its_kind, ..)| (*its_way, *its_kind) == (way, kind))?;
    Some((found.2, found.3))
}

proptest! {
    #[test]
    fn any_payload_of_any_kind_is_handled(kind in 0..48_u8, flags in any::<u8>(), id in any::<u64>(), payload in vec(any::<u8>(), 0..200)) {
        for way in WAYS {
            let accepted = decode(way, Frame { kind, flags, id, payload: &payload });
            let allowed = facts(way, kind);
            prop_assert!(accepted.is_err() || allowed.is_some_and(|(allowed, _)| flags & !allowed == 0));
        }
    }

    #[test]
    fn any_stream_is_handled(bytes in vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..400), cuts in vec(1..60_usize, 1..5)) {
        let mut frames = Vec::new();
        let cut = feed(&bytes, &cuts, |frame| frames.push((frame.kind, frame.payload.len()))).err();
        let mut whole_frames = Vec::new();
        let whole = feed(&bytes, &[bytes.len().max(1)], |frame| whole_frames.push((frame.kind, frame.payload.len()))).err();
        prop_assert_eq!((frames, cut), (whole_frames, whole));
    }

    #[test]
    fn damaged_messages_are_handled(values in any_values(), at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>()) {
        for (way, mut bytes) in encode_all(&values) {
            let position = at.index(bytes.len());
            bytes[position] = byte;
            bytes.truncate(length.index(bytes.len() + 1));
            let mut buffer = FrameBuffer::default();
            buffer.space()[..bytes.len()].copy_from_slice(&bytes);
            buffer.filled(bytes.len());
            if let Ok(Some(frame)) = buffer.next_frame() {
                let _ = decode(way, frame);
            }
        }
    }
}

#[test]
fn every_mutation_of_one_byte_is_handled() {
    for (way, bytes) in encode_all(&Values::fixed()) {
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            for byte in 0..=255 {
                damaged[position] = byte;
                // A longer length makes the frame incomplete, a reserved byte makes it invalid: no frame either way.
                let Some(frame) = Frame::first(&damaged) else {
                    assert!(matches!(position, 0..4 | 6 | 7) && byte != bytes[position]);
                    continue;
                };
                let result = decode(way, frame);
                assert!(result.is_ok() || byte != bytes[position], "{way:?} {bytes:02x?}: {result:?}");
            }
        }
    }
}

#[test]
fn every_truncated_frame_is_incomplete() {
    for (_, bytes) in encode_all(&Values::fixed()) {
        for length in 0..bytes.len() {
            assert_eq!(Frame::first(&bytes[..length]), None);
            let mut buffer = FrameBuffer::default();
            buffer.space()[..length].copy_from_slice(&bytes[..length]);
            buffer.filled(length);
            assert_eq!(buffer.next_frame(), Ok(None), "{length} of {}", bytes.len());
        }
    }
}

#[test]
fn every_truncated_or_extended_payload_is_refused() {
    for (way, bytes) in encode_all(&Values::fixed()) {
        let frame = first(&bytes);
        let (_, exact) = facts(way, frame.kind).expect("a kind of the table");
        let mut longer = frame.payload.to_vec();
        longer.push(0);
        for payload in (0..frame.payload.len()).map(|length| &frame.payload[..length]).chain([&longer[..]]) {
            // Whole ids may be taken from the list of them.
            let whole_ids = frame.kind == 36 && payload.len().is_multiple_of(8);
            let result = decode(way, Frame { payload, ..frame });
            assert!(
                result.is_err() || !exact || whole_ids,
                "{way:?} kind {} with {payload:02x?}",
                frame.kind
            );
        }
    }
    let response =
        encode_all(&Values::fixed()).into_iter().find(|(_, bytes)| bytes[4] == 5).expect("a response").1;
    let frame = first(&response);
    let head = frame.payload.len() - Values::fixed().data.len();
    for length in 0..head {
        let result = decode(Way::Up, Frame { payload: &frame.payload[..length], ..frame });
        assert_eq!(result, Err(WireError::Truncated(5)), "a response head of {length} bytes of {head}");
    }
}

#[test]
fn exactly_the_listed_kinds_and_flags_are_accepted() {
    let examples = encode_all(&Values::fixed());
    let mut seen = Vec::new();
    for (way, bytes) in &examples {
        let frame = first(bytes);
        let (allowed, _) = facts(*way, frame.kind).expect("a kind of the table");
        seen.push((*way, frame.kind));
        for flags in 0..=255 {
            let expect = if flags & !allowed == 0 {
                Ok(())
            } else {
                Err(WireError::BadFlags { kind: frame.kind, flags })
            };
            assert_eq!(decode(*way, Frame { flags, ..frame }), expect, "{way:?} kind {}", frame.kind);
        }
    }
    for (way, kind, ..) in KINDS {
        assert!(seen.contains(&(way, kind)), "no example of {way:?} kind {kind}");
    }
    for way in WAYS {
        for kind in (0..=255).filter(|kind| facts(way, *kind).is_none()) {
            let result = decode(way, Frame { kind, flags: 0, id: 1, payload: &[] });
            assert_eq!(result, Err(WireError::UnknownKind(kind)), "{way:?}");
        }
    }
}

#[test]
fn reserved_bytes_and_lengths_beyond_the_limit_are_refused_at_once() {
    let next = |header: [u8; 16]| {
        let mut buffer = FrameBuffer::default();
        buffer.space()[..16].copy_from_slice(&header);
        buffer.filled(16);
        buffer.next_frame().map(|frame| frame.is_some())
    };
    let header = |length: u32, reserved: [u8; 2]| {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[6..8].copy_from_slice(&reserved);
        header
    };
    let limit = u32::try_from(wire::MAX_PAYLOAD).expect("384 KiB");
    assert_eq!(next(header(0, [0, 0])), Ok(true));
    assert_eq!(next(header(limit, [0, 0])), Ok(false));
    for length in [limit + 1, u32::MAX] {
        assert_eq!(next(header(length, [0, 0])), Err(WireError::TooLarge(length as usize)));
    }
    for reserved in [[1, 0], [0, 1], [255, 255]] {
        assert_eq!(next(header(0, reserved)), Err(WireError::Reserved));
        assert_eq!(next(header(limit, reserved)), Err(WireError::Reserved), "before the payload is there");
    }
}

#[test]
fn a_lying_count_costs_nothing() {
    // A response that claims 65,535 fields and holds none, and one field that claims four gigabytes.
    for payload in [
        &[200, 0, 0, 0, 0, 0, 0xff, 0xff][..],
        &[200, 0, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff],
        &[200, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    ] {
        let result = decode(Way::Up, Frame { kind: 5, flags: 0, id: 1, payload });
        assert_eq!(result, Err(WireError::Truncated(5)));
    }
}
