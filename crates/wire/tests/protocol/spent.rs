//! The trailer of what a request took.

use proptest::prelude::*;
use wire::{Frame, FromWorker, Spent, WireError, flag};

use crate::messages::first;

fn any_spent() -> impl Strategy<Value = Spent> {
    let optional = || prop::option::of(0..u32::MAX);
    (any::<u32>(), any::<u32>(), optional(), optional()).prop_map(|(wall, cpu, run_queue, gil)| Spent {
        wall,
        cpu,
        run_queue,
        gil,
    })
}

proptest! {
    #[test]
    fn survives_the_trip(spent in any_spent(), later in any_spent(), data in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut out = Vec::new();
        let message = FromWorker::Body { id: 7, data: &data, end: true, done: false };
        message.encode(&mut out);
        spent.attach(&mut out, 0);
        prop_assert_eq!(Spent::take(first(&out)), Ok((Frame { kind: 2, flags: flag::END, id: 7, payload: &data }, Some(spent))));
        let length = out.len();
        // In place, with other frames behind it.
        FromWorker::Started { id: 8 }.encode(&mut out);
        later.replace(&mut out, length);
        prop_assert_eq!(first(&out[length..]).payload, b"", "it had none");
        later.replace(&mut out, 0);
        let (frame, found) = Spent::take(first(&out[..length])).expect("a trailer");
        prop_assert_eq!((FromWorker::decode(frame), found), (Ok(message), Some(later)));
        prop_assert_eq!(first(&out[length..]).id, 8);
    }
}

#[test]
fn its_bytes_are_those_of_this_version() {
    let mut out = Vec::new();
    FromWorker::Done { id: 1 }.encode(&mut out);
    Spent { wall: 0x0403_0201, cpu: 5, run_queue: Some(u32::MAX), gil: None }.attach(&mut out, 0);
    let expect = [
        16, 0, 0, 0, 8, 128, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // the frame's header
        1, 2, 3, 4, 5, 0, 0, 0, 254, 255, 255, 255, 255, 255, 255, 255,
    ];
    assert_eq!(out, expect, "raise wire::VERSION");
}

#[test]
fn is_refused_where_it_cannot_be() {
    let long = [0; Spent::LENGTH];
    for kind in 0..48 {
        let frame = Frame { kind, flags: flag::SPENT, id: 1, payload: &long };
        let (rest, spent) = Spent::take(frame).expect("long enough");
        let may = matches!(kind, 2 | 5 | 6 | 8);
        assert_eq!(spent.is_some(), may, "kind {kind}");
        if !may {
            assert!(FromWorker::decode(rest).is_err(), "kind {kind} was accepted with the flag");
        }
        let short = Frame { payload: &long[1..], ..frame };
        assert_eq!(Spent::take(short).is_err(), may);
        if may {
            assert_eq!(Spent::take(short), Err(WireError::Truncated(kind)));
        }
    }
}
