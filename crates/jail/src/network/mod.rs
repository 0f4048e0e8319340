//! An application's own network: what it reaches (`egress`) and how fast (`bandwidth_in`, `bandwidth_out`).
//!
//! Requests come over Unix sockets and need no network at all; this is about what the application does by itself.
//!
//! | `egress` | the application has | done here |
//! |---|---|---|
//! | `none` | a network namespace with loopback only | [`loopback_up`] |
//! | `nat` | a network namespace with one interface; the outside, and nothing of the host | [`Networks::connect`] |
//! | `host` | the host's network | nothing |
//!
//! ```text
//!  host's namespace                                            application's namespace
//!                       filter, masquerade                TBF                      TBF
//!  outside <-- eth0 <---------------------- serpTTTTTT-N <------------------------ eth0   lo
//!              forwarding                   10.83.x.2n                  10.83.x.2n+1
//! ```
//!
//! **What `nat` lets through:** new connections from the application to the outside, which is what a default route of the
//! host leads to, under the host's address. Refused at once (TCP reset, ICMP port unreachable): all addresses of the host,
//! other applications, containers and virtual machines of the host, and the networks named as denied: link-local
//! addresses (169.254.0.0/16) if nothing else is said, where clouds keep credentials. Nobody can connect in. There is no IPv6
//! inside: masquerading it would need an address plan that nobody asked for; it is switched off on both ends and dropped.
//!
//! **What of the host is touched.** Nothing but this, and all of it is put back:
//! * One nftables table, `inet serpentry-INSTANCE`, replaced and removed as a whole.
//! * `net.ipv4.conf.IF.forwarding` of the interfaces that default routes lead through, if it was off. Not
//!   `net.ipv4.ip_forward`, which would switch it on for *all* interfaces, also those that come later. So that the host does
//!   not become a router for its neighbours, the table drops whatever else would be forwarded from there; as soon as
//!   somebody switches `ip_forward` on, that rule goes and the switch stays theirs ([`Networks::refresh`]).
//!   That it was off is noted *in the table*, as an empty chain `was-off-INDEX`: the note lives exactly as long as the
//!   switch itself. A note in a file would survive a reboot and then switch off what somebody else has switched on. The
//!   last instance of several switches it off: who leaves gives the note to another.
//! * Connection tracking, which the kernel does for the whole namespace as soon as one rule asks for it. Its table is shared:
//!   an application can fill it (nothing limits that yet but `net.netfilter.nf_conntrack_max`).
//!
//! A firewall of the host whose forwarding is closed by default (Docker's, for one) also sees these packets and may drop
//! them: what one table accepts, another can still refuse.
//!
//! **After a crash:** an interface ends with its application's namespace, in any case; [`sweep`] removes the rest by name.
//!
//! Everything goes to the kernel directly (netlink), so neither iproute2 nor nftables need to be installed. It works on the
//! calling thread's network namespace. All of it blocks, for milliseconds.

mod error;
mod link;
mod names;
mod netlink;
mod nft;
mod pool;
mod resolver;
mod rules;
mod shape;
mod sysctl;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

pub use error::Error;
use error::refused;
use link::Link;
use names::{Names, TABLE, hash};
use netlink::Socket;
use nft::Nftables;
use pool::Pair;
pub use pool::{NotANetwork, Prefix};
pub use resolver::Resolvers;
use rules::{Rules, WayOut};

/// The application's end of its wire.
const INSIDE: &str = "eth0";

/// Networks tried for one application, when another host program takes the same at the same moment.
const MOST_RACES: u32 = 16;

/// What all applications of one host instance share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tells the host programs of a machine apart.
    pub instance: String,
    /// Private addresses that applications get, two each.
    pub pool: Prefix,
    /// Networks outside that no application reaches.
    pub denied: Vec<Prefix>,
    /// Resolvers for applications, instead of the host's.
    pub resolvers: Vec<Ipv4Addr>,
}

impl Settings {
    /// Pool 10.83.0.0/16 (32,768 applications), link-local addresses denied, the host's resolvers.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Settings {
            instance: instance.to_owned(),
            pool: Prefix::default_pool(),
            denied: vec![Prefix::link_local()],
            resolvers: Vec::new(),
        }
    }
}

/// Limits of what an application sends and gets by itself, in bytes per second over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub to_app: Option<u64>,
    pub from_app: Option<u64>,
}

/// The network of one application. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The host's end.
    pub interface: String,
    /// The application's address and the host's.
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    /// What its `/etc/resolv.conf` shall be.
    pub resolvers: Resolvers,
    index: u32,
}

/// The networks of one host instance.
#[derive(Debug)]
pub struct Networks {
    settings: Settings,
    names: Names,
    /// One change at a time; the rules that are in force.
    rules: Mutex<Option<Rules>>,
}

