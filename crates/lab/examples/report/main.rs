//! What a report looks like, with simulated figures: `cargo run -p lab --example report -- html|json|text [SEED] [hostile]`.
//!
//! With `hostile`, every text in it tries to get out of its place: for looking at what becomes of it in a browser.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its result")]

mod simulated;

use std::process::ExitCode;

use lab::report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let form = arguments.first().map_or("html", String::as_str);
    let seed = arguments.get(1).and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut document = simulated::document(seed);
    if arguments.iter().any(|argument| argument == "hostile") {
        simulated::make_hostile(&mut document);
    }
    let text = match form {
        "json" => document.write(),
        "text" => Ok(report::tables(&document, report::Style { colour: false })),
        _ => report::html(&document),
    };
    match text {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the report cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
