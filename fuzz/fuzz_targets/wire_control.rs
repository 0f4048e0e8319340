//! Any bytes on the control link, read as either side: what is accepted means the same after another trip.

#![no_main]

use wire::{ControlFromWorker, ControlToWorker, Frame, FrameBuffer};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(100) {
        buffer.space()[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        while let Ok(Some(frame)) = buffer.next_frame() {
            let mut again = Vec::new();
            if let Ok(message) = ControlFromWorker::decode(frame) {
                message.encode(&mut again);
                assert_eq!(ControlFromWorker::decode(Frame::first(&again).expect("complete")), Ok(message));
            } else if let Ok(message) = ControlToWorker::decode(frame) {
                message.encode(&mut again);
                assert_eq!(ControlToWorker::decode(Frame::first(&again).expect("complete")), Ok(message));
            }
        }
    }
});
