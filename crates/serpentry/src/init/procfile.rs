//! `Procfile`: its `web` process as settings of ours. Source: devcenter.heroku.com/articles/procfile.
//!
//! The other processes are no web applications; notes say that they must be run by something else.

use super::command::{self, Command};
use super::draft::{App, Draft};
use super::project;
use super::shell::{self, Word};

/// The `web` process of a Procfile.
pub(super) struct Web {
    pub(super) line: usize,
    /// As it stands in the file.
    pub(super) text: String,
    /// The command that starts a server, if one does.
    pub(super) command: Option<Command>,
    /// Where a `cd` before it goes.
    pub(super) directory: String,
    /// What else the line and the file do.
    pub(super) notes: Vec<String>,
}

/// Processes read from one file.
const PROCESSES: usize = 50;

/// What the file says about its `web` process, if it has one.
pub(super) fn read(source: &str, name: &str) -> Option<Web> {
    let mut web = None;
    let mut notes = Vec::new();
    let lines = source.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let processes = lines.filter(|(_, line)| !line.starts_with('#')).filter_map(|(number, line)| {
        let (process, command) = line.split_once(':')?;
        Some((number, process.trim(), command.trim()))
    });
    for (number, process, command) in processes.take(PROCESSES) {
        match process {
            "web" if web.is_none() => web = Some((number, command)),
            "web" => notes.push(format!("{name}:{number}: a second web process: {command}")),
            "release" => notes.push(format!("{name}:{number}: release: run this before a change: {command}")),
            _ => {
                notes.push(format!("{name}:{number}: {process}: not hosted, run it as a service: {command}"));
            }
        }
    }
    let (line, text) = web?;
    let mut web = Web { line, text: text.to_owned(), command: None, directory: String::new(), notes };
    match shell::split(text) {
        Ok(commands) => web.look_at(&commands, &format!("{name}:{line}")),
        Err(error) => web.notes.push(format!("{name}:{line}: {error}")),
    }
    Some(web)
}

impl Web {
    fn look_at(&mut self, commands: &[Vec<Word>], place: &str) {
        let starts = |words: &Vec<Word>| command::recognise(words).is_some();
        if !commands.iter().any(starts) {
            self.notes.push(format!("{place}: web: it starts no server that is known here: {}", self.text));
            return;
        }
        for words in commands {
            let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            if let ["cd", folder] = texts.as_slice() {
                self.directory = if folder.starts_with('/') {
                    (*folder).to_owned()
                } else {
                    project::join(&self.directory, folder.trim_start_matches("./").trim_end_matches('/'))
                };
            } else if self.command.is_none()
                && let Some(command) = command::recognise(words)
            {
                self.command = Some(command);
            } else {
                let when = if self.command.is_none() { "before the host" } else { "beside the host" };
                self.notes.push(format!("{place}: run this {when}: {}", texts.join(" ")));
            }
        }
    }

    /// Carry the command over into an application.
    pub(super) fn carry_over(&self, name: &str, processors: usize, draft: &mut Draft, app: &mut App) {
        let place = format!("{name}:{}", self.line);
        if let Some(command) = &self.command {
            command.carry_over(&place, processors, draft, app);
        }
        if !self.directory.is_empty() && !app.directory.starts_with('/') {
            app.directory = project::join(&self.directory, &app.directory).trim_end_matches('/').to_owned();
        }
        for note in &self.notes {
            app.table.note(note.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_process_is_found_among_others() {
        let source = "# web: no\nrelease: python manage.py migrate\nworker: celery -A shop worker\n\
                      web: cd back/ && python manage.py check; gunicorn shop.wsgi --chdir end -w 2 --log-file - # x\n";
        let web = read(source, "Procfile").unwrap();
        let (mut draft, mut app) = (Draft::default(), App::default());
        web.carry_over("Procfile", 2, &mut draft, &mut app);
        assert_eq!((app.target.as_str(), app.directory.as_str()), ("shop.wsgi:application", "back/end"));
        assert_eq!(
            app.table.notes,
            [
                "Procfile:4: --log-file -: output is kept per application in the state directory: serpentry logs",
                "Procfile:2: release: run this before a change: python manage.py migrate",
                "Procfile:3: worker: not hosted, run it as a service: celery -A shop worker",
                "Procfile:4: run this before the host: python manage.py check",
            ]
        );
    }

    #[test]
    fn a_web_process_without_a_known_server_says_so() {
        let web = read("web: python app.py", "Procfile").unwrap();
        assert!(web.command.is_none());
        assert_eq!(web.notes, ["Procfile:1: web: it starts no server that is known here: python app.py"]);
        let web = read("web: gunicorn 'a:app", "Procfile").unwrap();
        assert_eq!(web.notes, ["Procfile:1: the quote in column 10 is never closed"]);
        assert!(read("worker: x\nno process\n", "Procfile").is_none());
        assert!(read("", "Procfile").is_none());
    }
}
