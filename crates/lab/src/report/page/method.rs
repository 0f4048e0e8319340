//! How it was measured, and what does not count: machine, arms with their exact limits, blocks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::document::{Block, BlockKind, Document};
use crate::report::html::{Html, Table, list, paragraph};
use crate::report::{escape, format};

pub(super) fn not_testable(document: &Document) -> String {
    let of_recommendation =
        document.recommendation.iter().flat_map(|recommendation| &recommendation.not_testable);
    let mut table = Table::cards("Questions without an answer on this machine", &["what", "because"]);
    let mut seen = Vec::new();
    for missing in document.not_testable.iter().chain(of_recommendation) {
        if !seen.contains(&missing) {
            seen.push(missing);
            table.row(vec![missing.what.as_str().into(), missing.because.as_str().into()]);
        }
    }
    table.html()
}

pub(super) fn method(document: &Document) -> String {
    let (machine, method) = (&document.machine, &document.method);
    let mut table = Table::new("Where and how it was measured", &["what", "value"]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.row(vec![name.into(), value.into()]);
        }
    };
    row("processor", machine.processor.clone());
    row("cores", machine.cores.map(|cores| cores.to_string()));
    let swap = machine.swap_bytes.map_or("unknown".to_owned(), |swap| format::bytes(Some(swap as f64)));
    row(
        "memory",
        machine.memory_bytes.map(|bytes| format!("{}, swap {swap}", format::bytes(Some(bytes as f64)))),
    );
    row("kernel", machine.kernel.clone());
    row("virtual machine", machine.virtualisation.clone());
    row("file system", machine.filesystem.clone());
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    row("versions", Some(versions.join(", ")));
    row(
        "steadiness",
        machine.calibration_ms.map(|ms| {
            format!(
                "a fixed piece of work took {}, varying by {}",
                format::milliseconds(ms),
                format::percent(machine.calibration_spread)
            )
        }),
    );
    row("command", method.command.clone());
    row(
        "arrivals",
        method.arrivals.clone().map(|arrivals| match method.rate {
            Some(rate) => format!("{arrivals}, {} requests per second", format::figure(rate)),
            None => arrivals,
        }),
    );
    row("design", method.pairs.map(|pairs| format!(
        "{pairs} pairs of blocks of {} s in random order, both blocks of a pair with the same arrivals; the first {} s of a block are not counted",
        format::plain(method.block_seconds),
        format::plain(method.discarded_seconds)
    )));
    row(
        "target",
        method.target_ms.map(|ms| {
            format!(
                "{} within {}",
                method.target_quantile.map_or("all".to_owned(), format::quantile),
                format::milliseconds(ms)
            )
        }),
    );
    row("placement", method.placement.clone());
    row(
        "generator used",
        method.generator_cpu.map(|share| format!("{} of a core", format::percent(Some(share)))),
    );
    row("host used", method.host_cpu.map(|share| format!("{} of a core", format::percent(Some(share)))));
    let mix: Vec<String> = method
        .mix
        .iter()
        .map(|(what, share)| format!("{what} ({})", format::percent(Some(*share))))
        .collect();
    row("requests", Some(mix.join(", ")));
    row("plan", Some(document.plan_hash.clone()));
    row("seed", Some(document.seed.to_string()));
    let mut text = table.html();
    text.push_str(&list(&method.notes));
    text.push_str(&list(&document.notes));
    let mut mechanisms = Table::new("What arms and neighbours are made with here", &["what", "with"]);
    for mechanism in &machine.mechanisms {
        let with = mechanism.with.as_deref().unwrap_or("missing on this machine");
        mechanisms.row(vec![mechanism.what.as_str().into(), with.into()]);
    }
    text.push_str(&mechanisms.html());
    text
}

