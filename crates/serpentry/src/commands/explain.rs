//! `explain`: what a code means, from the catalogue and the pages that travel inside the program. No host is asked.

use std::fmt::Write as _;
use std::process::ExitCode;

use incident::{Code, page, text};
use serde_json::{Value, json};

use super::ExplainArguments;
use crate::exit::Usage;
use crate::output::print;

pub(crate) fn explain(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    let Some(asked) = &arguments.code else {
        print(&if arguments.json {
            lines(&Value::from_iter(Code::ALL.iter().map(|code| value(*code))))?
        } else {
            list()
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    // The name of an incident begins with its code.
    let word = asked.split_once('-').map_or(asked.as_str(), |(code, _)| code);
    let Some(code) = Code::from_name(word) else {
        let text = format!("there is no code {:?}: serpentry explain lists them", text::line(asked));
        return Err(Usage(text).into());
    };
    print(&if arguments.json { lines(&value(code))? } else { explained(code) })?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let mut list = String::new();
    let mut family = ' ';
    for code in Code::ALL {
        let of = code.family();
        if of.letter != family {
            let gap = if family == ' ' { "" } else { "\n" };
            // Writing into a string does not fail; so below.
            let _ = writeln!(list, "{gap}{}: {}", of.letter, of.title);
            family = of.letter;
        }
        let entry = code.entry();
        let status = entry.status.map_or("  -".to_owned(), |status| status.to_string());
        let _ = writeln!(list, "  {code}  {status}  {:<7}  {}", entry.severity.as_str(), entry.title);
    }
    list
}

fn explained(code: Code) -> String {
    let entry = code.entry();
    let mut shown = format!("{code}: {} ({}", entry.title, entry.severity.as_str());
    if let Some(status) = entry.status {
        let _ = write!(shown, ", visitors get {status}");
    }
    shown.push_str(")\n");
    for cause in entry.causes {
        let plain = |text: &str| page::plain(text).replace('{', "<").replace('}', ">");
        let _ =
            write!(shown, "\n{}: {}\n  to do: {}\n", cause.name, plain(cause.sentence), plain(cause.remedy));
    }
    shown.push_str("\nevidence:\n");
    for evidence in entry.evidence {
        let _ = writeln!(shown, "  {} ({}): {}", evidence.key, evidence.unit.as_str(), evidence.about);
    }
    let _ = write!(shown, "\n{}\n", page::prose(code));
    shown
}

fn value(code: Code) -> Value {
    let entry = code.entry();
    let cause = |cause: &incident::Cause| json!({ "name": cause.name, "sentence": cause.sentence, "remedy": cause.remedy });
    let evidence = |evidence: &incident::Evidence| json!({ "key": evidence.key, "unit": evidence.unit.as_str(), "about": evidence.about });
    json!({
        "code": code.as_str(),
        "title": entry.title,
        "family": code.family().title,
        "status": entry.status,
        "severity": entry.severity.as_str(),
        "resource": entry.resource,
        "causes": entry.causes.iter().map(cause).collect::<Vec<_>>(),
        "evidence": entry.evidence.iter().map(evidence).collect::<Vec<_>>(),
        "page": page::prose(code),
    })
}

fn lines(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
