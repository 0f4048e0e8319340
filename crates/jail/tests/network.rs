//! Networks of applications, in namespaces that the tests make: one plays the host, one the outside, and each application
//! has its own. They end with the test, whatever happens in it, and everything in them.

#![expect(clippy::unwrap_used, reason = "the whole binary is a test")]

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jail::network::{self, Bandwidth, Connection, Error, Networks, Settings};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Addresses for documentation (RFC 5737), in namespaces without a way to anywhere.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Far more than anything here takes; nothing is refused by letting it wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection that must not come about is given.
const NOT_COMING: Duration = Duration::from_millis(300);

/// A network namespace that ends with this value.
struct Space(File);

impl Space {
    fn new() -> Self {
        let make = || {
            // SAFETY: only this thread, which ends here, gets a network of its own; it shares nothing else.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            Space(File::open("/proc/thread-self/ns/net").unwrap())
        };
        std::thread::scope(|scope| scope.spawn(make).join()).unwrap()
    }

    /// Do something in it.
    fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .unwrap();
            what()
        };
        match std::thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// `ip` in the thread's namespace.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// Whether packets that come in through the host's way out are forwarded.
fn forwards() -> bool {
    read("/proc/sys/net/ipv4/conf/up0/forwarding") == "1"
}

struct World {
    host: Space,
    outside: Space,
    /// Behind another interface of the host, to which no default route leads.
    other: Space,
}

impl World {
    /// None: it cannot be made here, which is said.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        if Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err() {
            println!("skipped: the test's own networks are made with ip, of the package iproute2");
            return None;
        }
        let world = World { host: Space::new(), outside: Space::new(), other: Space::new() };
        // The namespaces have no names: they are passed as descriptors of this process.
        let path = |space: &Space| {
            let number = std::os::fd::AsRawFd::as_raw_fd(&space.0);
            format!("/proc/{}/fd/{number}", std::process::id())
        };
        world.host.run(|| {
            ip("link set lo up");
            ip(&format!("link add up0 type veth peer name out0 netns {}", path(&world.outside)));
            ip(&format!("link add side0 type veth peer name out0 netns {}", path(&world.other)));
            ip(&format!("addr add {HOST}/24 dev up0"));
            ip(&format!("addr add {OTHER_HOST}/24 dev side0"));
            ip("link set up0 up");
            ip("link set side0 up");
        });
        world.outside.run(|| {
            ip("link set lo up");
            ip(&format!("addr add {OUTSIDE}/24 dev out0"));
            ip(&format!("addr add {METADATA}/32 dev lo"));
            ip("link set out0 up");
            // It would send everything to the host, if the host were a router.
            ip(&format!("route add default via {HOST}"));
        });
        world.other.run(|| {
            ip("link set lo up");
            ip(&format!("addr add {OTHER}/24 dev out0"));
            ip("link set out0 up");
            ip(&format!("route add default via {OTHER_HOST}"));
        });
        world.host.run(|| ip(&format!("route add default via {OUTSIDE}")));
        let fresh = world.host.run(|| read("/proc/sys/net/ipv4/conf/all/forwarding"));
        assert_eq!(fresh, "0", "a new namespace does not forward");
        Some(world)
    }

    fn networks(&self, instance: &str) -> Networks {
        self.host.run(|| Networks::new(Settings::new(instance)).unwrap())
    }

    fn connect(&self, networks: &Networks, app: &str, bandwidth: Bandwidth) -> (Space, Connection) {
        let space = Space::new();
        let connection = self.host.run(|| networks.connect(app, &space.0, bandwidth).unwrap());
        (space, connection)
    }

    /// Nothing of ours is in the host's namespace.
    fn assert_clean(&self) {
        self.host.run(|| {
            assert!(!ip("-o link").contains("serp"), "{}", ip("-o link"));
            assert!(!forwards(), "forwarding is off again");
            assert!(network::tables().unwrap().is_empty(), "{:?}", network::tables());
        });
    }
}

/// A listener on any port, in the thread's namespace.
fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn dial(to: Ipv4Addr, port: u16, patience: Duration) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((to, port)), patience)
}

fn assert_refused(space: &Space, to: Ipv4Addr, port: u16, what: &str) {
    let error = space.run(|| dial(to, port, PATIENCE)).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{what}: {error}");
}

#[test]
fn without_egress_there_is_loopback_and_nothing_else() {
    if World::new().is_none() {
        return;
    }
    let space = Space::new();
    let closed = space.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).unwrap_err());
    assert_eq!(
        closed.kind(),
        ErrorKind::NetworkUnreachable,
        "a new namespace has loopback switched off: {closed}"
    );
    network::loopback_up(&space.0).unwrap();
    space.run(|| {
        let (listener, port) = listen();
        dial(Ipv4Addr::LOCALHOST, port, PATIENCE).unwrap();
        listener.accept().unwrap();
        let error = dial(OUTSIDE, 80, PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{error}");
    });
}

