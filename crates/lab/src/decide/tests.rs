use proptest::prelude::*;

use super::*;
use crate::document::{Confidence, Resource, Verdict};

const MIB: f64 = 1_048_576.0;

/// A WSGI application that waits, on a machine of two cores, with everything known and nothing against sharing.
fn shop() -> Inputs {
    Inputs {
        app: "shop".into(),
        rate: Some(100.0),
        peak_over_mean: Some(2.0),
        cpu_ms: Some(4.0),
        wait_ms: Some(36.0),
        cores: Some(2.0),
        worker_bytes: Some(80.0 * MIB),
        thread_bytes: Some(0.2 * MIB),
        memory_budget_bytes: Some(512.0 * MIB),
        memory_peak_bytes: Some(200.0 * MIB),
        memory_peak_workers: Some(2),
        growth: Some(Growing { bytes: 1.0, low: -3.0, high: 5.0 }),
        target_ms: Some(80.0),
        target_quantile: Some(0.95),
        fsyncs: Some(0.0),
        tenancy: TenancyFigures {
            shared_noisy_ms: Some(50.0),
            isolated_noisy_ms: Some(30.0),
            noisy: Some(Verdict::Supported),
            noisy_ratio: Some(1.6),
            noisy_evidence: Some("tenancy-noisy".into()),
            neighbours: Some(0.4),
            crossover: Some(0.91),
            own_cores_p99: Some(0.5),
            machine_cores: Some(2),
            ..TenancyFigures::default()
        },
        quality: Quality {
            valid_pairs: Some(8),
            planned_pairs: Some(8),
            noise: Some(1.05),
            material: Some(1.25),
        },
        ..Inputs::default()
    }
}

fn with(change: impl FnOnce(&mut Inputs)) -> Recommendation {
    let mut inputs = shop();
    change(&mut inputs);
    decide(&inputs)
}

fn model(recommendation: &Recommendation) -> (&str, Option<u32>, Option<u32>) {
    (recommendation.concurrency.as_deref().unwrap(), recommendation.workers, recommendation.threads)
}

fn tenancy(recommendation: &Recommendation) -> &str {
    recommendation.tenancy.as_deref().unwrap()
}

fn says(recommendation: &Recommendation, text: &str) -> bool {
    let reasons = recommendation.reasons.iter().map(|reason| reason.text.as_str());
    let fixes = recommendation.fix_first.iter().map(String::as_str);
    reasons.chain(fixes).any(|said| said.contains(text))
}

fn resource(recommendation: &Recommendation, resource: Resource) -> &ResourceChoice {
    recommendation.resources.iter().find(|choice| choice.resource == resource).unwrap()
}

fn pairwise(verdict: Verdict) -> Option<Pairwise> {
    let (better, other) = (Concurrency::Threads, Concurrency::Sync);
    Some(Pairwise { better, other, verdict, ratio: Some(1.4), evidence: "models".into() })
}

#[test]
fn work_that_waits_gets_threads() {
    // 8 under way at the peak, 12 slots, which as processes need 960 MiB.
    let recommendation = decide(&shop());
    assert_eq!(model(&recommendation), ("threads", Some(2), Some(6)));
    assert_eq!(tenancy(&recommendation), "shared");
    assert!(
        says(&recommendation, "90 % of their time") && says(&recommendation, "12 slots"),
        "{recommendation:#?}"
    );
    assert!(
        says(&recommendation, "12 processes of 80 MiB need 960 MiB and it may use 512 MiB"),
        "{recommendation:#?}"
    );
    let unknown = with(|inputs| inputs.memory_budget_bytes = None);
    assert!(
        model(&unknown).0 == "threads"
            && unknown.confidence_because.contains("whether a process for each slot fits")
    );
    assert_eq!(recommendation.confidence, Confidence::High, "{}", recommendation.confidence_because);
    assert_eq!(
        recommendation.sentence,
        "Host shop shared, with a processor weight and a hard memory limit, in 2 workers of 6 threads, as long as neighbours use less than 0.91 cores"
    );
}

#[test]
fn work_that_computes_gets_processes() {
    let recommendation = with(|inputs| inputs.wait_ms = Some(0.2));
    assert_eq!(model(&recommendation), ("sync", Some(2), None));
    let recommendation = with(|inputs| inputs.wait_ms = Some(1.0));
    assert_eq!(model(&recommendation), ("sync", Some(3), None), "one more where a fifth is waiting");
    let waits =
        recommendation.would_change_if.iter().find(|change| change.quantity == "share of waiting").unwrap();
    assert_eq!((waits.threshold, waits.current), (Some(0.3), Some(0.2)));
}