/// The network namespace of a process, to be kept open: the process may end.
///
/// # Errors
/// When it has ended, or is not ours to look at.
pub fn namespace_of(pid: u32) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(format!("/proc/{pid}/ns/net"))?.into())
}

/// Switch on loopback in a new namespace: all that `egress = "none"` needs.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn loopback_up(namespace: impl AsFd) -> Result<(), Error> {
    let mut socket =
        Socket::open_in(namespace.as_fd()).map_err(refused("enter the application's network"))?;
    // Loopback is always the first.
    link::set_up(&mut socket, 1).map_err(refused("switch on loopback"))
}

/// Whether `nat` can be had in the calling thread's namespace; nothing is changed.
///
/// # Errors
/// What is missing.
pub fn survey() -> Result<(), Error> {
    let mut nftables = Nftables::open().map_err(refused("talk to nftables"))?;
    nftables.tables().map_err(refused("list the tables of nftables"))?;
    let mut socket = Socket::open(None).map_err(refused("talk to rtnetlink"))?;
    let links = link::links(&mut socket).map_err(refused("list the interfaces"))?;
    let routes = link::routes(&mut socket).map_err(refused("list the routes"))?;
    let ways_out = ways_out(&links, &routes);
    let name = &ways_out.first().ok_or(Error::NoWayOut)?.name;
    let forwards = sysctl::forwards(name).map_err(refused("read the forwarding switch"))?;
    // Writing what is there is the only way to know whether it may be written.
    sysctl::set_forwarding(name, forwards).map_err(refused("set the forwarding switch"))
}

/// The interfaces that default routes lead through.
fn ways_out<'a>(links: &'a [Link], routes: &[link::Route]) -> Vec<&'a Link> {
    links
        .iter()
        .filter(|link| routes.iter().any(|route| route.is_way_out() && route.link == Some(link.index)))
        .collect()
}

/// Remove everything of an instance, whoever left it: interfaces, table, and the forwarding it switched on.
///
/// # Errors
/// When the kernel refuses. What could be removed is removed.
pub fn sweep(instance: &str) -> Result<(), Error> {
    sweep_names(&Names::new(instance)?)
}

/// The tables of this program in the calling thread's namespace: one per host instance that has applications with `nat`.
///
/// # Errors
/// When the kernel does not list them.
pub fn tables() -> Result<Vec<String>, Error> {
    let mut nftables = Nftables::open().map_err(refused("talk to nftables"))?;
    let tables = nftables.tables().map_err(refused("list the tables of nftables"))?;
    Ok(tables.into_iter().filter(|table| table.starts_with(TABLE)).collect())
}

fn sweep_names(names: &Names) -> Result<(), Error> {
    let mut socket = Socket::open(None).map_err(refused("talk to rtnetlink"))?;
    let links = link::links(&mut socket).map_err(refused("list the interfaces"))?;
    for link in links.iter().filter(|link| names.owns(link)) {
        remove_link(&mut socket, link.index)?;
    }
    put_back(names, &links)
}

fn remove_link(socket: &mut Socket, index: u32) -> Result<(), Error> {
    match link::remove(socket, index) {
        // It went with its namespace.
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(error) => Err(refused("remove an application's interface")(error)),
    }
}

/// Switch off the forwarding that the table says we have switched on, and remove the table.
fn put_back(names: &Names, links: &[Link]) -> Result<(), Error> {
    let mut nftables = Nftables::open().map_err(refused("talk to nftables"))?;
    let chains = nftables.chains().map_err(refused("list the chains of nftables"))?;
    if !chains.iter().any(|(table, _)| *table == names.table) {
        return Ok(());
    }
    let heir = chains
        .iter()
        .map(|(table, _)| table)
        .find(|table| **table != names.table && table.starts_with(TABLE));
    let mut inherited = Vec::new();
    for (_, chain) in chains.iter().filter(|(table, _)| *table == names.table) {
        let Some(link) = rules::noted(chain).and_then(|index| links.iter().find(|link| link.index == index))
        else {
            continue;
        };
        if let Some(heir) = heir {
            inherited.push((heir.clone(), chain.clone()));
        } else if !sysctl::forwards("all").map_err(refused("read the forwarding switch"))? {
            sysctl::set_forwarding(&link.name, false).map_err(refused("put back the forwarding switch"))?;
        }
    }
    nftables.remove(&names.table, &inherited).map_err(refused("remove the table of nftables"))
}

