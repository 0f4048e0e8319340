//! Networks of two addresses each (RFC 3021) out of a private pool, and finding one that clashes with nothing.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: an address and how many of its leading bits are the network's. The other bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: u32,
    length: u8,
}

impl Prefix {
    /// Bits beyond `length` are cleared. None if there cannot be that many.
    #[must_use]
    pub fn new(address: Ipv4Addr, length: u8) -> Option<Self> {
        (length <= 32).then(|| Prefix { address: address.to_bits() & mask(length), length })
    }

    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address)
    }

    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let common = mask(self.length.min(other.length));
        self.address & common == other.address & common
    }

    /// 10.83.0.0/16: private (RFC 1918), and used by no other software that we know of.
    pub(super) fn default_pool() -> Self {
        Prefix { address: 0x0a53_0000, length: 16 }
    }

    /// 169.254.0.0/16 (RFC 3927): nothing to be routed, and where clouds keep credentials.
    pub(super) fn link_local() -> Self {
        Prefix { address: 0xa9fe_0000, length: 16 }
    }

    pub(super) fn mask(self) -> u32 {
        mask(self.length)
    }

    /// How many networks of two it holds.
    fn pairs(self) -> u32 {
        1 << (31 - self.length.min(31))
    }

    /// The network of two with this number.
    fn pair(self, number: u32) -> Pair {
        Pair { number, host: Ipv4Addr::from_bits(self.address + 2 * number) }
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length)
    }
}

/// A text is not an IPv4 network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an IPv4 network such as 10.83.0.0/16: {0}")]
pub struct NotANetwork(String);

impl FromStr for Prefix {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix = Prefix::new(address, length.parse().map_err(|_| wrong())?).ok_or_else(wrong)?;
        // Bits set beyond the length are a slip of the pen that changes what is meant.
        if prefix.address() == address { Ok(prefix) } else { Err(wrong()) }
    }
}

/// A network of two: the host's end and the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// Its place in the pool.
    pub(super) number: u32,
    pub(super) host: Ipv4Addr,
}

impl Pair {
    pub(super) fn app(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.host.to_bits() + 1)
    }

    pub(super) fn prefix(self) -> Prefix {
        Prefix { address: self.host.to_bits(), length: 31 }
    }
}

/// Most networks that are looked at; a pool is not searched to its end when it is as good as full.
const MOST_TRIES: u32 = 1 << 16;

/// The first network at or after `start` (taken modulo the pool's size) that overlaps with none of `taken`.
pub(super) fn free_pair(pool: Prefix, start: u32, taken: &[Prefix]) -> Option<Pair> {
    let pairs = pool.pairs();
    // Of what covers the whole pool there is no way around.
    if taken.iter().any(|one| one.length <= pool.length && one.overlaps(pool)) {
        return None;
    }
    let near: Vec<Prefix> = taken.iter().copied().filter(|one| one.overlaps(pool)).collect();
    (0..pairs.min(MOST_TRIES))
        .map(|step| pool.pair((start % pairs + step) % pairs))
        .find(|pair| !near.iter().any(|one| one.overlaps(pair.prefix())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_slips_are_refused() {
        assert_eq!(prefix("10.83.0.0/16").to_string(), "10.83.0.0/16");
        assert_eq!(prefix("0.0.0.0/0").mask(), 0);
        for wrong in ["10.83.0.1/16", "10.83.0.0", "10.83.0.0/33", "10.83/16", "::/0", "/", ""] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_that_are_taken_are_passed_over() {
        let pool = prefix("10.83.0.0/29");
        let first = free_pair(pool, 0, &[]).unwrap();
        assert_eq!((first.host, first.app()), ([10, 83, 0, 0].into(), [10, 83, 0, 1].into()));
        let taken = [prefix("10.83.0.0/30"), prefix("10.83.0.5/32")];
        assert_eq!(free_pair(pool, 0, &taken).unwrap().host, Ipv4Addr::new(10, 83, 0, 6));
        assert_eq!(free_pair(pool, 7, &taken).unwrap().host, Ipv4Addr::new(10, 83, 0, 6));
        assert_eq!(free_pair(pool, 0, &[prefix("10.0.0.0/8")]), None);
        assert_eq!(free_pair(pool, 0, &[prefix("10.83.0.0/30"), prefix("10.83.0.4/30")]), None);
    }

    proptest! {
        #[test]
        fn what_is_found_is_in_the_pool_and_free(
            length in 8..=31_u8, start: u32,
            taken in proptest::collection::vec((any::<u32>(), 9..=32_u8), 0..20)
        ) {
            let pool = Prefix::new(Ipv4Addr::new(10, 83, 0, 0), length).unwrap();
            // Near the pool, or they would hardly ever matter.
            let taken: Vec<Prefix> = taken
                .into_iter()
                .filter_map(|(bits, length)| Prefix::new(Ipv4Addr::from_bits(pool.address | bits & 0xffff), length))
                .collect();
            if let Some(pair) = free_pair(pool, start, &taken) {
                prop_assert!(pool.overlaps(pair.prefix()));
                prop_assert!(pair.host.to_bits() & mask(length) == pool.address);
                prop_assert!(taken.iter().all(|one| !one.overlaps(pair.prefix())));
            }
        }

        #[test]
        fn two_networks_overlap_exactly_when_an_end_of_one_is_in_the_other(a: u32, x in 0..=32_u8, b: u32, y in 0..=32_u8) {
            let one = Prefix::new(Ipv4Addr::from_bits(a), x).unwrap();
            let two = Prefix::new(Ipv4Addr::from_bits(b), y).unwrap();
            let holds = |net: Prefix, bits: u32| bits & net.mask() == net.address;
            prop_assert_eq!(one.overlaps(two), holds(one, two.address) || holds(two, one.address));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}") {
            let _ = text.parse::<Prefix>();
        }
    }
}
