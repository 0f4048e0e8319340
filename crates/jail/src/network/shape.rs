//! Bandwidth: a token bucket (TBF, tc-tbf(8)) on the sending side of an interface.
//!
//! The kernel counts what goes over the wire, Ethernet headers included: of a stream of full TCP segments with an MTU of
//! 1500 the application sees 1448 of each 1514 bytes.

use rustix::io::Errno;

use super::netlink::{CREATE, Message, REPLACE, Socket};

const RTM_NEWQDISC: u16 = 36;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const LINKLAYER_ETHERNET: u8 = 1;

/// How much may pass at once after a pause: what the rate gives in this time. A longer one would let short transfers exceed
/// the limit; a shorter one would lose throughput to late timers.
const BURST_MILLISECONDS: u64 = 10;

/// A packet larger than the bucket can never pass: at least two of them, with their headers, in bytes.
const LEAST_BURST: u64 = 2 * 1600;

/// The kernel's timers and batches make larger ones useless.
const MOST_BURST: u64 = 4 << 20;

/// How long a packet may wait before the next is dropped, which is what tells TCP to slow down.
const QUEUE_MILLISECONDS: u64 = 200;

/// The bucket for a rate in bytes per second: burst and queue limit, in bytes.
fn bucket(rate: u64) -> (u32, u32) {
    let burst = (rate / 1000).saturating_mul(BURST_MILLISECONDS).clamp(LEAST_BURST, MOST_BURST);
    let queue = (rate / 1000).saturating_mul(QUEUE_MILLISECONDS).clamp(16 << 10, 64 << 20);
    // Both fit: see the bounds.
    (burst as u32, (burst + queue) as u32)
}

/// Limit what leaves through the interface to `rate` bytes per second.
pub(super) fn limit(socket: &mut Socket, index: u32, rate: u64) -> Result<(), Errno> {
    socket.request(message(index, rate))
}

fn message(index: u32, rate: u64) -> Message {
    let (burst, queue) = bucket(rate);
    // struct tcmsg: family, padding (3), ifindex (4), handle (4), parent (4), info (4).
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&0x1_0000_u32.to_ne_bytes());
    header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
    // struct tc_tbf_qopt: two tc_ratespec (cell_log, linklayer, overhead (2), cell_align (2), mpu (2), rate (4)), limit,
    // buffer (unused: TCA_TBF_BURST), mtu. Rates that need more than 32 bits are in an attribute of their own.
    let mut options = [0; 36];
    options[1] = LINKLAYER_ETHERNET;
    options[8..12].copy_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    options[24..28].copy_from_slice(&queue.to_ne_bytes());
    let mut message = Message::new(RTM_NEWQDISC, CREATE | REPLACE, &header);
    message.text(TCA_KIND, "tbf").nested(TCA_OPTIONS, |tbf| {
        tbf.attribute(1, &options);
        if rate > u64::from(u32::MAX) {
            tbf.attribute(4, &rate.to_ne_bytes());
        }
        tbf.number(6, burst);
    });
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::bucket;

    proptest! {
        #[test]
        fn a_bucket_takes_a_packet_and_is_no_way_around_the_limit(rate: u64) {
            let (burst, queue) = bucket(rate);
            prop_assert!(burst >= 3200 && queue > burst);
            // Above 320 kB/s at most 1 % of a second's bytes.
            prop_assert!(rate < 320_000 || u64::from(burst) <= rate / 100 + 1);
        }
    }
}
