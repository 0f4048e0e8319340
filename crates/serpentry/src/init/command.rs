//! A command line that starts a server, as settings of ours.
//!
//! The flags are in [`super::servers`], what they mean in [`super::meaning`]. Here is the shape of a command: wrappers before
//! the server (`poetry run`, `python -m`, `env A=b`), flags with and without values, and the application.

use super::draft::{App, Draft};
use super::meaning::{self, Found, Meaning};
use super::servers::{Flag, SERVERS, Server};
use super::shell::Word;
use super::target;

/// A command that starts a server.
pub(super) struct Command {
    pub(super) server: &'static Server,
    /// `NAME=VALUE` before it.
    pub(super) assignments: Vec<String>,
    /// What else is before it and does more than to find the server.
    pub(super) wrappers: Vec<String>,
    pub(super) arguments: Vec<Word>,
}

/// Programs that run another in an environment, which our `python` setting does.
const RUNNERS: &[&str] = &["poetry", "pipenv", "pdm", "hatch", "uv", "rye"];

/// Programs that instrument another.
const INSTRUMENTS: &[&str] = &["newrelic-admin", "opentelemetry-instrument", "ddtrace-run"];

/// The server that a command starts, if it starts one.
pub(super) fn recognise(words: &[Word]) -> Option<Command> {
    let mut assignments = Vec::new();
    let mut wrappers = Vec::new();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let text = word.text.as_str();
        let program = text.rsplit('/').next().unwrap_or_default();
        let next = after.first().map_or("", |word| word.text.as_str());
        if let Some(server) = SERVERS.iter().find(|server| server.name == program) {
            return Some(Command { server, assignments, wrappers, arguments: after.to_vec() });
        }
        rest = if is_assignment(text) {
            assignments.push(text.to_owned());
            after
        } else if program.starts_with("python") && next == "-m" {
            let module = after.get(1).map_or("", |word| word.text.as_str());
            let server = SERVERS.iter().find(|server| server.name.trim_end_matches("-serve") == module)?;
            return Some(Command { server, assignments, wrappers, arguments: after[2..].to_vec() });
        } else if RUNNERS.contains(&program) && next == "run" {
            skip_flags(&after[1..])
        } else if INSTRUMENTS.contains(&program) {
            wrappers.push(program.to_owned());
            if next == "run-program" { &after[1..] } else { skip_flags(after) }
        } else if matches!(program, "exec" | "env" | "nohup" | "time") {
            after
        } else {
            return None;
        };
    }
    None
}

/// Flags of a wrapper; their values, if they have any, cannot be told from the program and end the search.
fn skip_flags(words: &[Word]) -> &[Word] {
    let flags = words.iter().take_while(|word| word.text.starts_with('-')).count();
    &words[flags..]
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(legal)
    })
}

impl Command {
    /// The file that `-c` names, if gunicorn is told to read one.
    pub(super) fn configuration(&self) -> Option<&str> {
        if self.server.name != "gunicorn" {
            return None;
        }
        let arguments = &self.arguments;
        arguments.iter().enumerate().find_map(|(at, word)| match word.text.as_str() {
            "-c" | "--config" => arguments.get(at + 1).map(|next| next.text.as_str()),
            text => text.strip_prefix("--config=").or_else(|| text.strip_prefix("-c")),
        })
    }

    /// Carry everything over. `place` is where the command stands.
    pub(super) fn carry_over(&self, place: &str, processors: usize, draft: &mut Draft, app: &mut App) {
        for assignment in &self.assignments {
            if let Some((name, value)) = assignment.split_once('=') {
                self.assign(name, value, place, draft, app);
            }
        }
        for wrapper in &self.wrappers {
            app.table.note(format!("{place}: {wrapper}: call its initialisation in the application instead"));
        }
        for (meaning, text) in self.server.defaults.iter().filter(|(meaning, _)| !self.says(*meaning)) {
            let name = self.server.name;
            let found = Found { name, text, place, remark: "its default" };
            meaning::apply(*meaning, &found, draft, app);
        }
        self.flags(place, processors, draft, app);
        let (host, port) = self.server.address;
        meaning::finish(draft, app, host, port);
    }

    /// Whether there is a flag of that meaning.
    fn says(&self, meaning: Meaning) -> bool {
        let flags = self.arguments.iter().filter_map(|word| self.flag(self.parts(&word.text).0));
        flags.into_iter().any(|flag| flag.meaning == meaning)
    }

    fn assign(&self, name: &str, value: &str, place: &str, draft: &mut Draft, app: &mut App) {
        let meaning = match name {
            "WEB_CONCURRENCY" => Meaning::Workers,
            "PORT" => Meaning::Port,
            _ => return app.set_env(name, value),
        };
        let found = Found { name, text: value, place, remark: name };
        if !meaning::apply(meaning, &found, draft, app) {
            app.table.note(format!("{place}: {name}={value}: the value was not understood"));
        }
    }

