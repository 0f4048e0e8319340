//! What `status APP --routes` prints for people.

use std::fmt::Write as _;

use serpentry::control::Routes;

use super::{Style, duration, layout, left, milliseconds, name, printable, right};

pub(in crate::commands) fn routes(routes: &Routes, style: Style) -> String {
    let app = printable(&routes.app);
    if routes.routes.is_empty() {
        return format!("{app} was not asked for anything yet\n");
    }
    let titles = [
        left("METHOD"),
        left("ROUTE"),
        right("REQUESTS"),
        right("FAILED"),
        right("P50"),
        right("P95"),
        right("P99"),
        right("QUEUE"),
        right("CPU"),
        right("WAIT"),
        right("RUNQ"),
        right("GIL"),
        left("KIND"),
    ];
    let time = |value: Option<f64>| right(value.map_or("-".to_owned(), milliseconds));
    let rows = routes.routes.iter().map(|route| {
        vec![
            left(if route.method.is_empty() { "-" } else { &route.method }),
            left(printable(&route.route)),
            right(route.requests.to_string()),
            right(route.failed.to_string()),
            time(route.latency_ms.p50),
            time(route.latency_ms.p95),
            time(route.latency_ms.p99),
            time(route.queue_ms),
            time(route.cpu_ms),
            time(route.wait_ms),
            time(route.run_queue_ms),
            time(route.gil_ms),
            left(name(route.classification)),
        ]
    });
    let mut text = layout(titles.to_vec(), rows.collect(), style);
    let _ = writeln!(
        text,
        "\n{app}, {}: P50 to P99 of the whole request; queue, CPU, waiting, run queue and interpreter lock are means",
        duration(routes.since_seconds as f64)
    );
    text
}

#[cfg(test)]
mod tests {
    use serpentry::control::{Classification, Latency, RouteStatus};

    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let route = RouteStatus {
            method: "GET".to_owned(),
            route: "/a\u{1b}[31m".to_owned(),
            requests: 3,
            failed: 0,
            latency_ms: Latency { p50: Some(1.25), ..Latency::default() },
            queue_ms: None,
            cpu_ms: Some(20.0),
            wait_ms: None,
            run_queue_ms: None,
            gil_ms: None,
            cpu_ms_p95: None,
            samples_us: Vec::new(),
            classification: Classification::Cpu,
        };
        let routes_of = |routes| Routes { app: "shop".to_owned(), since_seconds: 200, routes };
        let style = Style { terminal: false, colour: false };
        let text = routes(&routes_of(vec![route]), style);
        let line = text.lines().nth(1).unwrap_or_default();
        let cells: Vec<_> = line.split_whitespace().collect();
        let expect = ["GET", "/a\\u{1b}[31m", "3", "0", "1.2ms", "-", "-", "-", "20ms", "-", "-", "-", "cpu"];
        assert_eq!(cells, expect);
        assert!(text.contains("shop, 3m 20s:"), "{text}");
        assert_eq!(routes(&routes_of(vec![]), style), "shop was not asked for anything yet\n");
    }
}
