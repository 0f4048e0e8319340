//! Any bytes as what a worker says on the data link: what is accepted means the same after another trip.

#![no_main]

use wire::{Frame, FrameBuffer, FromWorker};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(100) {
        buffer.space()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        while let Ok(Some(frame)) = buffer.next_frame() {
            let Ok(message) = FromWorker::decode(frame) else { continue };
            let mut again = Vec::new();
            message.encode(&mut again);
            let frame = Frame::first(&again).expect("complete");
            assert_eq!(FromWorker::decode(frame), Ok(message));
        }
    }
});
