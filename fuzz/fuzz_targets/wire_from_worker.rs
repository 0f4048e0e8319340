//! Any bytes as what a worker says on the data link: what is accepted means the same after another trip.

#![no_main]

use wire::{Frame, FrameBuffer, FromWorker, Spent};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(100) {
        buffer.space()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        while let Ok(Some(frame)) = buffer.next_frame() {
            let Ok((frame, spent)) = Spent::take(frame) else { continue };
            let Ok(message) = FromWorker::decode(frame) else { continue };
            let mut again = Vec::new();
            message.encode(&mut again);
            if let Some(spent) = spent {
                spent.attach(&mut again, 0);
            }
            let (frame, same) = Spent::take(Frame::first(&again).expect("complete")).expect("its own encoding");
            assert_eq!((FromWorker::decode(frame), same), (Ok(message), spent));
        }
    }
});