#[test]
fn the_simpler_model_stays_unless_the_other_is_supported() {
    let roomy = |verdict| {
        with(|inputs| {
            inputs.memory_budget_bytes = Some(4_096.0 * MIB);
            inputs.pairwise = pairwise(verdict);
        })
    };
    assert_eq!(model(&roomy(Verdict::Supported)), ("threads", Some(2), Some(6)));
    for verdict in [Verdict::NoMaterialEffect, Verdict::Inconclusive, Verdict::Contradicted] {
        assert_eq!(model(&roomy(verdict)), ("sync", Some(12), None), "{verdict:?}");
    }
    assert_eq!(
        roomy(Verdict::Supported).reasons.iter().filter(|reason| reason.evidence == ["models"]).count(),
        1
    );
    let unmeasured = with(|inputs| inputs.memory_budget_bytes = Some(4_096.0 * MIB));
    assert_eq!(model(&unmeasured).0, "threads");
    assert_eq!(unmeasured.confidence, Confidence::Medium);
    let slow = with(|inputs| {
        inputs.memory_budget_bytes = Some(4_096.0 * MIB);
        inputs.pairwise = pairwise(Verdict::NoMaterialEffect);
        inputs.predicted = vec![Predicted { concurrency: Concurrency::Sync, latency_ms: 90.0 }];
    });
    assert_eq!(model(&slow).0, "threads", "processes that miss the target are no option");
}

#[test]
fn limits_of_the_application_are_kept() {
    let unsafe_threads = with(|inputs| inputs.thread_safe = Some(false));
    assert_eq!(model(&unsafe_threads), ("sync", Some(12), None));
    assert!(says(&unsafe_threads, "do not fit into its memory"));
    let many = with(|inputs| inputs.rate = Some(5_000.0));
    assert!(says(&many, "more than threads are good for"));
    let large = with(|inputs| inputs.thread_bytes = Some(100.0 * MIB));
    assert!(says(&large, "give it more memory"));
    assert!(says(&with(|inputs| inputs.convoy = Some(true)), "setswitchinterval"));
}

#[test]
fn event_loops_must_be_free() {
    let asgi = |lag| {
        with(|inputs| {
            inputs.interface = Interface::Asgi;
            inputs.loop_lag_p99_ms = lag;
            inputs.blocking_lines = vec!["shop/views.py:12 blocks for 40 ms".into()];
        })
    };
    let free = asgi(Some(2.0));
    assert_eq!(model(&free), ("async", Some(2), None));
    assert!(!says(&free, "something blocks it"));
    let blocked = asgi(Some(30.0));
    assert!(says(&blocked, "30.0 ms late") && says(&blocked, "shop/views.py:12"));
    let change =
        blocked.would_change_if.iter().find(|change| change.quantity.starts_with("lateness")).unwrap();
    assert_eq!((change.threshold, change.current), (Some(8.0), Some(30.0)));
    assert_eq!(asgi(None).confidence, Confidence::Medium);
}

#[test]
fn processor_time_is_shared_until_it_hurts() {
    let slow = with(|inputs| inputs.tenancy.shared_noisy_ms = Some(120.0));
    assert_eq!(tenancy(&slow), "isolated");
    assert!(
        says(&slow, "misses the target of 80 ms")
            && slow.sentence.contains("as long as neighbours are as busy"),
        "{}",
        slow.sentence
    );
    assert!(slow.config.contains("cpu = 1\n"), "{}", slow.config);
    let crowded = with(|inputs| inputs.tenancy.neighbours = Some(1.2));
    assert_eq!(tenancy(&crowded), "isolated");
    assert!(
        crowded.sentence.ends_with("as long as neighbours use more than 0.91 cores"),
        "{}",
        crowded.sentence
    );
    assert_eq!(crowded.confidence, Confidence::Medium, "keeps the target, and yet");
    let no_target = |verdict| {
        with(|inputs| {
            inputs.target_ms = None;
            inputs.tenancy.noisy = verdict;
        })
    };
    assert_eq!(tenancy(&no_target(Some(Verdict::Supported))), "isolated");
    assert_eq!(tenancy(&no_target(Some(Verdict::NoMaterialEffect))), "shared");
    assert_eq!(tenancy(&no_target(Some(Verdict::Inconclusive))), "shared");
}