pub(super) fn arms(document: &Document) -> String {
    let mut table = Table::cards(
        "Exactly what was run",
        &["arm", "", "model", "limits", "control group", "holds", "neighbours"],
    );
    for arm in &document.arms {
        let model = match (&arm.concurrency, arm.workers, arm.threads) {
            (Some(concurrency), Some(workers), Some(threads)) => {
                format!("{concurrency}, {workers} workers, {threads} threads each")
            }
            (Some(concurrency), Some(workers), None) => format!("{concurrency}, {workers} workers"),
            (Some(concurrency), None, _) => concurrency.clone(),
            (None, _, _) => format::UNKNOWN.to_owned(),
        };
        let reserved = match (arm.reserved_cores, arm.reserved_memory_bytes) {
            (None, None) => "nothing".to_owned(),
            (cores, memory) => {
                let cores = cores.map(|cores| format!("{} cores", format::plain(Some(cores))));
                let memory = memory.map(|bytes| format::bytes(Some(bytes as f64)));
                cores.into_iter().chain(memory).collect::<Vec<_>>().join(", ")
            }
        };
        let neighbours = arm.neighbours.iter().map(|neighbour| {
            let used = neighbour
                .cores
                .map(|cores| format!(" using {} cores", format::plain(Some(cores))))
                .unwrap_or_default();
            format!("{} {}{used}", neighbour.count, neighbour.kind)
        });
        let neighbours: Vec<String> = neighbours.collect();
        table.row(vec![
            arm.name.as_str().into(),
            arm.title.as_str().into(),
            model.into(),
            pairs(&arm.limits),
            pairs(&arm.cgroup),
            reserved.into(),
            if neighbours.is_empty() { "none".into() } else { neighbours.join(", ").into() },
        ]);
    }
    table.html()
}

/// One key and value per line.
fn pairs(map: &BTreeMap<String, String>) -> Html {
    let lines = map.iter().map(|(key, value)| format!("{} = {}", escape::html(key), escape::html(value)));
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        format::UNKNOWN.into()
    } else {
        Html(format!("<span class=\"mono\">{}</span>", lines.join("<br>")))
    }
}

pub(super) fn blocks(document: &Document) -> String {
    if document.blocks.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    let mut invalid =
        Table::cards("Blocks that are not counted, and why", &["block", "arm", "pair", "because"]);
    for block in document.blocks.iter().filter(|block| !block.valid) {
        let pair = block.pair.map_or(format::UNKNOWN.to_owned(), |pair| pair.to_string());
        let because = if block.invalid_because.is_empty() {
            "not said".to_owned()
        } else {
            block.invalid_because.join("; ")
        };
        invalid.row(vec![
            format!("block {}", block.index).into(),
            block.arm.as_str().into(),
            pair.into(),
            because.into(),
        ]);
    }
    if invalid.is_empty() {
        text.push_str(&paragraph(&format!("All {} blocks are valid.", document.blocks.len())));
    } else {
        text.push_str(&invalid.html());
    }
    let mut table = Table::new(
        "All blocks, with what the machine was like meanwhile",
        &[
            "block",
            "arm",
            "for",
            "#pair",
            "#planned",
            "#answered",
            "#failed",
            "#dropped",
            "#answers/s",
            "#p95 ms",
            "#late p99 ms",
            "#stolen",
            "#cpu pressure",
            "#run queue ms",
            "#throttled",
            "#work",
            "valid",
        ],
    );
    for block in &document.blocks {
        table.row(block_row(block));
    }
    text.push_str(&table.folded("All blocks as a table"));
    let _ = writeln!(
        text,
        "<p class=\"quiet\">Late: how late the generator was. Stolen: share of the time that the hypervisor took. Work: how much slower a fixed piece of work was than usual.</p>"
    );
    text
}

fn block_row(block: &Block) -> Vec<Html> {
    let kind = match block.kind {
        BlockKind::Measured => "pair",
        BlockKind::Control => "A/A",
        BlockKind::Ladder => "ladder",
        BlockKind::WarmUp => "warm-up",
        BlockKind::Calibration => "calibration",
        BlockKind::Unknown => "unknown",
    };
    vec![
        block.index.to_string().into(),
        block.arm.as_str().into(),
        kind.into(),
        block.pair.map_or(format::UNKNOWN.to_owned(), |pair| pair.to_string()).into(),
        format::count(block.planned).into(),
        format::count(block.answered).into(),
        format::count(block.failed).into(),
        format::count(block.dropped).into(),
        format::maybe(block.throughput).into(),
        format::latency(block.latency_ms.get("p95")).into(),
        format::maybe(block.lag_p99_ms).into(),
        format::percent(block.steal).into(),
        format::percent(block.pressure.cpu).into(),
        format::maybe(block.run_queue_ms).into(),
        format::percent(block.throttled).into(),
        format::percent(block.calibration).into(),
        if block.valid { "yes" } else { "no" }.into(),
    ]
}