#[test]
fn with_nat_the_outside_is_reached_under_the_hosts_address() {
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    let (app, connection) = world.connect(&networks, "shop", Bandwidth::default());
    let (listener, port) = world.outside.run(listen);
    let mut stream = app.run(|| dial(OUTSIDE, port, PATIENCE)).unwrap();
    let (mut answering, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), HOST);
    stream.write_all(b"ping").unwrap();
    let mut four = [0; 4];
    answering.read_exact(&mut four).unwrap();
    answering.write_all(b"pong").unwrap();
    stream.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"pong");

    // By datagrams too.
    let server = world.outside.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let client = app.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    client.send_to(b"query", (OUTSIDE, server.local_addr().unwrap().port())).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(from.ip(), HOST);
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv_from(&mut [0; 16]).unwrap().0, 6);

    app.run(|| {
        let (listener, port) = listen();
        dial(Ipv4Addr::LOCALHOST, port, PATIENCE).unwrap();
        listener.accept().unwrap();
        assert!(!ip("-6 -o addr show dev eth0").contains("inet6"), "no IPv6 inside");
    });
    world.host.run(|| {
        assert_eq!(read("/proc/sys/net/ipv4/conf/all/forwarding"), "0", "only where it is needed");
        assert!(ip("-d link").contains("serpentry main shop"), "the interface says whose it is");
        networks.disconnect(&connection).unwrap();
    });
    world.assert_clean();
}

#[test]
fn with_nat_neither_host_nor_neighbours_nor_metadata_are_reached() {
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    let (app, connection) = world.connect(&networks, "shop", Bandwidth::default());
    let (neighbour, theirs) = world.connect(&networks, "blog", Bandwidth::default());
    assert_ne!(connection.address, theirs.address);

    let (on_host, port) = world.host.run(listen);
    world.host.run(|| dial(HOST, port, PATIENCE)).expect("the listener itself can be reached");
    on_host.accept().unwrap();
    for (address, what) in [
        (HOST, "the host's address outside"),
        (connection.gateway, "the host's end of the wire"),
        (theirs.gateway, "the host's end of another wire"),
        (OTHER_HOST, "the host's address elsewhere"),
    ] {
        assert_refused(&app, address, port, what);
    }
    app.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect((HOST, port)).unwrap();
        socket.send(b"x").unwrap();
        let error = socket.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "datagrams to the host: {error}");
    });

    let (_at_neighbour, port) = neighbour.run(listen);
    assert_refused(&app, theirs.address, port, "a neighbour");
    let (_at_other, port) = world.other.run(listen);
    world.host.run(|| dial(OTHER, port, PATIENCE)).expect("the host reaches it");
    assert_refused(&app, OTHER, port, "a network of the host's that is no way out");
    let (_metadata, port) = world.outside.run(listen);
    world.host.run(|| dial(METADATA, port, PATIENCE)).expect("the host reaches it");
    assert_refused(&app, METADATA, port, "a denied network outside");

    // Nor does anybody connect in, although the outside sends its packets to the host.
    let (_inside, port) = app.run(listen);
    for space in [&world.outside, &world.host, &neighbour] {
        space.run(|| dial(connection.address, port, NOT_COMING)).expect_err("connections to the application");
    }
    assert_eq!(
        connection.resolvers.text.lines().filter(|line| line.starts_with("nameserver")).count().min(1),
        1
    );
    world.host.run(|| networks.close()).unwrap();
    world.assert_clean();
}

#[test]
fn the_host_becomes_a_router_for_nobody_until_somebody_says_so() {
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    let (_app, connection) = world.connect(&networks, "shop", Bandwidth::default());
    let (_listener, port) = world.other.run(listen);
    assert!(world.host.run(forwards), "it is on for the way out");
    world.host.run(|| std::fs::write("/proc/sys/net/ipv4/conf/side0/forwarding", "1").unwrap());
    world.outside.run(|| dial(OTHER, port, NOT_COMING)).expect_err("through the host");
    // As when Docker is started later.
    world.host.run(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        networks.refresh().unwrap();
    });
    world.outside.run(|| dial(OTHER, port, PATIENCE)).expect("the host is a router now");
    world.host.run(|| {
        networks.disconnect(&connection).unwrap();
        assert!(forwards(), "what somebody else has switched on stays on");
    });
}

