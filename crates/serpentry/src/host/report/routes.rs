//! The router's figures by route, as the control interface tells them.

use std::time::Duration;

use serpentry::control::{Classification, Latency, RouteStatus, Routes};

pub(in crate::host) fn routes(app: String, found: &router::Routes) -> Routes {
    Routes { app, since_seconds: found.seconds, routes: found.routes.iter().map(route).collect() }
}

fn route(route: &router::RouteSnapshot) -> RouteStatus {
    let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
    let [p50, p95, p99] = route.latency.map(ms);
    RouteStatus {
        method: route.method.to_owned(),
        route: route.route.clone(),
        requests: route.requests,
        failed: route.failed,
        latency_ms: Latency { p50, p95, p99 },
        queue_ms: ms(route.queued),
        cpu_ms: ms(route.cpu),
        wait_ms: ms(route.wait),
        run_queue_ms: ms(route.run_queue),
        gil_ms: ms(route.gil),
        cpu_ms_p95: ms(route.cpu_p95),
        samples_us: route.samples.clone(),
        classification: match route.classification {
            router::Classification::Cpu => Classification::Cpu,
            router::Classification::Wait => Classification::Wait,
            router::Classification::Mixed => Classification::Mixed,
            router::Classification::Unknown => Classification::Unknown,
        },
    }
}
