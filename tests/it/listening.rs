//! Addresses: wrong ones, ones in use, Unix sockets that were there before, sockets that were inherited.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use crate::context::{TestContext, python};
use crate::http;
use crate::program::{Program, descriptors};

/// Address and the whole transcript.
const WRONG: &[(&str, &str)] = &[
    (
        "nonsense:port",
        "exit 2
serpentry: error: nonsense:port: an address looks like HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N
",
    ),
    (
        "127.0.0.1:65536",
        "exit 2
serpentry: error: 127.0.0.1:65536: an address looks like HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N
",
    ),
    (
        // Without brackets nobody can tell where the address ends.
        "::1",
        "exit 2
serpentry: error: ::1: an address looks like HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N
",
    ),
    (
        // TEST-NET-1 (RFC 5737): no machine has it.
        "192.0.2.1:8000",
        "exit 1
serpentry: error: cannot listen on 192.0.2.1:8000: Cannot assign requested address (os error 99)
",
    ),
    (
        "unix:hello.py",
        "exit 1
serpentry: error: cannot listen on unix:hello.py: there is a file that is not a socket
",
    ),
    (
        "unix:.",
        "exit 1
serpentry: error: cannot listen on unix:.: there is a file that is not a socket
",
    ),
    (
        "unix:no/where.sock",
        "exit 1
serpentry: error: cannot listen on unix:no/where.sock: No such file or directory (os error 2)
",
    ),
    (
        "fd://three",
        "exit 2
serpentry: error: fd://three: fd:// needs a number
",
    ),
    (
        "fd://-1",
        "exit 1
serpentry: error: file descriptor -1 is not a listening socket that this program was started with: negative number
",
    ),
    (
        "fd://700",
        "exit 1
serpentry: error: file descriptor 700 is not a listening socket that this program was started with: Bad file descriptor (os error 9)
",
    ),
    (
        // /dev/null, which is standard input here.
        "fd://0",
        "exit 1
serpentry: error: file descriptor 0 is not a listening socket that this program was started with: Socket operation on non-socket (os error 88)
",
    ),
];

#[test]
fn a_wrong_address_is_named() {
    let ctx = TestContext::new();
    for (address, expected) in WRONG {
        assert_eq!(ctx.run(bind(&ctx, address)), *expected, "--bind {address}");
    }
    assert!(ctx.path("hello.py").is_file(), "the file in the way is still there");
}

fn bind(ctx: &TestContext, address: &str) -> Command {
    let mut command = ctx.command(&["serve", "hello:app", "--bind", address, "--python"]);
    command.arg(python());
    command
}

#[test]
fn a_port_in_use_is_named_and_its_owner_is_left_alone() {
    let ctx = TestContext::new();
    let owner = ctx.serve(&["hello:app"]);
    let address = owner.address();
    let expected = format!(
        "exit 1\nserpentry: error: cannot listen on {address}: Address already in use (os error 98)\n"
    );
    assert_eq!(ctx.run(bind(&ctx, &address)), expected);
    // One of several addresses is enough to stop, before any worker is started.
    let mut second = bind(&ctx, "127.0.0.1:0");
    second.args(["--bind", &address]);
    assert_eq!(ctx.run(second), expected);
    assert_eq!(http::get(&address, "/").status, 200);
}

#[test]
fn a_unix_socket_is_refused_while_somebody_listens_and_replaced_when_stale() {
    let ctx = TestContext::new();
    let path = ctx.path("app.sock");
    let owner = UnixListener::bind(&path).unwrap();
    let in_use = "exit 1
serpentry: error: cannot listen on unix:app.sock: another process listens there
";
    assert_eq!(ctx.run(bind(&ctx, "unix:app.sock")), in_use);
    assert!(path.exists(), "the owner's socket is still there");

    // Its file stays behind, as after a crash.
    drop(owner);
    let program = Program::start(bind(&ctx, "unix:app.sock"));
    program.line("serpentry: listening on unix:app.sock");
    program.ready();
    assert!(path.metadata().unwrap().file_type().is_socket());
    assert_eq!(program.stop(), Some(0));
    assert!(!path.exists(), "removed at the end");
}

#[test]
fn a_link_to_somebody_elses_file_is_not_replaced() {
    let ctx = TestContext::new();
    let link = ctx.path("link.sock");
    std::os::unix::fs::symlink("hello.py", &link).unwrap();
    let expected = "exit 1
serpentry: error: cannot listen on unix:link.sock: there is a file that is not a socket
";
    assert_eq!(ctx.run(bind(&ctx, "unix:link.sock")), expected);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

/// A listening socket given to the program under `number`, as a service manager does. The shell moves it there, because a
/// parent can choose the number of standard input only.
fn inherit(ctx: &TestContext, socket: OwnedFd, number: u32) -> Program {
    let mut command = Command::new("sh");
    let serve = bind(ctx, &format!("fd://{number}"));
    let shell = match number {
        0 => "exec \"$0\" \"$@\"".to_owned(),
        number => format!("exec \"$0\" \"$@\" {number}<&0 </dev/null"),
    };
    command
        .args(["-c", &shell])
        .arg(serve.get_program())
        .args(serve.get_args())
        .current_dir(ctx.directory())
        .stdin(Stdio::from(socket));
    Program::start(command)
}

#[test]
fn an_inherited_listening_socket_is_served_and_does_not_reach_the_workers() {
    for number in [0, 3, 4, 9] {
        let ctx = TestContext::new();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let program = inherit(&ctx, OwnedFd::from(socket), number);
        assert_eq!(program.address(), address, "fd://{number}");
        let worker = program.ready()[0];
        assert_eq!(http::get(&address, "/").status, 200, "fd://{number}");

        let open = descriptors(program.pid());
        let (_, socket) = open.iter().find(|(open, _)| *open == number).unwrap();
        let leaked: Vec<_> = descriptors(worker).into_iter().filter(|(_, target)| target == socket).collect();
        assert!(leaked.is_empty(), "fd://{number}: the worker has {leaked:?}");
        assert_eq!(program.stop(), Some(0), "fd://{number}");
    }
}

#[test]
fn an_inherited_socket_that_cannot_be_accepted_from_is_refused() {
    let ctx = TestContext::new();
    let folder = ctx.path("other.sock");
    let connected = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?))
        .unwrap();
    for (kind, socket) in [
        ("a connection", OwnedFd::from(connected)),
        ("a Unix socket of another type", OwnedFd::from(UnixDatagram::bind(&folder).unwrap())),
        ("a datagram socket", OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap())),
    ] {
        let expected = "exit 1
serpentry: error: file descriptor 3 is not a listening socket that this program was started with: it is not a listening stream socket of IPv4, IPv6 or Unix
";
        assert_eq!(inherit(&ctx, socket, 3).transcript(), expected, "{kind}");
    }
}