#[test]
fn of_two_hosts_the_last_one_puts_forwarding_back() {
    let Some(world) = World::new() else { return };
    let (first, second) = (world.networks("first"), world.networks("second"));
    let (space, one) = world.connect(&first, "shop", Bandwidth::default());
    let (two, _) = world.connect(&second, "shop", Bandwidth::default());
    let (_listening, port) = space.run(listen);
    assert_refused(&two, one.address, port, "an application of another host");
    world.host.run(|| {
        first.disconnect(&one).unwrap();
        assert!(forwards(), "the other still needs it");
    });
    let (_listener, port) = world.outside.run(listen);
    two.run(|| dial(OUTSIDE, port, PATIENCE)).unwrap();
    world.host.run(|| second.close()).unwrap();
    world.assert_clean();
}

#[test]
fn networks_that_the_host_uses_are_avoided() {
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    world.host.run(|| ip(&format!("route add 10.83.0.0/17 via {OUTSIDE}")));
    for app in ["a", "b", "c", "d", "e", "f"] {
        let (_space, connection) = world.connect(&networks, app, Bandwidth::default());
        assert!(connection.address.octets()[2] >= 128, "{}", connection.address);
    }
    world.host.run(|| ip(&format!("route add 10.0.0.0/8 via {OUTSIDE}")));
    let space = Space::new();
    let error = world.host.run(|| networks.connect("g", &space.0, Bandwidth::default())).unwrap_err();
    assert!(matches!(error, Error::PoolFull { .. }) && error.to_string().contains("10.0.0.0/8"), "{error}");
    world.host.run(|| {
        ip("route del default");
        let error = networks.connect("h", &space.0, Bandwidth::default()).unwrap_err();
        assert!(matches!(error, Error::NoWayOut), "{error}");
        networks.close().unwrap();
    });
    world.assert_clean();
}

#[test]
fn rules_that_somebody_flushed_come_back() {
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    let (app, _connection) = world.connect(&networks, "shop", Bandwidth::default());
    let (_listener, port) = world.host.run(listen);
    assert_refused(&app, HOST, port, "the host");
    world.host.run(|| delete_table("serpentry-main"));
    app.run(|| dial(HOST, port, PATIENCE)).expect("nothing refuses it now");
    world.host.run(|| networks.refresh().unwrap());
    assert_refused(&app, HOST, port, "the host, again");
}

/// As `nft delete table inet NAME`, which need not be installed: a batch of three messages.
fn delete_table(name: &str) {
    use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
    let message = |kind: u16, flags: u16, family: [u8; 4], attribute: &[u8]| {
        let length = u32::try_from(20 + attribute.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], &family, attribute]
            .concat()
    };
    let mut text = [name.as_bytes(), &[0]].concat();
    let length = u16::try_from(text.len() + 4).unwrap();
    text.resize(text.len().next_multiple_of(4), 0);
    let attribute = [&length.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &text].concat();
    let batch = [
        message(16, 1, [0, 0, 0, 10], &[]),
        message(10 << 8 | 2, 1, [1, 0, 0, 0], &attribute),
        message(17, 1, [0, 0, 0, 10], &[]),
    ]
    .concat();
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )
    .unwrap();
    rustix::net::sendto(&socket, &batch, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
    assert!(network::tables().unwrap().is_empty());
}

/// What arrives of datagrams sent at one and a half times the limit, in bytes per second on the wire; the first moments,
/// with the bucket's burst in them, are not counted.
fn measure(from: &UdpSocket, to: &UdpSocket, limit: u64) -> f64 {
    const PAYLOAD: usize = 1472;
    const WIRE: usize = PAYLOAD + 8 + 20 + 14;
    let stop = Duration::from_millis(1800);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (begun, mut sent) = (Instant::now(), 0.0);
            while begun.elapsed() < stop {
                // Paced, so that the other side gets to read.
                while begun.elapsed() < stop && sent < begun.elapsed().as_secs_f64() * limit as f64 * 1.5 {
                    let _ = from.send(&[b'x'; PAYLOAD]);
                    sent += WIRE as f64;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        let (begun, mut buffer) = (Instant::now(), [0; 2048]);
        while begun.elapsed() < Duration::from_millis(300) {
            to.recv(&mut buffer).unwrap();
        }
        let (start, mut count) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_millis(1700) {
            to.recv(&mut buffer).unwrap();
            count += WIRE;
        }
        count as f64 / start.elapsed().as_secs_f64()
    })
}

