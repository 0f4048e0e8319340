//! What is recommended must be accepted: every branch of the decision gives a part of `serpentry.toml` that is read without
//! a complaint and comes to what was recommended.

#![expect(clippy::unwrap_used, reason = "the whole file is a test")]

use config::{Concurrency, Environment, Tenancy};
use lab::decide::{Inputs, Interface, TenancyFigures, decide};

fn resolve(fragment: &str) -> config::App {
    // What the file of the user already has.
    let (head, rest) = fragment.split_once('\n').unwrap();
    let file = format!("{head}\napp = \"shop.wsgi:application\"\ndirectory = \"/srv/shop\"\n{rest}");
    let environment = Environment { directory: "/srv".into(), ..Environment::default() };
    match config::load(file.as_bytes(), "serpentry.toml", &environment) {
        Ok(resolved) => resolved.plan.apps[0].clone(),
        Err(diagnostics) => panic!("{diagnostics:?}\n{file}"),
    }
}

#[test]
fn every_recommendation_is_valid_configuration() {
    let mib = 1_048_576.0;
    let (mut seen, mut isolated) = (Vec::new(), 0);
    for app in ["shop", "my-shop", "9_lives"] {
        for interface in [Interface::Wsgi, Interface::Asgi] {
            for wait in [None, Some(0.1), Some(50.0), Some(9_000.0)] {
                for peak in [None, Some(3.0 * mib), Some(900_000.0 * mib)] {
                    for must_be_isolated in [false, true] {
                        let inputs = Inputs {
                            app: app.into(),
                            interface,
                            rate: Some(100.0),
                            cpu_ms: Some(5.0),
                            wait_ms: wait,
                            cores: Some(2.0),
                            memory_peak_bytes: peak,
                            tenancy: TenancyFigures { must_be_isolated, ..TenancyFigures::default() },
                            ..Inputs::default()
                        };
                        let recommendation = decide(&inputs);
                        let app = resolve(&recommendation.config);
                        assert_eq!(app.name, inputs.app);
                        let model = match app.concurrency {
                            Concurrency::Sync => "sync",
                            Concurrency::Threads => "threads",
                            Concurrency::Async => "async",
                            other => panic!("{other:?}"),
                        };
                        assert_eq!(Some(model), recommendation.concurrency.as_deref());
                        assert_eq!(app.threads, recommendation.threads.unwrap_or(1));
                        assert_eq!(app.tenancy == Tenancy::Isolated, must_be_isolated);
                        isolated += usize::from(must_be_isolated);
                        seen.push(model);
                    }
                }
            }
        }
    }
    for model in ["sync", "threads", "async"] {
        assert!(seen.contains(&model), "{model} was never recommended");
    }
    assert!(isolated > 0);
}
