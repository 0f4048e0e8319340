//! Interfaces, addresses and routes (rtnetlink(7)): what is there, and making ours.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;

use super::netlink::{self, CREATE, DUMP, EXCLUSIVE, Message, REPLACE, Socket, attributes};
use super::pool::Prefix;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const AF_INET: u8 = 2;
const IFF_UP: u32 = 1;
const RT_TABLE_MAIN: u32 = 254;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    /// Free text; ours says whose it is.
    pub(super) alias: String,
}

/// A route to somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) to: Prefix,
    pub(super) table: u32,
    /// The interface, unless it is one of several or none.
    pub(super) link: Option<u32>,
    /// `RTN_*`: 1 is one that packets are sent along.
    pub(super) kind: u8,
}

impl Route {
    /// Whether this is how the host reaches the outside.
    pub(super) fn is_way_out(&self) -> bool {
        self.to.length() == 0 && self.table == RT_TABLE_MAIN && self.kind == 1
    }
}

pub(super) fn links(socket: &mut Socket) -> Result<Vec<Link>, Errno> {
    socket.dump(&Message::new(RTM_GETLINK, DUMP, &interface(0, 0)), parse_link)
}

fn parse_link(body: &[u8]) -> Option<Link> {
    // struct ifinfomsg: family, padding, type (2), index (4), flags (4), change (4).
    let index = netlink::as_number(body.get(4..8)?)?;
    let mut link = Link { index, name: String::new(), mtu: 0, alias: String::new() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            3 => netlink::as_text(value)?.clone_into(&mut link.name),
            4 => link.mtu = netlink::as_number(value)?,
            20 => {
                link.alias = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
            }
            _ => {}
        }
    }
    Some(link)
}

/// All IPv4 routes of all tables, those to our own addresses included.
pub(super) fn routes(socket: &mut Socket) -> Result<Vec<Route>, Errno> {
    let mut header = [0; 12];
    header[0] = AF_INET;
    Ok(socket
        .dump(&Message::new(RTM_GETROUTE, DUMP, &header), |body| Some(parse_route(body)))?
        .into_iter()
        .flatten()
        .flatten()
        .collect())
}

/// A route with several next hops becomes several.
fn parse_route(body: &[u8]) -> Option<Vec<Route>> {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags (4).
    let &[AF_INET, length, _, _, table, _, _, kind] = body.get(0..8)? else { return None };
    let (mut to, mut table, mut link, mut hops) = (Ipv4Addr::UNSPECIFIED, u32::from(table), None, Vec::new());
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => to = address(value)?,
            4 => link = netlink::as_number(value),
            9 => hops = next_hops(value),
            15 => table = netlink::as_number(value)?,
            _ => {}
        }
    }
    let to = Prefix::new(to, length)?;
    if hops.is_empty() {
        return Some(vec![Route { to, table, link, kind }]);
    }
    Some(hops.into_iter().map(|link| Route { to, table, link: Some(link), kind }).collect())
}

/// The interfaces in an `RTA_MULTIPATH`: struct rtnexthop: len (2), flags, hops, ifindex (4), attributes.
fn next_hops(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while let Some((length, index)) = bytes.get(0..8).and_then(|hop| {
        Some((usize::from(u16::from_ne_bytes([hop[0], hop[1]])), netlink::as_number(&hop[4..8])?))
    }) {
        found.push(index);
        let next = length.max(8).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    found
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

/// An address of an interface, and the network that lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) link: u32,
    pub(super) own: Ipv4Addr,
    pub(super) network: Prefix,
}

/// The IPv4 addresses of all interfaces.
pub(super) fn addresses(socket: &mut Socket) -> Result<Vec<Address>, Errno> {
    socket.dump(&Message::new(RTM_GETADDR, DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]), parse_address)
}

fn parse_address(body: &[u8]) -> Option<Address> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index (4).
    let &[AF_INET, length, _, _] = body.get(0..4)? else { return None };
    let link = netlink::as_number(body.get(4..8)?)?;
    let value =
        |wanted| attributes(body.get(8..)?).find(|(kind, _)| *kind == wanted).and_then(|(_, it)| address(it));
    // IFA_ADDRESS is the network's, or of a wire the other end; IFA_LOCAL is always our own.
    let network = value(1)?;
    Some(Address { link, own: value(2).unwrap_or(network), network: Prefix::new(network, length)? })
}