#[test]
fn bandwidth_is_limited_in_both_directions() {
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    for (to_app, from_app) in [(500_000, 4_000_000), (20_000_000, 1_000_000)] {
        let bandwidth = Bandwidth { to_app: Some(to_app), from_app: Some(from_app) };
        let (app, connection) = world.connect(&networks, "shop", bandwidth);
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        for (limit, inward) in [(from_app, false), (to_app, true)] {
            let (inside, outside) = (app.run(bind), world.outside.run(bind));
            inside.connect((OUTSIDE, outside.local_addr().unwrap().port())).unwrap();
            inside.send(b"the way back is known now").unwrap();
            outside.set_read_timeout(Some(PATIENCE)).unwrap();
            let (_, translated) = outside.recv_from(&mut [0; 64]).unwrap();
            outside.connect(translated).unwrap();
            let (from, to) = if inward { (&outside, &inside) } else { (&inside, &outside) };
            // A busy machine can keep the reader from reading; it cannot make more arrive than the limit lets through.
            let best = (0..3)
                .map(|_| measure(from, to, limit) / limit as f64)
                .inspect(|ratio| {
                    println!("limit {limit} bytes/s, inward {inward}: {ratio:.4} of it on the wire");
                    assert!(*ratio < 1.05, "more than the limit: {ratio}");
                })
                .find(|ratio| *ratio > 0.95);
            assert!(best.is_some(), "limit {limit}, inward {inward}: less than the limit each time");
        }
        world.host.run(|| networks.disconnect(&connection)).unwrap();
    }
    world.assert_clean();
}

#[test]
fn a_stream_makes_use_of_its_bandwidth() {
    const LIMIT: u64 = 4_000_000;
    let Some(world) = World::new() else { return };
    let networks = world.networks("main");
    let bandwidth = Bandwidth { to_app: Some(LIMIT), from_app: Some(LIMIT) };
    let (app, _connection) = world.connect(&networks, "shop", bandwidth);
    let (listener, port) = world.outside.run(listen);
    for inward in [false, true] {
        let inside = app.run(|| dial(OUTSIDE, port, PATIENCE)).unwrap();
        let (outside, _) = listener.accept().unwrap();
        let (mut from, mut to) = if inward { (outside, inside) } else { (inside, outside) };
        let begun = Instant::now();
        let size = 2 * usize::try_from(LIMIT).unwrap();
        let sender = std::thread::spawn(move || from.write_all(&vec![b'x'; size]).unwrap());
        assert_eq!(std::io::copy(&mut to, &mut std::io::sink()).unwrap(), size as u64);
        sender.join().unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        println!("inward {inward}: {size} bytes at a limit of {LIMIT} bytes/s took {seconds:.3} s");
        // 2 seconds and 5 % for headers, less the burst; TCP may need some time to find its pace.
        assert!((1.9..4.0).contains(&seconds), "inward {inward}: {seconds}");
    }
}

#[test]
fn whatever_a_killed_host_leaves_is_swept() {
    const VARIABLE: &str = "NETWORK_TEST_IS_KILLED";
    if std::env::var_os(VARIABLE).is_some() {
        // The child: in the host's namespace, connecting and disconnecting until it is killed.
        let networks = Networks::new(Settings::new("main")).unwrap();
        println!("begun");
        loop {
            let spaces = [Space::new(), Space::new()];
            let made: Vec<_> =
                spaces.iter().map(|space| networks.connect("shop", &space.0, Bandwidth::default())).collect();
            for connection in made {
                networks.disconnect(&connection.unwrap()).unwrap();
            }
        }
    }
    let Some(world) = World::new() else { return };
    let mut found = 0;
    for round in 0..30_u64 {
        world.host.run(|| {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "whatever_a_killed_host_leaves_is_swept", "--nocapture"])
                .env(VARIABLE, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = Vec::new();
            let mut output = child.stdout.take().unwrap();
            while !line.ends_with(b"begun\n") {
                let mut byte = [0];
                assert_eq!(output.read(&mut byte).unwrap(), 1, "the child ended by itself");
                line.push(byte[0]);
            }
            // Not a wait for something: another moment each time.
            std::thread::sleep(Duration::from_micros(round * 1700));
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            child.kill().unwrap();
            child.wait().unwrap();
            found += usize::from(forwards() || !network::tables().unwrap().is_empty());
            network::sweep("main").unwrap();
        });
        // Interfaces go with the namespaces of the child, which the kernel takes apart in its own time; sweeping is not for
        // those of the living.
        let deadline = Instant::now() + PATIENCE;
        while world.host.run(|| ip("-o link").contains("serp")) {
            assert!(Instant::now() < deadline, "interfaces are left");
        }
        world.assert_clean();
    }
    println!("of 30 kills {found} left something");
    assert!(found > 0, "the kills came at moments that matter");
}
