//! What is encoded is what is decoded.

use proptest::prelude::*;
use wire::{
    ControlFromWorker, ControlToWorker, FrameBuffer, FromWorker, KNOWN_HEADERS, Name, RequestWriter,
    ToWorker, flag, known_header,
};

use crate::messages::{Values, any_values, encode_all, feed, first};

proptest! {
    #[test]
    fn every_message_survives_the_trip(values in any_values()) {
        for message in values.messages_down() {
            let mut out = Vec::new();
            message.encode(&mut out);
            prop_assert_eq!(ToWorker::decode(first(&out)), Ok(message));
        }
        for message in values.messages_up() {
            let mut out = Vec::new();
            message.encode(&mut out);
            prop_assert_eq!(FromWorker::decode(first(&out)), Ok(message));
        }
        for message in values.control_down() {
            let mut out = Vec::new();
            message.encode(&mut out);
            prop_assert_eq!(ControlToWorker::decode(first(&out)), Ok(message));
        }
        for message in values.control_up() {
            let mut out = Vec::new();
            message.encode(&mut out);
            prop_assert_eq!(ControlFromWorker::decode(first(&out)), Ok(message));
        }
    }

    #[test]
    fn requests_survive_the_trip(values in any_values()) {
        let mut out = Vec::new();
        values.encode_request(&mut out);
        prop_assert!(first(&out).is_request());
        let Ok(ToWorker::Request { id, flags, head, headers }) = ToWorker::decode(first(&out)) else {
            panic!("not a request: {:?}", ToWorker::decode(first(&out)));
        };
        prop_assert_eq!((id, flags, head), (values.id, values.request_flags(), values.request_head()));
        let sent: Vec<_> =
            values.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), &value[..])).collect();
        let got: Vec<_> = headers.iter().map(|field| (field.name.as_bytes().to_vec(), field.value)).collect();
        prop_assert_eq!(sent, got);
        for field in headers.iter() {
            let shortest = known_header(field.name.as_bytes()).is_some();
            prop_assert_eq!(matches!(field.name, Name::Known(_)), shortest, "one byte where there is a code");
        }
    }

    #[test]
    fn responses_survive_the_trip(values in any_values()) {
        let mut out = Vec::new();
        values.encode_response(&mut out);
        let Ok(FromWorker::Response { id, head, body, end, done }) = FromWorker::decode(first(&out)) else {
            panic!("not a response: {:?}", FromWorker::decode(first(&out)));
        };
        prop_assert_eq!((id, head.status, head.reason), (values.id, values.code, values.text.as_bytes()));
        prop_assert_eq!((body, end, done), (&values.data[..], values.yes, values.also));
        let sent: Vec<_> = values.fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(head.headers().collect::<Vec<_>>(), sent);
    }

    #[test]
    fn frames_do_not_depend_on_the_cuts(values in any_values(), cuts in proptest::collection::vec(1..200_usize, 1..20)) {
        let frames = encode_all(&values);
        let stream: Vec<u8> = frames.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let mut got = Vec::new();
        let buffer = feed(&stream, &cuts, |frame| got.push((frame.kind, frame.flags, frame.id, frame.payload.to_vec())));
        prop_assert!(buffer.is_ok_and(|buffer| buffer.is_empty()));
        let sent: Vec<_> = frames
            .iter()
            .map(|(_, bytes)| first(bytes))
            .map(|frame| (frame.kind, frame.flags, frame.id, frame.payload.to_vec()))
            .collect();
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn names_without_a_code_have_none(name in proptest::collection::vec(any::<u8>(), 0..40)) {
        let in_table = KNOWN_HEADERS.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(&name));
        prop_assert_eq!(known_header(&name).map(usize::from), in_table.map(|index| index + 1));
    }

    #[test]
    fn names_with_a_code_are_found_in_any_case(index in 0..KNOWN_HEADERS.len(), case in any::<u32>(), damaged in any::<usize>()) {
        let mut name = KNOWN_HEADERS[index].as_bytes().to_vec();
        for (at, byte) in name.iter_mut().enumerate() {
            if case >> (at % 32) & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        prop_assert_eq!(known_header(&name).map(usize::from), Some(index + 1));
        let damaged = damaged % name.len();
        name[damaged] = b'~';
        prop_assert_eq!(known_header(&name), None);
    }
}

#[test]
fn every_cut_in_two_gives_the_same_frames() {
    let stream: Vec<u8> = encode_all(&Values::fixed()).into_iter().flat_map(|(_, bytes)| bytes).collect();
    let count = encode_all(&Values::fixed()).len();
    for cut in 1..stream.len() {
        let mut got = 0;
        feed(&stream, &[cut, stream.len()], |_| got += 1).expect("sound frames");
        assert_eq!(got, count, "cut at {cut}");
    }
}

#[test]
fn the_largest_payload_passes_and_memory_stays_bounded() {
    let data = vec![7; wire::MAX_PAYLOAD];
    let mut stream = Vec::new();
    for id in 0..8 {
        ToWorker::Body { id, data: &data, end: false }.encode(&mut stream);
    }
    let mut ids = Vec::new();
    feed(&stream, &[32 * 1024, 1, 50_000], |frame| {
        assert_eq!(frame.payload, data);
        ids.push(frame.id);
    })
    .expect("sound frames");
    assert_eq!(ids, (0..8).collect::<Vec<_>>());
}

#[test]
#[should_panic(expected = "must be split before encoding")]
fn a_larger_payload_is_our_own_mistake() {
    ToWorker::Body { id: 1, data: &vec![7; wire::MAX_PAYLOAD + 1], end: false }.encode(&mut Vec::new());
}

#[test]
fn an_empty_buffer_says_so() {
    let mut buffer = FrameBuffer::default();
    assert!(buffer.is_empty());
    buffer.space()[..4].copy_from_slice(&[0; 4]);
    buffer.filled(4);
    assert!(!buffer.is_empty());
    assert_eq!(buffer.next_frame(), Ok(None));
}

#[test]
fn a_flag_can_be_added_to_a_waiting_frame() {
    let mut out = b"earlier".to_vec();
    let start = out.len();
    FromWorker::Body { id: 1, data: b"x", end: true, done: false }.encode(&mut out);
    wire::set_flag(&mut out, start, flag::DONE);
    let expect = FromWorker::Body { id: 1, data: b"x", end: true, done: true };
    assert_eq!(FromWorker::decode(first(&out[start..])), Ok(expect));
}

#[test]
fn several_requests_share_an_output() {
    let values = Values::fixed();
    let mut out = Vec::new();
    values.encode_request(&mut out);
    let length = out.len();
    let mut second = RequestWriter::new(&mut out, 2, 0, &values.request_head());
    second.header(b"Cookie", b"a=b");
    second.finish();
    values.encode_request(&mut out);
    let mut ids = Vec::new();
    feed(&out, &[9], |frame| {
        assert!(ToWorker::decode(frame).is_ok());
        ids.push(frame.id);
    })
    .expect("sound frames");
    assert_eq!(ids, [values.id, 2, values.id]);
    assert_eq!(out[..length], out[out.len() - length..]);
}