#[test]
fn some_things_override_measurements() {
    let ruled = with(|inputs| inputs.tenancy.must_be_isolated = true);
    assert!(tenancy(&ruled) == "isolated" && says(&ruled, "rule of the operator"));
    let strict = with(|inputs| inputs.target_ms = Some(8.0));
    assert!(tenancy(&strict) == "isolated" && strict.sentence.contains("neighbours"));
    let heavy = with(|inputs| {
        inputs.tenancy.own_cores_p99 = Some(1.3);
        inputs.tenancy.machine_cores = Some(8);
    });
    assert!(tenancy(&heavy) == "isolated" && heavy.config.contains("cpu = 2\n"), "{}", heavy.config);
    let victim = with(|inputs| inputs.tenancy.wrong_victim = Some(true));
    assert!(tenancy(&victim) == "isolated" && says(&victim, "innocent neighbour"));
    let small = with(|inputs| inputs.tenancy.own_cores_p99 = Some(1.3));
    assert!(tenancy(&small) == "shared" && says(&small, "leaves nothing for the others"), "{small:#?}");
    let larger = small.would_change_if.iter().find(|change| change.quantity == "cores of the machine");
    assert_eq!(larger.and_then(|change| change.threshold), Some(3.0), "{small:#?}");
    assert!(small.would_change_if.iter().all(|change| change.then != "shared, by weight"), "{small:#?}");
    // Three quarters of a core fit on one.
    let fits = with(|inputs| inputs.tenancy.own_cores_p99 = Some(0.75));
    assert!(tenancy(&fits) == "isolated" && fits.config.contains("cpu = 1\n"), "{fits:#?}");
    let priced = |shared| {
        with(|inputs| {
            inputs.tenancy.own_cores_p99 = Some(1.3);
            inputs.tenancy.noisy = Some(Verdict::Supported);
            (inputs.tenancy.shared_noisy_ms, inputs.tenancy.isolated_noisy_ms) = (Some(shared), Some(12.0));
        })
    };
    let both = "shared, 95 % of the requests take 90.0 ms or less; on a core of its own, 95 % of the requests take 12.0 ms or less";
    assert!(says(&priced(90.0), both), "{:#?}", priced(90.0));
    let failing = priced(10_000.0);
    assert!(says(&failing, "shared, fewer than 95 % of the requests are answered"), "{failing:#?}");
}

#[test]
fn isolation_that_pays_is_bought() {
    let priced = |minute| {
        with(|inputs| {
            let violations = (0..100).map(|i| (10.0 + f64::from(i) / 10.0, 1.0)).collect();
            let costs = Costs { shared: 20.0, isolated: 50.0, violation_minute: minute, violations };
            inputs.tenancy.costs = Some(costs);
        })
    };
    assert_eq!(tenancy(&priced(10.0)), "isolated");
    assert!(says(&priced(10.0), "in 100 % of the draws"));
    assert_eq!(tenancy(&priced(0.1)), "shared");
    let change = |recommendation: &Recommendation| {
        recommendation
            .would_change_if
            .iter()
            .find(|change| change.quantity == "probability that it pays")
            .and_then(|change| change.current)
    };
    assert_eq!(change(&priced(2.5)), Some(0.69), "(x - 1) * 2.5 > 30 where x > 13, which are 69 of 100");
    assert_eq!(tenancy(&priced(2.5)), "shared");
}

#[test]
fn memory_and_storage_have_their_own_answer() {
    let recommendation = decide(&shop());
    // 1.3 times 200 MiB are 260, rounded up to 272.
    assert!(recommendation.config.contains("memory = \"272MiB\""), "{}", recommendation.config);
    assert!(resource(&recommendation, Resource::Memory).because.contains("1.2 times"));
    let leaking = with(|inputs| inputs.growth = Some(Growing { bytes: 900.0, low: 700.0, high: 1_100.0 }));
    assert!(says(&leaking, "900 bytes more with every request (95 % interval 700 to 1100)"));
    assert!(resource(&leaking, Resource::Memory).because.contains("it leaks"));
    let more = with(|inputs| inputs.cores = Some(4.0));
    // Two workers more than were measured: 260 + 160.
    assert!(more.config.contains("memory = \"432MiB\""), "{}", more.config);
    let durable = with(|inputs| inputs.fsyncs = Some(2.0));
    assert!(
        resource(&durable, Resource::Storage).choice.contains("own volume")
            && says(&durable, "2.0 durable writes")
    );
    assert_eq!(resource(&decide(&shop()), Resource::Storage).choice, "shared disk");
}

