//! Examples of every message, made from one set of values that a property test can vary.

use proptest::collection::vec;
use proptest::prelude::*;
use wire::{
    Blocked, BootFailure, ControlFromWorker, ControlToWorker, Durable, Frame, FrameBuffer, FromWorker, Hello,
    Interface, Look, RequestHead, RequestWriter, ToWorker, WireError, flag,
};

/// What the fields of all messages are filled with.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) data: Vec<u8>,
    pub(crate) number: u32,
    pub(crate) code: u16,
    pub(crate) length: Option<u64>,
    pub(crate) yes: bool,
    pub(crate) also: bool,
    pub(crate) ids: Vec<u64>,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Values {
    /// The same values in every run, for tests that walk over the bytes.
    pub(crate) fn fixed() -> Self {
        Values {
            id: 0x0102_0304_0506_0708,
            text: "t\u{e9}".into(),
            data: b"\x00\xffdata".to_vec(),
            number: 0x0a0b_0c0d,
            code: 1001,
            length: Some(5),
            yes: true,
            also: false,
            ids: vec![1, u64::MAX],
            fields: vec![(b"Host".to_vec(), b"a".to_vec()), (b"X-Other".to_vec(), b"\xff".to_vec())],
        }
    }

    pub(crate) fn request_head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.text,
            version: 11,
            scheme: "http",
            raw_path: &self.data,
            path: self.text.as_bytes(),
            query: &self.data,
            root_path: &self.text,
            client_host: "",
            client_port: self.code,
            server_host: &self.text,
            server_port: 80,
            request_id: &self.text,
            content_length: self.length,
            window: self.number,
        }
    }

    /// Any flags a request may have.
    pub(crate) fn request_flags(&self) -> u8 {
        (if self.yes { flag::HAS_BODY | flag::ACK_START } else { 0 })
            | (if self.also { flag::WEBSOCKET } else { 0 })
    }

    pub(crate) fn encode_request(&self, out: &mut Vec<u8>) {
        let mut writer = RequestWriter::new(out, self.id, self.request_flags(), &self.request_head());
        for (name, value) in &self.fields {
            writer.header(name, value);
        }
        writer.finish();
    }

    pub(crate) fn encode_response(&self, out: &mut Vec<u8>) {
        let fields = self.fields.iter().map(|(name, value)| (&name[..], &value[..]));
        let flags = (if self.yes { flag::END } else { 0 }) | (if self.also { flag::DONE } else { 0 });
        FromWorker::encode_response(out, self.id, self.code, self.text.as_bytes(), fields, &self.data, flags);
    }

    /// All but Request, which has an encoder of its own.
    pub(crate) fn messages_down(&self) -> Vec<ToWorker<'_>> {
        let Values { id, text, data, number, code, yes, also, .. } = self;
        let (id, bytes, code) = (*id, *number, *code);
        vec![
            ToWorker::Body { id, data, end: *yes },
            ToWorker::Credit { id, bytes },
            ToWorker::Cancel { id },
            ToWorker::Message { id, data, text: *yes, end: *also },
            ToWorker::Close { id, code, reason: text },
        ]
    }

    /// All but Response, which has an encoder of its own.
    pub(crate) fn messages_up(&self) -> Vec<FromWorker<'_>> {
        let Values { id, text, data, number, code, yes, also, .. } = self;
        let (id, bytes, code) = (*id, *number, *code);
        vec![
            FromWorker::Body { id, data, end: *yes, done: *also },
            FromWorker::Credit { id, bytes },
            FromWorker::Failed { id, reason: text, done: *yes },
            FromWorker::Started { id },
            FromWorker::Done { id },
            FromWorker::Message { id, data, text: *yes, end: *also },
            FromWorker::Close { id, code, reason: text },
        ]
    }

    pub(crate) fn control_down(&self) -> Vec<ControlToWorker> {
        vec![
            ControlToWorker::Nudge { reclaim: self.yes },
            ControlToWorker::Interrupt { id: self.id },
            ControlToWorker::Finish,
            ControlToWorker::Fork { descriptors: u8::from(self.yes) + 3 },
            ControlToWorker::Look { id: self.id, what: Look::Stacks },
            ControlToWorker::Look { id: self.id, what: Look::Memory { seconds: self.code } },
        ]
    }

    pub(crate) fn control_up(&self) -> Vec<ControlFromWorker<'_>> {
        vec![
            ControlFromWorker::Hello(Hello {
                version: self.code,
                interface: if self.yes { Interface::Asgi } else { Interface::Wsgi },
                slots: self.number,
                runtime: &self.text,
            }),
            ControlFromWorker::Ready,
            ControlFromWorker::BootFailed(BootFailure { message: &self.text, traceback: "line\n" }),
            ControlFromWorker::Reclaimed(self.ids.clone()),
            ControlFromWorker::Stack { id: self.id, text: &self.text },
            ControlFromWorker::Blocked(Blocked {
                episode: self.id,
                over: self.yes,
                milliseconds: self.number,
                waited: 57,
                native: self.also,
                place: "app.py:1",
                call: &self.text,
                inner: "",
                stack: &self.text,
            }),
            ControlFromWorker::Durable(Durable {
                event_loop: self.yes,
                count: self.number,
                microseconds: 5,
                percent: 78,
                place: "app.py:1",
                call: &self.text,
                stack: "",
            }),
            ControlFromWorker::Seen { id: self.id, done: self.yes, text: &self.text },
        ]
    }
}