impl Networks {
    /// Take over an instance's name. What a host that died under it has left is removed.
    ///
    /// # Errors
    /// When the name is none, or the kernel refuses.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let names = Names::new(&settings.instance)?;
        sweep_names(&names)?;
        Ok(Networks { settings, names, rules: Mutex::new(None) })
    }

    /// Give the application whose new namespace this is the network of `egress = "nat"`. Before the application runs, and
    /// after nothing: the namespace has loopback, switched off, and no `eth0`.
    ///
    /// # Errors
    /// See [`Error`]. Then nothing is left of it.
    pub fn connect(
        &self,
        app: &str,
        namespace: impl AsFd,
        bandwidth: Bandwidth,
    ) -> Result<Connection, Error> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut socket = Socket::open(None).map_err(refused("talk to rtnetlink"))?;
        let mut inside =
            Socket::open_in(namespace.as_fd()).map_err(refused("enter the application's network"))?;
        let mtu = self.enforce(&mut rules, &mut socket)?;
        let (index, pair) = self.add_pair(&mut socket, app, namespace.as_fd(), mtu)?;
        let interface = self.names.interface(pair.number);
        let settled = finish(&mut socket, &mut inside, index, pair, bandwidth)
            .and_then(|()| link::addresses(&mut socket).map_err(refused("list the addresses")));
        match settled {
            Ok(addresses) => {
                let _ = netlink::within(namespace.as_fd(), || sysctl::without_ipv6(INSIDE));
                let own: Vec<Ipv4Addr> = addresses.iter().map(|address| address.own).collect();
                let resolvers = resolver::for_app(&self.settings.resolvers, &own, pair.host);
                Ok(Connection { interface, address: pair.app(), gateway: pair.host, resolvers, index })
            }
            Err(error) => {
                // The error that stopped us is the one to tell.
                let _ = remove_link(&mut socket, index);
                Err(error)
            }
        }
    }

    /// What `/etc/resolv.conf` shall be in applications, before they have a network: none of the host's own addresses.
    ///
    /// # Errors
    /// When the kernel does not list the addresses.
    pub fn resolvers(&self) -> Result<Resolvers, Error> {
        let mut socket = Socket::open(None).map_err(refused("talk to rtnetlink"))?;
        let addresses = link::addresses(&mut socket).map_err(refused("list the addresses"))?;
        let own: Vec<Ipv4Addr> = addresses.iter().map(|address| address.own).collect();
        // Where no resolver can be used, the application's own loopback refuses as fast as the host would.
        Ok(resolver::for_app(&self.settings.resolvers, &own, Ipv4Addr::LOCALHOST))
    }

    /// See that the rules are in force and still right: after changes of the host's routes, and now and then, since others
    /// can remove all rules (`nft flush ruleset`). Costs a few reads when nothing has changed.
    ///
    /// # Errors
    /// When they cannot be put in force.
    pub fn refresh(&self) -> Result<(), Error> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.is_some() {
            let mut socket = Socket::open(None).map_err(refused("talk to rtnetlink"))?;
            self.enforce(&mut rules, &mut socket)?;
        }
        Ok(())
    }

    /// Take an application's network away. With the last one everything on the host is put back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn disconnect(&self, connection: &Connection) -> Result<(), Error> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut socket = Socket::open(None).map_err(refused("talk to rtnetlink"))?;
        let links = link::links(&mut socket).map_err(refused("list the interfaces"))?;
        let (mut gone, mut left) = (Vec::new(), 0);
        for link in links.iter().filter(|link| self.names.owns(link)) {
            if link.index == connection.index && link.name == connection.interface {
                gone.push(link.index);
            } else {
                left += 1;
            }
        }
        for index in gone {
            remove_link(&mut socket, index)?;
        }
        if left == 0 {
            *rules = None;
            put_back(&self.names, &links)?;
        }
        Ok(())
    }

    /// Remove everything of this instance.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close(self) -> Result<(), Error> {
        sweep_names(&self.names)
    }

    /// Put the rules in force that the host's ways out ask for, and switch on forwarding. Returns the MTU of the narrowest
    /// way out.
    fn enforce(&self, rules: &mut Option<Rules>, socket: &mut Socket) -> Result<u32, Error> {
        let links = link::links(socket).map_err(refused("list the interfaces"))?;
        let routes = link::routes(socket).map_err(refused("list the routes"))?;
        let outside = ways_out(&links, &routes);
        let mtu = outside.iter().map(|link| link.mtu).min().ok_or(Error::NoWayOut)?;
        let mut nftables = Nftables::open().map_err(refused("talk to nftables"))?;
        let chains = nftables.chains().map_err(refused("list the chains of nftables"))?;
        let noted: Vec<u32> = chains
            .iter()
            .filter(|(table, _)| table.starts_with(TABLE))
            .filter_map(|(_, chain)| rules::noted(chain))
            .collect();
        let by_somebody = sysctl::forwards("all").map_err(refused("read the forwarding switch"))?;
        let (mut ways, mut to_open) = (Vec::new(), Vec::new());
        for link in outside {
            let is_on = sysctl::forwards(&link.name).map_err(refused("read the forwarding switch"))?;
            if !is_on {
                to_open.push(&link.name);
            }
            let ours_only = !by_somebody && (!is_on || noted.contains(&link.index));
            ways.push(WayOut { index: link.index, ours_only });
        }
        let wanted =
            Rules { tag: self.names.tag.clone(), ways_out: ways, denied: self.settings.denied.clone() };
        let are_there = chains.iter().filter(|(table, _)| *table == self.names.table).count();
        if rules.as_ref() != Some(&wanted) || are_there < wanted.chains().len() {
            nftables
                .replace(&self.names.table, &wanted.chains())
                .map_err(refused("set the rules of nftables"))?;
            *rules = Some(wanted);
        }
        // After the note that it was off is in the table.
        for name in to_open {
            sysctl::set_forwarding(name, true).map_err(refused("switch on forwarding"))?;
        }
        Ok(mtu)
    }

    /// The wire, with the host's end set up and its address: a network that nobody else has.
    fn add_pair(
        &self,
        socket: &mut Socket,
        app: &str,
        namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<(u32, Pair), Error> {
        let pool = self.settings.pool;
        // Somewhere else for each application, so that an address is not reused at once.
        let mut start = hash(&format!("{}/{app}", self.names.instance));
        for _ in 0..MOST_RACES {
            let routes = link::routes(socket).map_err(refused("list the routes"))?;
            let taken: Vec<Prefix> =
                routes.iter().map(|route| route.to).filter(|to| to.length() > 0).collect();
            let Some(pair) = pool::free_pair(pool, start, &taken) else {
                let by = taken.into_iter().find(|one| one.length() <= pool.length() && one.overlaps(pool));
                return Err(Error::PoolFull { pool, by });
            };
            start = pair.number.wrapping_add(1);
            let name = self.names.interface(pair.number);
            match link::add_pair(socket, &name, INSIDE, namespace, mtu) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(refused("make the application's interface")(error)),
            }
            match self.settle(socket, app, &name, pair) {
                Ok(Some(index)) => return Ok((index, pair)),
                Ok(None) => {}
                Err(error) => {
                    // The error that stopped us is the one to tell.
                    if let Ok(Some(link)) = find(socket, &name) {
                        let _ = remove_link(socket, link.index);
                    }
                    return Err(error);
                }
            }
        }
        Err(Error::PoolFull { pool, by: None })
    }

    /// None: somebody else has taken the same network at the same time, and ours is removed again.
    fn settle(&self, socket: &mut Socket, app: &str, name: &str, pair: Pair) -> Result<Option<u32>, Error> {
        let index = find(socket, name)?
            .ok_or(Errno::NODEV)
            .map_err(refused("find the application's interface"))?
            .index;
        link::set_alias(socket, index, &self.names.alias(app))
            .map_err(refused("name the application's interface"))?;
        sysctl::settle(name).map_err(refused("set up the application's interface"))?;
        link::add_address(socket, index, pair.host).map_err(refused("give the interface its address"))?;
        link::set_up(socket, index).map_err(refused("switch on the application's interface"))?;
        let addresses = link::addresses(socket).map_err(refused("list the addresses"))?;
        if addresses.iter().any(|other| other.link != index && other.network.overlaps(pair.prefix())) {
            remove_link(socket, index)?;
            return Ok(None);
        }
        Ok(Some(index))
    }
}

fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let links = link::links(socket).map_err(refused("list the interfaces"))?;
    Ok(links.into_iter().find(|link| link.name == name))
}

/// The application's end, and the limits on both.
fn finish(
    socket: &mut Socket,
    inside: &mut Socket,
    index: u32,
    pair: Pair,
    bandwidth: Bandwidth,
) -> Result<(), Error> {
    link::set_up(inside, 1).map_err(refused("switch on loopback"))?;
    let end = find(inside, INSIDE)?.ok_or(Errno::NODEV).map_err(refused("find the application's end"))?.index;
    link::add_address(inside, end, pair.app()).map_err(refused("give the application its address"))?;
    // Limits first: nothing passes without them.
    if let Some(rate) = bandwidth.to_app {
        shape::limit(socket, index, rate).map_err(refused("limit the bandwidth to the application"))?;
    }
    if let Some(rate) = bandwidth.from_app {
        shape::limit(inside, end, rate).map_err(refused("limit the bandwidth from the application"))?;
    }
    link::set_up(inside, end).map_err(refused("switch on the application's end"))?;
    link::add_default_route(inside, end, pair.host).map_err(refused("give the application its route"))
}
