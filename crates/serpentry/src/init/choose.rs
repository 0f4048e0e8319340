//! Which of several candidates goes into the file, and what is known about it from elsewhere.
//!
//! What somebody told a server before comes first (NGINX Unit, `Procfile`, `gunicorn.conf.py`, `FLASK_APP`), then a Django
//! project, then what the Python files look like. The others are kept as comments.

use super::draft::{App, Draft, Value};
use super::procfile::{self, Web};
use super::project::{Project, join};
use super::scan::{Candidate, Scan};
use super::surroundings::{self, Surroundings};
use super::{django, gunicorn, unit};

/// Candidates that are kept as comments.
const ALTERNATIVES: usize = 5;

const GUNICORN_FILE: &str = "gunicorn.conf.py";

/// The whole file.
///
/// # Errors
/// When there is nothing to host: what was seen nevertheless.
pub(super) fn draft(project: &Project, processors: usize) -> Result<Draft, Vec<String>> {
    let around = surroundings::look(project);
    let scan = Scan::new(project);
    let mut candidates = Vec::new();
    candidates.extend(flask(&scan, around.flask_app.as_deref()));
    candidates.extend(django::candidates(&scan, project.files()));
    let (scanned, mut seen) = scan.candidates();
    for candidate in scanned {
        let same =
            |known: &Candidate| known.target == candidate.target && known.directory == candidate.directory;
        if !candidates.iter().any(same) {
            candidates.push(candidate);
        }
    }
    if let Some(mut draft) = from_unit(project, &mut seen) {
        let others = candidates.iter().take(ALTERNATIVES);
        draft
            .findings
            .extend(others.map(|other| format!("not used besides: {} ({})", other.target, other.reason)));
        draft.findings.extend(seen);
        return Ok(draft);
    }
    let mut draft = Draft::default();
    let mut app = App::default();
    servers(project, processors, &mut draft, &mut app);
    if !complete(&scan, candidates, &mut draft, &mut app) {
        seen.splice(0..0, draft.findings);
        return Err(seen);
    }
    draft.findings.extend(seen);
    surround(project, &around, &mut draft, &mut app);
    draft.apps.push(app);
    Ok(draft)
}

fn from_unit(project: &Project, seen: &mut Vec<String>) -> Option<Draft> {
    ["unit.json", "conf.json"].iter().find_map(|name| match unit::read(&project.text(name)?, name) {
        Ok(draft) => Some(draft),
        Err(unit::Problem::NotUnit) => None,
        Err(problem) => {
            seen.push(format!("{name}: {problem}"));
            None
        }
    })
}

/// What `Procfile` and `gunicorn.conf.py` say. A command line goes before a file, as with gunicorn itself.
fn servers(project: &Project, processors: usize, draft: &mut Draft, app: &mut App) {
    let web = project.text("Procfile").and_then(|text| procfile::read(&text, "Procfile"));
    let command = web.as_ref().and_then(|web| web.command.as_ref());
    let named = command.and_then(|command| command.configuration());
    let folder = web.as_ref().map_or("", |web| web.directory.as_str());
    let name = named.unwrap_or(GUNICORN_FILE);
    let path = join(folder, name.trim_start_matches("file:").trim_start_matches("./"));
    match (project.text(&path), command.map(|command| command.server.name)) {
        (Some(text), None | Some("gunicorn")) => {
            draft.findings.push(format!("{path}: settings of gunicorn"));
            gunicorn::carry_over(&text, &path, processors, draft, app);
        }
        (Some(_), Some(server)) => {
            draft.findings.push(format!("{path}: not used, the Procfile starts {server}"));
        }
        (None, _) if named.is_some() => {
            app.table.note(format!("{path}, which the Procfile names, is not here"));
        }
        (None, _) => {}
    }
    if let Some(web) = web {
        carry_over(&web, processors, draft, app);
    }
}

fn carry_over(web: &Web, processors: usize, draft: &mut Draft, app: &mut App) {
    draft.findings.push(format!("Procfile:{}: web: {}", web.line, web.text));
    web.carry_over("Procfile", processors, draft, app);
    if !app.target.is_empty() {
        app.reason = format!("Procfile:{}", web.line);
    }
}

