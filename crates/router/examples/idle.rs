//! What applications cost that nobody asks anything of: resident memory and processor time of a router with N of them,
//! each with a host name and a path of its own.
//!
//!     cargo run --release -p router --example idle -- 1000

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::error::Error;
use std::time::Duration;

use router::{HostPattern, HostSettings, Listener, Route, RouteTable, Settings, Start, TrustedProxies};

/// How long the idle router is watched.
const WATCH: Duration = Duration::from_secs(10);

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        queue: 100,
        queue_timeout: 10 * second,
        start_patience: 60 * second,
        request_timeout: Some(30 * second),
        first_byte_timeout: None,
        interrupt_grace: 2 * second,
        body_timeout: 30 * second,
        keepalive_timeout: 75 * second,
        header_size: 64 * 1024,
        body_size: 16 << 20,
        message_size: 16 << 20,
        connections: 1024,
        bandwidth_in: None,
        bandwidth_out: None,
        socket_buffers: None,
        root_path: String::new(),
        server_timing: false,
        retry_budget: 0.1,
        overrides: Vec::new(),
    }
}

fn run(apps: u32) -> Result<router::Router, Box<dyn Error>> {
    let route = |host, prefix, app| Route { host, prefix, app };
    let routes = (0..apps).flat_map(|app| {
        let name = HostPattern::Exact(format!("app{app}.example.com"));
        [route(name, String::new(), app), route(HostPattern::Any, format!("/app{app}"), app)]
    });
    let start = Start {
        host: HostSettings {
            connections: 10_000,
            header_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            header_size: 64 * 1024,
            trusted_proxies: TrustedProxies::parse("127.0.0.1")?,
        },
        apps: (0..apps).map(|app| (app, format!("app{app}"), settings())).collect(),
        routes: RouteTable::new(routes, None),
        listeners: vec![Listener::tcp("127.0.0.1:0")?],
        access_log: None,
        seed: 1,
    };
    let router = router::start(start)?;
    // Its answer comes after everything above has been done.
    let (reply, answer) = tokio::sync::oneshot::channel();
    router.commands.blocking_send(router::Command::Snapshot { reply })?;
    assert_eq!(answer.blocking_recv()?.apps.len(), apps as usize);
    Ok(router)
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

/// Processor time of this process.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let apps = std::env::args().nth(1).map_or(Ok(1000), |number| number.parse())?;
    let few = run(1)?;
    let before = resident()?;
    let many = run(apps)?;
    let bytes = resident()?.saturating_sub(before);
    println!("{apps} applications: {bytes} bytes more than one, {} each", bytes / apps.max(1) as usize);
    drop(few);
    let before = processor();
    std::thread::sleep(WATCH);
    let used = (processor() - before).as_secs_f64() / WATCH.as_secs_f64();
    println!("idle: {:.3} % of a processor", 100.0 * used);
    drop(many);
    Ok(())
}
