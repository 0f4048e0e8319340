//! `serpentry doctor`: what this machine can enforce, and what of it the applications of a file ask for.
//!
//! The finding out is the crate `jail`'s; here it is shown and compared. It asks as the user who runs it and from where it is
//! run: a service may have more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use config::{App, Egress, Tenancy};
use jail::machine::{Finding, Level, Roots, Survey};
use serde::Serialize;

use crate::cli::DoctorArguments;
use crate::commands::table::{Style, coloured, layout, left};
use crate::load;
use crate::output::print;

/// What the isolated tenancy consists of besides the limits.
const ISOLATION: [&str; 10] = [
    "memory_guarantee",
    "pid_namespace",
    "mount_namespace",
    "ipc_namespace",
    "uts_namespace",
    "network_namespace",
    "user_ids",
    "capabilities",
    "seccomp",
    "landlock",
];

/// Longest line of explanations.
const WIDTH: usize = 110;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    survey: &'a Survey,
    apps: Vec<AppAnswer<'a>>,
}

/// Of one application, what it asks for.
#[derive(Debug, Serialize)]
struct AppAnswer<'a> {
    name: &'a str,
    tenancy: Tenancy,
    /// All that it asks for holds.
    enforced: bool,
    constraints: Vec<&'a Finding>,
}

/// # Errors
/// When a file is named that cannot be used, or standard output cannot be written to.
pub(crate) fn run(arguments: &DoctorArguments) -> anyhow::Result<ExitCode> {
    let loaded = arguments.file.as_deref().map(|file| load::load(file, &BTreeMap::new())).transpose()?;
    let plan = loaded.map(|loaded| loaded.plan);
    let volume = plan.as_ref().map(|plan| existing(&plan.host.state));
    let survey = Survey::take(&Roots::default(), volume.unwrap_or(Path::new(".")));
    let apps = plan.iter().flat_map(|plan| &plan.apps).map(|app| answer(&survey, app)).collect();
    let answer = Answer { survey: &survey, apps };
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))?;
    } else {
        print(&text(&answer, Style::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The state directory, or what it will be made in.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn answer<'a>(survey: &'a Survey, app: &'a App) -> AppAnswer<'a> {
    let constraints: Vec<&Finding> = asked(app).into_iter().filter_map(|name| survey.of(name)).collect();
    let enforced = constraints.iter().all(|finding| finding.level == Level::Enforced);
    AppAnswer { name: &app.name, tenancy: app.tenancy, enforced, constraints }
}

/// The constraints that an application asks for, beyond what the router keeps everywhere.
fn asked(app: &App) -> Vec<&'static str> {
    let limits = &app.limits;
    let isolated = app.tenancy == Tenancy::Isolated;
    let whole = limits.cpu.is_some_and(|cores| cores.fract() == 0.0);
    let wanted = [
        // Whole cores of its own are pinned, fractions are a quota.
        ("cpu", limits.cpu.is_some() && !(isolated && whole)),
        ("cores", isolated && whole),
        ("cpu_weight", !isolated),
        ("memory", limits.memory.is_some()),
        ("disk_read", limits.disk_read.is_some()),
        ("disk_write", limits.disk_write.is_some()),
        ("disk_space", limits.disk_space.is_some()),
        ("processes", true),
        ("open_files", true),
        ("egress_none", limits.egress == Egress::None),
        ("egress_nat", limits.egress == Egress::Nat),
    ];
    let mut names: Vec<&str> =
        wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    if isolated {
        names.extend(ISOLATION);
    }
    names
}

fn text(answer: &Answer<'_>, style: Style) -> String {
    let survey = answer.survey;
    let user = if survey.user == 0 { "root".to_owned() } else { format!("user {}", survey.user) };
    let mut text = format!("Linux {} on {}, as {user}\n", survey.kernel, survey.architecture);
    match survey.hierarchies.as_slice() {
        [] => text.push_str("no cgroup hierarchies\n"),
        all => all.iter().for_each(|one| {
            let _ = writeln!(text, "cgroup {one}");
        }),
    }
    text.push('\n');
    text.push_str(&table(&survey.findings, style));
    let open: Vec<&Finding> =
        survey.findings.iter().filter(|finding| finding.level != Level::Enforced).collect();
    if !open.is_empty() {
        text.push('\n');
        text.push_str(&explain(&open));
    }
    for app in &answer.apps {
        text.push_str(&one(app));
    }
    text
}

fn table(findings: &[Finding], style: Style) -> String {
    let titles = vec![left("CONSTRAINT"), left("HERE"), left("BY")];
    let rows = findings.iter().map(|finding| {
        let by = if finding.mechanism.is_empty() { "-" } else { &finding.mechanism };
        vec![left(&finding.constraint), coloured(word(finding.level), colour(finding.level)), left(by)]
    });
    layout(titles, rows.collect(), style)
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Enforced => "enforced",
        Level::Partly => "partly",
        Level::Impossible => "impossible",
    }
}

fn colour(level: Level) -> Option<&'static str> {
    match level {
        Level::Enforced => Some("32"),
        Level::Partly => Some("33"),
        Level::Impossible => Some("31"),
    }
}

/// What is in the way, and below it what would help: said once for all that it would help.
fn explain(open: &[&Finding]) -> String {
    let mut text = String::new();
    for (remedy, findings) in together(open, |finding| &finding.remedy) {
        for (why, findings) in together(&findings, |finding| &finding.why) {
            let names: Vec<&str> = findings.iter().map(|finding| finding.constraint.as_str()).collect();
            text.push_str(&wrap(&format!("{}: {why}", names.join(", ")), ""));
        }
        if !remedy.is_empty() {
            text.push_str(&wrap(remedy, "  -> "));
        }
    }
    text
}

/// Those with the same key beside each other, in the order of the first of each.
fn together<'a>(
    findings: &[&'a Finding],
    key: impl Fn(&'a Finding) -> &'a str,
) -> Vec<(&'a str, Vec<&'a Finding>)> {
    let mut groups: Vec<(&str, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        match groups.iter_mut().find(|(known, _)| *known == key(finding)) {
            Some((_, group)) => group.push(finding),
            None => groups.push((key(finding), vec![finding])),
        }
    }
    groups
}

/// Lines of at most [`WIDTH`] characters; all but the first are indented.
fn wrap(words: &str, first: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    for word in words.split_whitespace() {
        if line.trim().len() > 2 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = "     ".to_owned();
        }
        if !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
    text
}

fn one(app: &AppAnswer<'_>) -> String {
    let named = |level: Level| -> Vec<&str> {
        let of_it = app.constraints.iter().filter(|finding| finding.level == level);
        of_it.map(|finding| finding.constraint.as_str()).collect()
    };
    let mut line = format!("{} ({}): ", app.name, app.tenancy);
    if app.enforced {
        line.push_str("all that it asks for is enforced");
    } else {
        let parts: Vec<String> = [("not enforced", Level::Impossible), ("partly", Level::Partly)]
            .into_iter()
            .map(|(title, level)| (title, named(level)))
            .filter(|(_, names)| !names.is_empty())
            .map(|(title, names)| format!("{title}: {}", names.join(", ")))
            .collect();
        line.push_str(&parts.join("; "));
    }
    format!("\n{}", wrap(&line, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_explanations_are_wrapped() {
        let text = wrap(&"word ".repeat(60), "  -> ");
        assert!(text.lines().count() > 2);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(text.starts_with("  -> word word"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("     word")), "{text}");
        assert_eq!(text.split_whitespace().filter(|word| *word == "word").count(), 60);
    }
}