    fn flags(&self, place: &str, processors: usize, draft: &mut Draft, app: &mut App) {
        let mut words = self.arguments.iter();
        let mut named = false;
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            if !text.starts_with('-') || text == "-" {
                if !named && (app.target.is_empty() || target::is_target(text)) {
                    self.target(text, place, app);
                } else {
                    app.table.note(format!("{place}: {text}: not understood"));
                }
                named = true;
                continue;
            }
            if text == "--" {
                continue;
            }
            let (name, attached) = self.parts(text);
            let Some(flag) = self.flag(name) else {
                app.table.note(format!(
                    "{place}: {text}: {} has no such flag that is known here",
                    self.server.name
                ));
                continue;
            };
            let value = match attached {
                Some(value) if flag.valued => {
                    Some(Word { text: value.to_owned(), variables: word.variables.clone() })
                }
                None if flag.valued => words.next().cloned(),
                _ => Some(Word { text: "true".to_owned(), variables: Vec::new() }),
            };
            match value {
                Some(value) => carry_flag(flag.meaning, name, &value, place, processors, draft, app),
                None => app.table.note(format!("{place}: {name}: its value is missing")),
            }
        }
    }

    fn target(&self, text: &str, place: &str, app: &mut App) {
        if !target::is_target(
            text.strip_prefix("asgi:").or_else(|| text.strip_prefix("wsgi:")).unwrap_or(text),
        ) {
            app.table.note(format!("{place}: {text}: this is no module:attribute"));
            return;
        }
        let full =
            if text.contains(':') { text.to_owned() } else { format!("{text}:{}", self.server.attribute) };
        target::set_target(app, &full);
    }

    /// `--name=value` and `-nvalue` as two.
    fn parts<'w>(&self, text: &'w str) -> (&'w str, Option<&'w str>) {
        if text.starts_with("--") {
            return text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        }
        match text.char_indices().nth(2) {
            Some((end, _)) if self.flag(&text[..end]).is_some() => {
                (&text[..end], Some(text[end..].trim_start_matches('=')))
            }
            _ => (text, None),
        }
    }

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.server.flags.iter().find(|flag| flag.names.contains(&name))
    }
}