/// Two interfaces joined by a wire: `ours` here, `theirs` in the other namespace at once, so that there is no moment in which
/// both are here.
pub(super) fn add_pair(
    socket: &mut Socket,
    ours: &str,
    theirs: &str,
    namespace: BorrowedFd<'_>,
    mtu: u32,
) -> Result<(), Errno> {
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE, &interface(0, 0));
    message.text(3, ours).number(4, mtu);
    // IFLA_LINKINFO { IFLA_INFO_KIND, IFLA_INFO_DATA { VETH_INFO_PEER { ifinfomsg, attributes } } }
    message.nested(18, |info| {
        info.text(1, "veth").nested(2, |data| {
            data.nested_after(1, &interface(0, 0), |peer| {
                peer.text(3, theirs).number(4, mtu);
                peer.number(28, namespace.as_raw_fd().unsigned_abs());
            });
        });
    });
    socket.request(message)
}

pub(super) fn set_alias(socket: &mut Socket, index: u32, alias: &str) -> Result<(), Errno> {
    let mut message = Message::new(RTM_NEWLINK, 0, &interface(index, 0));
    message.attribute(20, alias.as_bytes());
    socket.request(message)
}

pub(super) fn set_up(socket: &mut Socket, index: u32) -> Result<(), Errno> {
    socket.request(Message::new(RTM_NEWLINK, 0, &interface(index, IFF_UP)))
}

pub(super) fn remove(socket: &mut Socket, index: u32) -> Result<(), Errno> {
    socket.request(Message::new(RTM_DELLINK, 0, &interface(index, 0)))
}

/// `own` on the interface, in its network of two (RFC 3021).
pub(super) fn add_address(socket: &mut Socket, index: u32, own: Ipv4Addr) -> Result<(), Errno> {
    let mut header = vec![AF_INET, 31, 0, 0];
    header.extend(index.to_ne_bytes());
    let mut message = Message::new(RTM_NEWADDR, CREATE | EXCLUSIVE, &header);
    message.attribute(1, &own.octets()).attribute(2, &own.octets());
    socket.request(message)
}

/// Everything else goes to `gateway`.
pub(super) fn add_default_route(socket: &mut Socket, index: u32, gateway: Ipv4Addr) -> Result<(), Errno> {
    // Table main, protocol static, scope universe, unicast.
    let header = [AF_INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    let mut message = Message::new(RTM_NEWROUTE, CREATE | REPLACE, &header);
    message.attribute(5, &gateway.octets()).number(4, index);
    socket.request(message)
}

/// `struct ifinfomsg`.
fn interface(index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_machines_interfaces_and_routes_are_understood() {
        let mut socket = Socket::open(None).unwrap();
        let links = links(&mut socket).unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(loopback.index == 1 && loopback.mtu > 0, "{loopback:?}");
        for route in routes(&mut socket).unwrap() {
            assert!(route.link.is_none_or(|index| links.iter().any(|link| link.index == index)), "{route:?}");
        }
        for address in addresses(&mut socket).unwrap() {
            assert!(links.iter().any(|link| link.index == address.link), "{address:?}");
        }
    }

    #[test]
    fn a_route_with_two_next_hops_is_two_routes() {
        let mut message = Message::new(0, 0, &[AF_INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
        let hop = |index: u32| [&8_u16.to_ne_bytes()[..], &[0, 0], &index.to_ne_bytes()].concat();
        message.attribute(9, &[hop(3), hop(5)].concat());
        let bytes = message.finish(0);
        let found = parse_route(&bytes[16..]).unwrap();
        assert_eq!(found.iter().map(|route| route.link).collect::<Vec<_>>(), [Some(3), Some(5)]);
        assert!(found.iter().all(Route::is_way_out));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let inet = [&[AF_INET][..], &bytes].concat();
            let _ = (parse_link(&bytes), parse_route(&bytes), parse_address(&bytes), next_hops(&bytes));
            let _ = (parse_route(&inet), parse_address(&inet));
        }
    }
}
