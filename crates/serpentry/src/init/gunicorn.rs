//! `gunicorn.conf.py`: its assignments as settings of ours.
//!
//! The file is Python and is not run. Values that can be known without that are carried over; for all others, and for hooks, a
//! note says what stands in which line.

use super::draft::{App, Draft};
use super::literal::{self, Known, Names, Value};
use super::meaning::{self, Found, Meaning};
use super::python::{self, Statement, Token};
use super::servers::GUNICORN;

/// Functions that gunicorn calls.
const HOOKS: &[&str] = &[
    "child_exit",
    "nworkers_changed",
    "on_exit",
    "on_reload",
    "on_starting",
    "post_fork",
    "post_request",
    "post_worker_init",
    "pre_exec",
    "pre_fork",
    "pre_request",
    "ssl_context",
    "when_ready",
    "worker_abort",
    "worker_exit",
    "worker_int",
];

/// Carry the file over. `name` is what it is called in notes.
pub(super) fn carry_over(source: &str, name: &str, processors: usize, draft: &mut Draft, app: &mut App) {
    let mut names = Names::new();
    for statement in python::statements(source) {
        let place = format!("{name}:{}", statement.line);
        if let [Token::Name("def"), Token::Name(hook), ..] = statement.tokens.as_slice()
            && HOOKS.contains(hook)
        {
            app.table.note(format!("{place}: def {hook}: there are no hooks in the host"));
            continue;
        }
        let Some((targets, expression)) = statement.assignments() else { continue };
        let known = literal::evaluate(expression, &names, processors);
        for target in targets {
            if let Some(meaning) = meaning_of(target) {
                setting(target, meaning, known.as_ref(), &statement, &place, draft, app);
            }
            match &known {
                Some(known) if !statement.indented => {
                    names.insert(target.to_owned(), known.clone());
                }
                // It may have any value from here on.
                _ => {
                    names.remove(target);
                }
            }
        }
    }
    let (host, port) = GUNICORN.address;
    meaning::finish(draft, app, host, port);
}

/// A setting is called as its flag, with underscores.
fn meaning_of(name: &str) -> Option<Meaning> {
    let flag = format!("--{}", name.replace('_', "-"));
    GUNICORN.flags.iter().find(|known| known.names.contains(&flag.as_str())).map(|flag| flag.meaning)
}

fn setting(
    name: &str,
    meaning: Meaning,
    known: Option<&Known>,
    statement: &Statement<'_>,
    place: &str,
    draft: &mut Draft,
    app: &mut App,
) {
    let shown = statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let known = match known {
        _ if meaning == Meaning::Nothing => return,
        _ if statement.indented => {
            return app.table.note(format!("{place}: {shown}: only under a condition"));
        }
        None => return app.table.note(format!("{place}: {shown}: known only when the file is run")),
        Some(known) => known,
    };
    let mut remark = known.variables.iter().map(|name| format!("default of ${name}")).collect::<Vec<_>>();
    if known.processors {
        remark.push("for the processors of this machine".to_owned());
    }
    let remark = remark.join(", ");
    let texts: Vec<String> = match &known.value {
        // What is off or not set is how it is here.
        Value::None | Value::Boolean(false) => return,
        Value::List(items) => items.iter().filter_map(literal::as_text).collect(),
        value => literal::as_text(value).into_iter().collect(),
    };
    for text in &texts {
        let found = Found { name, text, place, remark: &remark };
        if !meaning::apply(meaning, &found, draft, app) {
            app.table.note(format!("{place}: {shown}: the value was not understood"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(source: &str) -> (Draft, App) {
        let (mut draft, mut app) = (Draft::default(), App::default());
        carry_over(source, "gunicorn.conf.py", 4, &mut draft, &mut app);
        (draft, app)
    }

    #[test]
    fn literal_settings_are_carried_over() {
        let source = "
import multiprocessing, os
bind = ['0.0.0.0:80', 'unix:/a.sock']
workers = multiprocessing.cpu_count() * 2 + 1
threads = int(os.environ.get('THREADS', '4'))
timeout = 2 * 60
graceful_timeout = 10
max_requests = 1_000
max_requests_jitter = 50
worker_class = 'gthread'
preload_app = True
wsgi_app = 'shop.wsgi:application'
chdir = '/srv/shop'
raw_env = ['A=1', \"B=2\"]
accesslog = '-'
errorlog = '-'
reload = False
limit_request_line = 4094
certfile = None
";
        let (draft, app) = carried(source);
        let shown = |table: &super::super::draft::Table| {
            let settings = table.settings.iter();
            let settings = settings.map(|it| format!("{} = {}  # {}", it.key, it.value.toml(), it.remark));
            settings.chain(table.notes.iter().map(|note| format!("# {note}"))).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(&draft.host),
            [
                "listen = [\"0.0.0.0:80\", \"unix:/a.sock\"]  # gunicorn.conf.py:3",
                "access_log = \"-\"  # gunicorn.conf.py:15",
            ]
        );
        assert_eq!(
            shown(&app.table),
            [
                "workers = 9  # gunicorn.conf.py:4: for the processors of this machine",
                "threads = 4  # gunicorn.conf.py:5: default of $THREADS",
                "graceful_timeout = \"10s\"  # gunicorn.conf.py:7",
                "max_requests = 1000  # gunicorn.conf.py:8",
                "max_requests_jitter = 50  # gunicorn.conf.py:9",
                "concurrency = \"threads\"  # gunicorn.conf.py:10: worker_class gthread",
                "preload = true  # gunicorn.conf.py:11",
                "# gunicorn.conf.py:16: errorlog -: output is kept per application in the state directory: serpentry logs",
            ]
        );
        assert_eq!(
            shown(&app.limits),
            [
                "request_timeout = \"120s\"  # gunicorn.conf.py:6, here for the whole request",
                "# gunicorn.conf.py:18: limit_request_line 4094: here one limit for the whole head, header_size, 64KiB",
            ]
        );
        assert_eq!((app.target.as_str(), app.directory.as_str()), ("shop.wsgi:application", "/srv/shop"));
        assert_eq!(app.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_must_be_run_becomes_a_note() {
        let source = "
workers = compute(
    2)
if x:
    timeout = 5
n = 3
threads = n
n = compute()
max_requests = n
keepalive = 'long'
def post_fork(server, worker):
    bind = 'x'
\"\"\"
workers = 3
\"\"\"
helper = 5
";
        let (draft, app) = carried(source);
        assert_eq!(draft.host.settings, []);
        assert_eq!(
            app.table.notes,
            [
                "gunicorn.conf.py:2: workers = compute( 2): known only when the file is run",
                "gunicorn.conf.py:5: timeout = 5: only under a condition",
                "gunicorn.conf.py:9: max_requests = n: known only when the file is run",
                "gunicorn.conf.py:10: keepalive = 'long': the value was not understood",
                "gunicorn.conf.py:11: def post_fork: there are no hooks in the host",
                "gunicorn.conf.py:12: bind = 'x': only under a condition",
            ]
        );
        assert_eq!(app.table.get("threads"), Some(&super::super::draft::Value::Integer(3)));
    }

    #[test]
    fn the_port_of_the_environment_is_mentioned() {
        let (draft, _) = carried("bind = '0.0.0.0:' + os.environ.get('PORT', '8000')");
        let expected = "gunicorn.conf.py:1: default of $PORT; leave this out to follow PORT";
        assert_eq!(draft.host.settings[0].remark, expected);
    }
}