fn carry_flag(
    meaning: Meaning,
    name: &str,
    value: &Word,
    place: &str,
    processors: usize,
    draft: &mut Draft,
    app: &mut App,
) {
    let variables = value.variables.join(", ");
    let counted = value.text == "$(nproc)" || value.text == "`nproc`";
    let number = processors.to_string();
    let (text, remark) = if counted {
        (number.as_str(), format!("{variables}, the processors of this machine"))
    } else {
        (value.text.as_str(), variables)
    };
    let found = Found { name, text, place, remark: &remark };
    if !meaning::apply(meaning, &found, draft, app) {
        app.table.note(format!("{place}: {name} {text}: the value is not known here, or was not understood"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::shell;
    use super::*;

    fn carried(line: &str) -> (Draft, App) {
        let (mut draft, mut app) = (Draft::default(), App::default());
        let commands = shell::split(line).unwrap();
        let command = recognise(&commands[0]).unwrap_or_else(|| panic!("{line}"));
        command.carry_over("P", 4, &mut draft, &mut app);
        (draft, app)
    }

    /// `key = value` of every setting, and the notes.
    fn shown(line: &str) -> Vec<String> {
        let (draft, app) = carried(line);
        let mut shown = vec![app.target.clone()];
        for table in [&draft.host, &app.table, &app.limits] {
            shown.extend(
                table.settings.iter().map(|setting| format!("{} = {}", setting.key, setting.value.toml())),
            );
            shown.extend(table.notes.iter().map(|note| format!("# {note}")));
        }
        shown.extend(app.env.iter().map(|(name, value)| format!("{name}={value}")));
        shown.extend(app.routes.iter().map(|(route, _)| route.clone()));
        shown.extend(app.factory.then(|| "factory".to_owned()));
        shown.extend((!app.directory.is_empty()).then(|| format!("in {}", app.directory)));
        shown
    }

    #[test]
    fn gunicorn() {
        let line = "A=b gunicorn -b unix:/a.sock --bind=:80 -w3 --threads 2 -k gthread -t 60 --graceful-timeout 10 \
                    --keep-alive 5 --max-requests 100 --max-requests-jitter 10 --preload --chdir src -e C=d \
                    --forwarded-allow-ips '*' --access-logfile - --log-level debug shop.wsgi";
        let expected = [
            "shop.wsgi:application",
            "listen = [\"unix:/a.sock\", \"0.0.0.0:80\"]",
            "forwarded_allow_ips = \"*\"",
            "access_log = \"-\"",
            "log_level = \"debug\"",
            "workers = 3",
            "threads = 2",
            "concurrency = \"threads\"",
            "graceful_timeout = \"10s\"",
            "max_requests = 100",
            "max_requests_jitter = 10",
            "preload = true",
            "request_timeout = \"60s\"",
            "keepalive_timeout = \"5s\"",
            "A=b",
            "C=d",
            "in src",
        ];
        assert_eq!(shown(line), expected);
    }

    #[test]
    fn uvicorn() {
        let line = "uvicorn --factory --host 0.0.0.0 --port ${PORT:-9000} --workers 2 --loop uvloop --lifespan on \
                    --timeout-keep-alive 10 --limit-concurrency 50 --limit-max-requests 7 --ws-max-size 65536 \
                    --root-path /api --app-dir src --no-access-log shop.main:create";
        let expected = [
            "shop.main:create",
            "listen = [\"0.0.0.0:9000\"]",
            "workers = 2",
            "loop = \"uvloop\"",
            "lifespan = \"on\"",
            "max_requests = 7",
            "# P: --root-path /api: with routes = [\"/api\"] the application is told the same; the prefix is taken off the \
             path, so requests must come with it",
            "keepalive_timeout = \"10s\"",
            "connections = 50",
            "message_size = \"64KiB\"",
            "PYTHONPATH=src",
            "factory",
        ];
        assert_eq!(shown(line), expected);
    }

    #[test]
    fn the_other_servers() {
        let cases: &[(&str, &[&str])] = &[
            (
                "hypercorn asgi:a:app -b 0.0.0.0:80 -k uvloop -w 2 --read-timeout 5",
                &[
                    "a:app",
                    "listen = [\"0.0.0.0:80\"]",
                    "interface = \"asgi\"",
                    "loop = \"uvloop\"",
                    "workers = 2",
                    "header_timeout = \"5s\"",
                ],
            ),
            (
                "granian --interface asginl a:app --port 80 --workers-max-rss 200 --backpressure 30",
                &[
                    "a:app",
                    "listen = [\"127.0.0.1:80\"]",
                    "interface = \"asgi\"",
                    "lifespan = \"off\"",
                    "recycle_memory = \"200MiB\"",
                    "connections = 30",
                ],
            ),
            ("granian a:app", &["a:app", "# P: granian rsgi: only WSGI and ASGI 3 can be hosted"]),
            (
                "daphne -b 0.0.0.0 -p 80 -t 20 a.asgi:application",
                &["a.asgi:application", "listen = [\"0.0.0.0:80\"]", "request_timeout = \"20s\""],
            ),
            (
                "waitress-serve --listen=*:80 --url-prefix=/a --call a:create",
                &["a:create", "listen = [\"0.0.0.0:80\"]", "threads = 4", "/a", "factory"],
            ),
            ("python3 -m waitress --threads 2 a:app", &["a:app", "threads = 2"]),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), *expected, "{line}");
        }
    }

    #[test]
    fn what_stands_before_the_server() {
        for line in [
            "exec gunicorn a:app",
            "env gunicorn a:app",
            "poetry run gunicorn a:app",
            "uv run --frozen gunicorn a:app",
            "python -m gunicorn a:app",
            "/srv/.venv/bin/python3.12 -m gunicorn a:app",
            ".venv/bin/gunicorn a:app",
        ] {
            assert_eq!(shown(line), ["a:app"], "{line}");
        }
        let expected = ["a:app", "# P: newrelic-admin: call its initialisation in the application instead"];
        assert_eq!(shown("newrelic-admin run-program gunicorn a:app"), expected);
        for line in [
            "python manage.py runserver",
            "celery -A a worker",
            "python -m http.server",
            "echo gunicorn",
            "A=b",
        ] {
            assert!(recognise(&shell::split(line).unwrap()[0]).is_none(), "{line}");
        }
    }

    #[test]
    fn variables_and_processors() {
        assert_eq!(
            shown("gunicorn a:app -w $(nproc) -b 0.0.0.0:$PORT"),
            ["a:app", "# P: listens on $PORT; here too, if the environment has PORT", "workers = 4"]
        );
        assert_eq!(
            shown("WEB_CONCURRENCY=3 uvicorn a:app --port $PORT --host 0.0.0.0"),
            ["a:app", "# P: listens on $PORT; here too, if the environment has PORT", "workers = 3"]
        );
        assert_eq!(
            shown("gunicorn a:app -w $N"),
            ["a:app", "# P: -w $N: the value is not known here, or was not understood"]
        );
    }

    #[test]
    fn what_is_not_understood_is_said() {
        assert_eq!(
            shown("gunicorn a:app --certfile x --frobnicate b -w"),
            [
                "a:app",
                "# P: --certfile x: there is no TLS here yet: put a proxy in front",
                "# P: --frobnicate: gunicorn has no such flag that is known here",
                "# P: b: not understood",
                "# P: -w: its value is missing",
            ]
        );
        assert_eq!(shown("gunicorn $APP"), ["", "# P: $APP: this is no module:attribute"]);
    }

    #[test]
    fn the_configuration_file_is_named() {
        for line in [
            "gunicorn -c a.py x",
            "gunicorn --config a.py x",
            "gunicorn --config=a.py x",
            "gunicorn -ca.py x",
        ] {
            let commands = shell::split(line).unwrap();
            assert_eq!(recognise(&commands[0]).unwrap().configuration(), Some("a.py"), "{line}");
            assert_eq!(shown(line), ["x:application"], "{line}");
        }
    }
}