prop_compose! {
    /// Any values, small enough to be quick.
    pub(crate) fn any_values()(
        (id, number, code, length) in any::<(u64, u32, u16, Option<u64>)>(),
        (yes, also) in any::<(bool, bool)>(),
        text in ".{0,20}",
        data in vec(any::<u8>(), 0..60),
        ids in vec(any::<u64>(), 0..6),
        fields in vec((field_name(), vec(any::<u8>(), 0..20)), 0..6),
    ) -> Values {
        Values { id, text, data, number, code, length, yes, also, ids, fields }
    }
}

/// Names with and without a one-byte code, in any case, and bytes that are no name at all.
fn field_name() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..wire::KNOWN_HEADERS.len()).prop_map(|index| wire::KNOWN_HEADERS[index].into());
    let upper = (0..wire::KNOWN_HEADERS.len())
        .prop_map(|index| wire::KNOWN_HEADERS[index].to_ascii_uppercase().into_bytes());
    prop_oneof![known, upper, vec(any::<u8>(), 0..30)]
}

/// The four directions of the two links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Data link, to the worker.
    Down,
    /// Data link, from the worker.
    Up,
    ControlDown,
    ControlUp,
}

pub(crate) const WAYS: [Way; 4] = [Way::Down, Way::Up, Way::ControlDown, Way::ControlUp];

/// One encoded frame of each message, with the way it travels.
pub(crate) fn encode_all(values: &Values) -> Vec<(Way, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |way, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        all.push((way, out));
    };
    add(Way::Down, &|out| values.encode_request(out));
    for message in values.messages_down() {
        add(Way::Down, &|out| message.encode(out));
    }
    add(Way::Up, &|out| values.encode_response(out));
    for message in values.messages_up() {
        add(Way::Up, &|out| message.encode(out));
    }
    for message in values.control_down() {
        add(Way::ControlDown, &|out| message.encode(out));
    }
    for message in values.control_up() {
        add(Way::ControlUp, &|out| message.encode(out));
    }
    all
}

/// Decode `frame` as a message of `way`. What is accepted must mean the same after another trip, and must not have
/// cost more memory than its own bytes.
pub(crate) fn decode(way: Way, frame: Frame<'_>) -> Result<(), WireError> {
    let mut again = Vec::new();
    match way {
        Way::Down => {
            let message = ToWorker::decode(frame)?;
            message.encode(&mut again);
            let second = ToWorker::decode(first(&again)).expect("its own encoding");
            // A name may have been sent in full although it has a code: then only the names' bytes are equal.
            assert_eq!(comparable(&message), comparable(&second));
        }
        Way::Up => {
            let message = FromWorker::decode(frame)?;
            message.encode(&mut again);
            assert_eq!(FromWorker::decode(first(&again)), Ok(message));
            if let FromWorker::Response { head, .. } = message {
                let size: usize = head.headers().map(|(name, value)| name.len() + value.len() + 8).sum();
                assert!(size <= frame.payload.len());
            }
        }
        Way::ControlDown => {
            let message = ControlToWorker::decode(frame)?;
            message.encode(&mut again);
            assert_eq!(ControlToWorker::decode(first(&again)), Ok(message));
        }
        Way::ControlUp => {
            let message = ControlFromWorker::decode(frame)?;
            if let ControlFromWorker::Reclaimed(ids) = &message {
                assert!(ids.capacity() * 8 <= frame.payload.len());
            }
            message.encode(&mut again);
            assert_eq!(ControlFromWorker::decode(first(&again)), Ok(message));
        }
    }
    Ok(())
}

type Fields<'a> = Vec<(Vec<u8>, &'a [u8])>;

fn comparable<'a>(message: &ToWorker<'a>) -> (String, Fields<'a>) {
    match message {
        ToWorker::Request { id, flags, head, headers } => {
            let fields: Fields<'_> = headers
                .iter()
                .map(|field| (field.name.as_bytes().to_ascii_lowercase(), field.value))
                .collect();
            assert_eq!(fields.len(), headers.len());
            assert_eq!(fields.is_empty(), headers.is_empty());
            (format!("{id} {flags} {head:?}"), fields)
        }
        other => (format!("{other:?}"), Vec::new()),
    }
}

/// The frame that `bytes` are.
pub(crate) fn first(bytes: &[u8]) -> Frame<'_> {
    let frame = Frame::first(bytes).expect("a complete frame");
    assert_eq!(wire::FRAME_HEADER + frame.payload.len(), bytes.len(), "exactly one frame");
    frame
}

/// Push `bytes` through a [`FrameBuffer`] in pieces of the given sizes (the last one repeats), and hand each frame out.
pub(crate) fn feed(
    bytes: &[u8],
    cuts: &[usize],
    mut take: impl FnMut(Frame<'_>),
) -> Result<FrameBuffer, WireError> {
    let mut buffer = FrameBuffer::default();
    let mut rest = bytes;
    let mut cuts = cuts.iter().copied().chain(std::iter::repeat(cuts.last().copied().unwrap_or(1)));
    while !rest.is_empty() {
        let space = buffer.space();
        assert!(space.len() >= 32 * 1024, "promised by its documentation");
        assert!(space.len() <= wire::MAX_PAYLOAD + 128 * 1024, "memory is bounded");
        let count = cuts.next().unwrap_or(1).clamp(1, rest.len()).min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        buffer.filled(count);
        rest = &rest[count..];
        while let Some(frame) = buffer.next_frame()? {
            take(frame);
        }
    }
    Ok(buffer)
}
