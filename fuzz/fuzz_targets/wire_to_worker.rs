//! Any bytes as what a router says on the data link: what is accepted means the same after another trip.

#![no_main]

use wire::{Frame, FrameBuffer, ToWorker};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(100) {
        buffer.space()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        while let Ok(Some(frame)) = buffer.next_frame() {
            let Ok(message) = ToWorker::decode(frame) else { continue };
            let mut once = Vec::new();
            message.encode(&mut once);
            let second = ToWorker::decode(Frame::first(&once).expect("complete")).expect("our own encoding");
            // Encoding settles how names are written, so from then on the bytes are fixed.
            let mut twice = Vec::new();
            second.encode(&mut twice);
            assert_eq!(once, twice);
        }
    }
});