#[test]
fn what_is_not_known_is_said_and_not_guessed() {
    let nothing = decide(&Inputs { app: "shop".into(), ..Inputs::default() });
    assert_eq!(model(&nothing), ("sync", None, None));
    assert_eq!((tenancy(&nothing), nothing.confidence), ("shared", Confidence::Low));
    for what in [
        "the rate of requests",
        "its peak memory",
        "durable writes of a request",
        "nothing was compared in pairs",
    ] {
        assert!(nothing.confidence_because.contains(what), "{what}: {}", nothing.confidence_because);
    }
    assert!(!nothing.config.contains("workers") && !nothing.config.contains("memory"), "{}", nothing.config);
    let noisy = with(|inputs| inputs.quality.noise = Some(1.4));
    assert!(noisy.confidence == Confidence::Low && noisy.confidence_because.contains("1.40 times"));
    let few = with(|inputs| inputs.quality.valid_pairs = Some(5));
    assert!(few.confidence == Confidence::Low);
    let dropped = with(|inputs| inputs.quality.valid_pairs = Some(7));
    assert!(dropped.confidence == Confidence::Medium && dropped.confidence_because.contains("1 of 8 pairs"));
    let near = with(|inputs| inputs.tenancy.shared_noisy_ms = Some(77.0));
    assert_eq!(near.confidence, Confidence::Medium, "near the target");
}

fn figure() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        any::<f64>().prop_map(Some),
        (0.0..1e4).prop_map(Some),
        Just(Some(0.0)),
        Just(Some(f64::INFINITY)),
        Just(Some(f64::NAN)),
        Just(Some(f64::MAX))
    ]
}

fn verdict() -> impl Strategy<Value = Option<Verdict>> {
    prop_oneof![
        Just(None),
        Just(Some(Verdict::Supported)),
        Just(Some(Verdict::Contradicted)),
        Just(Some(Verdict::NoMaterialEffect)),
        Just(Some(Verdict::Inconclusive)),
        Just(Some(Verdict::NotTestable))
    ]
}

proptest! {
    /// Whatever was measured: no panic, the same again, figures in range, and isolation never without its condition.
    #[test]
    fn any_figures_give_one_answer(
        f in prop::collection::vec(figure(), 20),
        verdict in verdict(),
        flags in prop::collection::vec(any::<bool>(), 6),
        machine in prop::option::of(0_u32..64),
        app in ".{0,12}",
    ) {
        let inputs = Inputs {
            app,
            interface: if flags[0] { Interface::Asgi } else { Interface::Wsgi },
            thread_safe: Some(flags[1]),
            rate: f[0],
            peak_over_mean: f[1],
            cpu_ms: f[2],
            wait_ms: f[3],
            cores: f[4],
            worker_bytes: f[5],
            thread_bytes: f[6],
            memory_budget_bytes: f[7],
            memory_peak_bytes: f[8],
            memory_peak_workers: machine,
            growth: f[9].map(|bytes| Growing { bytes, low: bytes, high: bytes }),
            loop_lag_p99_ms: f[10],
            target_ms: f[11],
            target_quantile: f[12],
            pairwise: verdict.and_then(pairwise),
            fsyncs: f[13],
            tenancy: TenancyFigures {
                shared_noisy_ms: f[14],
                noisy: verdict,
                neighbours: f[15],
                crossover: f[16],
                own_cores_p99: f[17],
                machine_cores: machine,
                must_be_isolated: flags[2],
                wrong_victim: Some(flags[3]),
                costs: flags[4].then(|| Costs { violation_minute: 1.0, violations: vec![(2.0, 1.0)], ..Costs::default() }),
                ..TenancyFigures::default()
            },
            quality: Quality { noise: f[18], material: f[19], ..Quality::default() },
            ..Inputs::default()
        };
        let recommendation = decide(&inputs);
        prop_assert_eq!(&recommendation, &decide(&inputs));
        prop_assert!(recommendation.workers.is_none_or(|workers| (1..=1_001).contains(&workers)));
        prop_assert!(recommendation.threads.is_none_or(|threads| (2..=1_000).contains(&threads)));
        if tenancy(&recommendation) == "isolated" && !flags[2] {
            prop_assert!(recommendation.sentence.contains("neighbours"), "{}", recommendation.sentence);
        }
        let figures = recommendation.would_change_if.iter().flat_map(|change| [change.threshold, change.current]);
        prop_assert!(figures.flatten().all(f64::is_finite), "{:?}", recommendation.would_change_if);
        prop_assert_eq!(recommendation.resources.len(), 4);
        prop_assert!(!recommendation.confidence_because.is_empty());
    }
}