/// `FLASK_APP`: a file or a module, and perhaps an attribute or a call.
fn flask(scan: &Scan, value: Option<&str>) -> Option<Candidate> {
    let value = value?;
    let (module, expression) =
        value.split_once(':').map_or((value, None), |(left, right)| (left, Some(right)));
    let file = module.trim_start_matches("./");
    let path = if file.ends_with(".py") {
        file
    } else {
        ["", "src"].iter().find_map(|root| scan.file_of(root, file))?
    };
    let name = expression.map(|text| text.split('(').next().unwrap_or_default().trim());
    let mut candidate = scan.entry(path, name)?;
    if let Some((_, arguments)) = expression.and_then(|text| text.split_once('('))
        && arguments.trim() != ")"
    {
        // The call is kept, with its arguments.
        candidate.target = format!("{}({arguments}", candidate.target);
        candidate.factory = false;
    }
    candidate.reason = format!("FLASK_APP in .flaskenv is {value}; {}", candidate.reason);
    Some(candidate)
}

/// Take the best candidate, or the one that a server was told to take. Returns `false` if there is none.
fn complete(scan: &Scan, mut candidates: Vec<Candidate>, draft: &mut Draft, app: &mut App) -> bool {
    if app.target.is_empty() {
        if candidates.is_empty() {
            return false;
        }
        let best = candidates.remove(0);
        best.target.clone_into(&mut app.target);
        app.factory = best.factory;
        if app.directory.is_empty() {
            best.directory.clone_into(&mut app.directory);
        }
        accept(&best, draft, app);
    } else {
        let told = app.target.trim_end_matches("()");
        let directory = surroundings::tidy(&app.directory);
        let same = |candidate: &Candidate| candidate.target == told && candidate.directory == directory;
        match candidates.iter().position(same) {
            Some(at) => {
                let known = candidates.remove(at);
                accept(&known, draft, app);
            }
            None => missing(scan, draft, app),
        }
    }
    for candidate in candidates.into_iter().take(ALTERNATIVES) {
        let call = if candidate.factory { "()" } else { "" };
        let keys = format!("app = {}", super::draft::quoted(&format!("{}{call}", candidate.target)));
        let elsewhere = surroundings::tidy(&candidate.directory) != surroundings::tidy(&app.directory);
        let directory = if candidate.directory.is_empty() { "." } else { &candidate.directory };
        let directory = if elsewhere { format!(", with directory = {directory}") } else { String::new() };
        app.alternatives.push((keys, candidate.reason + &directory));
    }
    true
}

/// What a candidate says about the application that was chosen.
fn accept(candidate: &Candidate, draft: &mut Draft, app: &mut App) {
    draft.findings.push(candidate.reason.clone());
    let told = std::mem::take(&mut app.reason);
    app.reason =
        if told.is_empty() { candidate.reason.clone() } else { format!("{told}; {}", candidate.reason) };
    app.name = candidate.name.clone().unwrap_or_default();
    for (name, value) in &candidate.env {
        if !app.env.iter().any(|(known, _)| known == name) {
            app.set_env(name, value);
        }
    }
    for note in &candidate.notes {
        app.table.note(note.clone());
    }
}

/// A server was told to take what is in none of the files.
fn missing(scan: &Scan, draft: &mut Draft, app: &mut App) {
    if app.reason.is_empty() {
        GUNICORN_FILE.clone_into(&mut app.reason);
    }
    draft.findings.push(format!("{}: the application is {}", app.reason, app.target));
    let module = app.target.split(':').next().unwrap_or_default();
    let directory = surroundings::tidy(&app.directory);
    let roots = [directory.as_str(), "", "src"];
    if !app.directory.starts_with('/') && !roots.iter().any(|root| scan.file_of(root, module).is_some()) {
        app.table
            .note(format!("no file here is the module {module}: is it installed, or in another directory?"));
    }
}

/// Interpreter, name, and what else lies around.
fn surround(project: &Project, around: &Surroundings, draft: &mut Draft, app: &mut App) {
    if let Some(python) = &around.python {
        draft.findings.push(format!("virtual environment: {python}"));
        if let Some(path) = surroundings::interpreter(python, &surroundings::tidy(&app.directory))
            && app.table.get("python").is_none()
        {
            app.table.set("python", Value::Text(path), "");
        }
    }
    if let Some(versions) = &around.requires_python {
        draft.findings.push(format!("pyproject.toml: requires-python is {versions}"));
    }
    for name in &around.variables {
        draft.findings.push(format!("{name}: not read; put the variables that are needed into env"));
    }
    if app.name.is_empty() {
        let folder = project.root().components().next_back();
        let folder = folder.map(|folder| folder.as_os_str().to_string_lossy().into_owned());
        app.name = around.name.clone().or(folder).unwrap_or_default();
    }
}
