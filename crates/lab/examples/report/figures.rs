//! Figures of a simulated run that no statistics are needed for, or only fits.

use lab::Random;
use lab::document::{
    Class, ColdStart, Decomposition, Document, Endpoint, Fit, Growth, Import, Ladder, LimitTrial,
    LimitsTogether, MemoryGrowth, Part, Quantiles, Rung,
};
use lab::statistics::{trend, usl};

/// Everything that is neither a block nor a verdict nor a conclusion.
pub(super) fn add(document: &mut Document, random: &mut Random) {
    document.decompositions = vec![Decomposition {
        question: "tenancy-noisy".into(),
        arm: "S1".into(),
        between: "noisy over quiet".into(),
        added_ms: Some(4.6),
        parts: [("run queue", 3.7), ("interpreter lock", 0.4), ("disk", 0.1), ("throttling", 0.0)]
            .map(|(cause, ms)| Part { cause: cause.into(), milliseconds: Some(ms) })
            .into(),
        explained: Some(0.91),
        sentence: Some("Neighbours add 4.6 ms to a request of S1, 3.7 ms of them ready and not running: the neighbours' 1.3 cores are what it waits for.".into()),
    }];
    let endpoint = |route: &str, classification, p50: f64, cpu: f64, wait: f64| Endpoint {
        method: "GET".into(),
        route: route.into(),
        requests: 4_210,
        latency_ms: Quantiles { p50: Some(p50), p95: Some(p50 * 2.3), p99: None },
        queue_ms: Some(0.3),
        cpu_ms: Some(cpu),
        cpu_ms_p95: Some(cpu * 1.6),
        wait_ms: Some(wait),
        run_queue_ms: Some(0.2),
        gil_ms: Some(0.4),
        classification,
        ..Endpoint::default()
    };
    document.endpoints = vec![
        endpoint("/", Class::Mixed, 3.4, 1.8, 1.4),
        endpoint("/product/{}", Class::Wait, 6.1, 1.2, 4.6),
        endpoint("/report", Class::Cpu, 17.0, 14.9, 1.1),
        endpoint("/cart", Class::Storage, 5.2, 0.9, 0.6),
    ];
    for (arm, gamma, sigma, kappa) in [("threads 2×8", 190.0, 0.11, 0.000_6), ("sync 5", 170.0, 0.28, 0.004)]
    {
        let points: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
            .map(|n: f64| {
                let law = gamma * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0));
                (n, law * (1.0 + 0.02 * random.normal()))
            })
            .to_vec();
        let rung = |&(n, throughput): &(f64, f64)| Rung {
            concurrency: n as u32,
            throughput: Some(throughput),
            p50_ms: Some(n / throughput * 1e3),
            p95_ms: Some(n / throughput * 1.9e3),
            valid: n != 32.0 || arm != "sync 5",
            invalid_because: (n == 32.0).then(|| "Little's law is off by 6 %".into()),
            little_deviation: Some(0.01),
            ..Rung::default()
        };
        document.ladders.push(Ladder {
            arm: arm.into(),
            rungs: points.iter().map(rung).collect(),
            fit: usl::fit(&points).ok().map(|usl| Fit::of(&usl)),
            no_fit_because: None,
        });
    }
    for (against, slope, count, growth, sentence) in [
        (
            "requests served",
            2_900.0,
            400.0,
            Growth::Leak,
            "It takes 2.9 KiB more with every request to /cart: the limit of 512 MiB is reached after about 130,000 requests.",
        ),
        (
            "requests held",
            61_000.0,
            8.0,
            Growth::PerConcurrentRequest,
            "Each concurrent request needs about 60 KiB.",
        ),
    ] {
        let points: Vec<(f64, f64)> = (0..24)
            .map(|i| {
                (
                    f64::from(i) * count,
                    143e6 + slope * f64::from(i) * count + 0.2 * slope * count * random.normal(),
                )
            })
            .collect();
        let fitted = trend::theil_sen(&points, 0.95).ok();
        document.memory.push(MemoryGrowth {
            arm: "S1".into(),
            against: against.into(),
            slope: fitted.map(|trend| trend.slope),
            slope_ci: fitted.map_or([None, None], |trend| lab::document::bounds(trend.interval)),
            intercept: fitted.map(|trend| trend.intercept),
            points,
            growth,
            limit_bytes: Some(512 << 20),
            sentence: Some(sentence.into()),
        });
    }
    document.cold_start = Some(ColdStart {
        ready_ms: Some(840.0),
        first_answer_ms: Some(861.0),
        steady_ms: Some(1_450.0),
        forked_ms: None,
        imports: [("django.template", 121.0), ("shop.models", 88.0), ("PIL.Image", 61.0)]
            .map(|(module, milliseconds)| Import { module: module.into(), milliseconds })
            .into(),
    });
    document.limits = Some(limits());
}

fn limits() -> LimitsTogether {
    let trial = |name: &str, cpu: Option<f64>, memory: Option<u64>, workers: u32, p95: f64| LimitTrial {
        name: name.into(),
        cpu_cores: cpu,
        memory_bytes: memory.map(|mib| mib << 20),
        workers,
        rounds: 6,
        p50_ms: Some(6.0),
        p95_ms: Some(p95),
        throttled: cpu.map(|_| 0.11),
        used_bytes: Some(u64::from(workers) * (52 << 20)),
        ..LimitTrial::default()
    };
    LimitsTogether {
        rate: 130.0,
        trials: vec![
            trial("no limit", None, None, 1, 11.0),
            trial("quota", Some(0.75), None, 1, 24.0),
            trial("limit of memory", None, Some(58), 1, 11.2),
            trial("quota and limit of memory", Some(0.75), Some(58), 1, 24.3),
            trial("twice the workers", None, None, 2, 9.0),
            trial("quota and twice the workers", Some(0.75), None, 2, 31.0),
        ],
        sentences: vec![
            "a quota of 0.75 cores, 1.5 times what it needs on average: p95 is 2.18 (1.90 to 2.51) times as long".into(),
            "the quota beside twice the workers: it costs more there than alone, 1.58 (1.31 to 1.90) times as much p95".into(),
        ],
    }
}
