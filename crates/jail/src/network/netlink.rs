//! Netlink, as little of it as is needed (netlink(7), RFC 3549): messages are made, sent, and their answers read.
//!
//! Written here and not taken from a crate: what is used is a dozen message types, the crates need an asynchronous runtime
//! and change their interface every few months, and neither makes token buckets or nftables rules. The programs `ip`, `tc`
//! and `nft` would do, but a small installation has none of them, and each costs milliseconds.
//!
//! Answers come from the kernel alone: a socket only accepts messages whose sender has port 0.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const CREATE: u16 = 0x400;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const REPLACE: u16 = 0x100;
pub(super) const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLA_F_NESTED: u16 = 0x8000;
const HEADER: usize = 16;

/// A dump changes under our hands when others change what is dumped; so often it is begun again.
const MOST_DUMPS: usize = 20;

/// The kernel's answers come in pieces of at most 32 KiB.
const BUFFER: usize = 64 << 10;

/// How long the kernel may take. It answers while we send; a lost answer must not stop us for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message on its way to the kernel.
#[derive(Debug, Clone)]
pub(super) struct Message {
    bytes: Vec<u8>,
    /// Whether the kernel acknowledges it when asked to.
    answered: bool,
}

impl Message {
    /// `header` is the fixed part that this type of message begins with.
    pub(super) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend(header);
        pad(&mut bytes);
        Message { bytes, answered: true }
    }

    /// A message that the kernel does not acknowledge: the marks around a batch (nfnetlink).
    pub(super) fn mark(kind: u16, header: &[u8]) -> Self {
        Message { answered: false, ..Self::new(kind, 0, header) }
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        // An attribute's length has 16 bits; ours are all short.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        pad(&mut self.bytes);
        self
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// As nftables wants its numbers: in network order.
    pub(super) fn big(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// With a terminating zero.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// An attribute that holds attributes.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nested_after(kind, &[], fill)
    }

    /// An attribute that holds a fixed part and then attributes.
    pub(super) fn nested_after(
        &mut self,
        kind: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let start = self.bytes.len();
        self.attribute(kind | NLA_F_NESTED, fixed);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`: kind and value. Ends at the first that is not whole.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of an attribute that is a text.
pub(super) fn as_text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// The value of an attribute that is a number of the machine's byte order.
pub(super) fn as_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// One message from the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages in `bytes`, up to the first that is not whole.
fn answers(bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let length = usize::try_from(word(0)?).ok()?;
        let answer =
            Answer { kind: half(4)?, flags: half(6)?, sequence: word(8)?, body: rest.get(HEADER..length)? };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(answer)
    })
}

/// What the kernel says in an acknowledgement: zero or a negative error number.
fn verdict(body: &[u8]) -> Result<(), Errno> {
    match body.get(0..4).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) if (-4095..0).contains(&code) => Err(Errno::from_raw_os_error(-code)),
        _ => Err(Errno::BADMSG),
    }
}

/// A connection to the kernel's part of one network namespace, for one purpose.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// In the calling thread's namespace. `None` is rtnetlink.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Socket { fd, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// In another namespace: a socket belongs to the one in which it was opened, wherever it is used.
    pub(super) fn open_in(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        within(namespace, || Self::open(None))?
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent = rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel)?;
        if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
    }

    fn receive(&mut self) -> Result<&[u8], Errno> {
        loop {
            let (count, whole, from) =
                rustix::net::recvfrom(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC)?;
            if whole > count {
                return Err(Errno::MSGSIZE);
            }
            let from_kernel = from
                .and_then(|from| SocketAddrNetlink::try_from(from).ok())
                .is_some_and(|address| address.pid() == 0);
            if from_kernel {
                return Ok(&self.buffer[..count]);
            }
        }
    }

    /// Ask for one thing and wait for the kernel's word.
    pub(super) fn request(&mut self, message: Message) -> Result<(), Errno> {
        self.requests(vec![message])
    }

    /// Send messages in one piece and wait until each is acknowledged. The first refusal is the result.
    pub(super) fn requests(&mut self, messages: Vec<Message>) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        let mut waiting = Vec::new();
        for mut message in messages {
            self.sequence += 1;
            if message.answered {
                message.bytes[6] |= ACK.to_ne_bytes()[0];
                waiting.push(self.sequence);
            }
            bytes.extend(message.finish(self.sequence));
        }
        self.send(&bytes)?;
        let mut outcome = Ok(());
        while !waiting.is_empty() {
            for answer in answers(self.receive()?) {
                if answer.kind != NLMSG_ERROR {
                    continue;
                }
                let known = waiting.iter().position(|sequence| *sequence == answer.sequence);
                let said = verdict(answer.body);
                match (known, said) {
                    (Some(at), said) => {
                        waiting.swap_remove(at);
                        outcome = outcome.and(said);
                    }
                    // A whole batch is refused by naming one of its marks; nothing else will come.
                    (None, Err(error)) => return outcome.and(Err(error)),
                    (None, Ok(())) => {}
                }
            }
        }
        outcome
    }

    /// Everything of a kind. `each` is given the body of each message.
    pub(super) fn dump<T>(
        &mut self,
        message: &Message,
        each: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Errno> {
        for _ in 0..MOST_DUMPS {
            if let Some(all) = self.try_dump(message.clone(), &each)? {
                return Ok(all);
            }
        }
        Err(Errno::INTR)
    }

    /// None: it changed meanwhile.
    fn try_dump<T>(
        &mut self,
        message: Message,
        each: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Errno> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.send(&message.finish(sequence))?;
        let (mut all, mut changed) = (Vec::new(), false);
        loop {
            for answer in answers(self.receive()?).filter(|answer| answer.sequence == sequence) {
                changed |= answer.flags & NLM_F_DUMP_INTR != 0;
                match answer.kind {
                    NLMSG_DONE => return Ok((!changed).then_some(all)),
                    NLMSG_ERROR => return verdict(answer.body).map(|()| None),
                    _ => all.extend(each(answer.body)),
                }
            }
        }
    }
}

/// Do something in another network namespace, on a thread that ends with it.
pub(super) fn within<T: Send>(namespace: BorrowedFd<'_>, what: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn_scoped(scope, || {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(what())
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_laid_out_as_rfc_3549_says() {
        let mut message = Message::new(0x10, 0x600, &[1, 2]);
        message.text(3, "lo").nested(18, |inner| {
            inner.number(1, 7);
        });
        let bytes = message.finish(9);
        let expected: Vec<u8> = [
            &(16 + 4 + 8 + 12_u32).to_ne_bytes()[..],
            &0x10_u16.to_ne_bytes(),
            &0x601_u16.to_ne_bytes(),
            &9_u32.to_ne_bytes(),
            &[0; 4],
            &[1, 2, 0, 0],
            &7_u16.to_ne_bytes(),
            &3_u16.to_ne_bytes(),
            b"lo\0\0",
            &12_u16.to_ne_bytes(),
            &(18 | NLA_F_NESTED).to_ne_bytes(),
            &8_u16.to_ne_bytes(),
            &1_u16.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn attributes_come_back_as_they_were_written(
            written in proptest::collection::vec((1..0x3fff_u16, proptest::collection::vec(any::<u8>(), 0..60)), 0..10)
        ) {
            let mut message = Message::new(1, 0, &[]);
            for (kind, value) in &written {
                message.attribute(*kind, value);
            }
            let bytes = message.finish(1);
            let read: Vec<_> = attributes(&bytes[HEADER..]).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_bytes_are_read_without_panic_and_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(attributes(&bytes).count() <= bytes.len());
            prop_assert!(answers(&bytes).count() <= bytes.len());
            let _ = verdict(&bytes);
            let _ = as_text(&bytes);
        }
    }
}
