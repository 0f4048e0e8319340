//! Which pages of an application may be asked for again and again: found in its routes, on its own pages, or named; tried a few
//! times; and left out, with the reason, when they fail, refuse, are too slow or change something.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::fetch::{self, Page};
use super::links;

/// Pages that are tried, and those that are kept: more classes would have too few requests each.
const MOST_TRIED: usize = 60;
pub(super) const MOST_KEPT: usize = 8;
/// Tried so often before it is believed.
const TRIES: usize = 3;
/// Slower pages are no part of a block of seconds.
pub(super) const SLOWEST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// All of it.
const LONGEST: Duration = Duration::from_secs(30);
/// Files of the application that are watched for changes.
const MOST_FILES: usize = 5_000;
const DEEPEST: usize = 6;

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) target: String,
    pub(super) weight: f64,
    pub(super) elapsed: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Survey {
    pub(super) targets: Vec<Target>,
    /// What was left out, and why.
    pub(super) refused: Vec<(String, String)>,
    pub(super) tried: usize,
}

impl Survey {
    /// Reasons, the most frequent first, with how often and an example.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (target, why) in &self.refused {
            by_reason.entry(why).or_default().push(target);
        }
        let mut reasons: Vec<_> = by_reason.into_iter().collect();
        reasons.sort_by_key(|(_, targets)| std::cmp::Reverse(targets.len()));
        let sentence = |(why, targets): (&str, Vec<&str>)| match targets.as_slice() {
            [one] => format!("{one}: {why}"),
            [first, more @ ..] => format!("{first} and {} more: {why}", more.len()),
            [] => why.to_owned(),
        };
        reasons.into_iter().map(sentence).collect()
    }
}

/// How an application is asked.
pub(super) struct Site<'a> {
    pub(super) address: SocketAddr,
    pub(super) authority: &'a str,
    /// Watched for changes by what is asked.
    pub(super) directories: &'a [PathBuf],
}

/// Try what was named, each with its weight; nothing else.
pub(super) fn named(site: &Site<'_>, targets: &[(String, f64)]) -> Survey {
    let mut survey = Survey::default();
    for (target, weight) in targets {
        let verdict = if links::is_target(target) {
            attempt(site, target)
        } else {
            Err("it is no path, or has characters that must be escaped".to_owned())
        };
        survey.note(target, *weight, verdict.map(|page| page.elapsed));
    }
    survey
}

/// Follow routes and links, and keep a mix: at most one page of each route, then others.
pub(super) fn discover(site: &Site<'_>, routes: &[String]) -> Survey {
    let deadline = Instant::now() + LONGEST;
    let mut queue: VecDeque<String> = ["/".to_owned()].into_iter().chain(routes.iter().cloned()).collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut survey = Survey::default();
    while let Some(target) = queue.pop_front() {
        if survey.tried >= MOST_TRIED || Instant::now() >= deadline || survey.is_full() {
            break;
        }
        if !links::is_target(&target) || !seen.insert(shape(&target)) {
            continue;
        }
        if let Some(word) = links::changes(&target) {
            survey.refused.push((target, format!("its name says that it changes something (`{word}`)")));
            continue;
        }
        match attempt(site, &target) {
            Ok(page) => {
                if page.kind == "text/html" {
                    queue.extend(links::of_page(&page.content, &target));
                }
                // A redirect says where the page is.
                let next = page.location.as_deref().and_then(|location| links::resolve(location, &target));
                match next.filter(|_| (300..400).contains(&page.status)) {
                    Some(next) => queue.push_front(next),
                    None => survey.note(&target, 1.0, Ok(page.elapsed)),
                }
            }
            Err(why) => survey.note(&target, 1.0, Err(why)),
        }
    }
    survey
}

impl Survey {
    fn is_full(&self) -> bool {
        self.targets.len() >= MOST_KEPT
    }

    fn note(&mut self, target: &str, weight: f64, verdict: Result<Duration, String>) {
        self.tried += 1;
        match verdict {
            Ok(elapsed) => self.targets.push(Target { target: target.to_owned(), weight, elapsed }),
            Err(why) => self.refused.push((target.to_owned(), why)),
        }
    }
}

/// Ask for it a few times. The page, or why it cannot be part of a measurement.
fn attempt(site: &Site<'_>, target: &str) -> Result<Page, String> {
    let before = files(site.directories);
    let mut first = None;
    let mut fastest = Duration::MAX;
    for _ in 0..TRIES {
        let page = fetch::get(site.address, site.authority, target, PATIENCE).map_err(|error| match error
            .kind()
        {
            std::io::ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
            _ => format!("no answer: {error}"),
        })?;
        judge(&page)?;
        fastest = fastest.min(page.elapsed);
        first.get_or_insert(page);
    }
    if fastest > SLOWEST {
        return Err(format!(
            "it takes {:.1} s, which is too slow for blocks of some seconds",
            fastest.as_secs_f64()
        ));
    }
    if let Some(changed) = difference(&before, &files(site.directories)) {
        return Err(format!("asking for it changes {}", changed.display()));
    }
    let mut page = first.ok_or("it was not asked for")?;
    // The first one may have imported something.
    page.elapsed = fastest;
    Ok(page)
}

fn judge(page: &Page) -> Result<(), String> {
    match page.status {
        200..=399 => Ok(()),
        401 | 403 => Err(format!("it needs a login ({})", page.status)),
        404 | 405 | 410 => Err(format!("it does not exist for GET ({})", page.status)),
        429 => Err("the application limits its callers (429): load would measure that limit".to_owned()),
        503 => Err("the application says that it is overloaded or closed (503)".to_owned()),
        500.. => Err(format!("the application fails ({})", page.status)),
        400 => Err(
            "it refuses the request (400); if it accepts only names that it knows (Django's ALLOWED_HOSTS), let it accept \
             `.localhost` while it is compared"
                .to_owned(),
        ),
        status => Err(format!("it refuses the request ({status})")),
    }
}

/// Identifiers in a path are one route with others.
fn shape(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments = path.split('/').map(|segment| {
        let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        let is_key =
            segment.len() >= 16 && segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_number || is_key { "{}" } else { segment }
    });
    let keys: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).collect();
    format!("{}?{}", segments.collect::<Vec<_>>().join("/"), keys.join("&"))
}

type Files = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// Sizes and times of the application's files, without what Python and logs write.
fn files(directories: &[PathBuf]) -> Files {
    let mut found = Files::new();
    for directory in directories {
        walk(directory, 0, &mut found);
    }
    found
}

fn walk(directory: &Path, depth: usize, found: &mut Files) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if found.len() >= MOST_FILES {
            return;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let skipped = name.starts_with('.') || matches!(&*name, "__pycache__" | "node_modules" | "venv");
            if !skipped && depth < DEEPEST {
                walk(&entry.path(), depth + 1, found);
            }
        } else if kind.is_file()
            && !name.ends_with(".log")
            && let Ok(metadata) = entry.metadata()
        {
            found.insert(entry.path(), (metadata.len(), metadata.modified().ok()));
        }
    }
}

fn difference(before: &Files, after: &Files) -> Option<PathBuf> {
    let changed = after.iter().find(|(path, stamp)| before.get(*path) != Some(*stamp));
    let gone = before.keys().find(|path| !after.contains_key(*path));
    changed.map(|(path, _)| path.clone()).or_else(|| gone.cloned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers by path, each on a connection of its own, until dropped with the test.
    fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut buffer = [0; 2048];
                let count = stream.read(&mut buffer).unwrap_or(0);
                let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let _ = stream.write_all(answer(head.split(' ').nth(1).unwrap_or("/")).as_bytes());
            }
        });
        address
    }

    fn page(status: &str, fields: &str, content: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{fields}\r\n{content}")
    }

    #[test]
    fn pages_are_found_tried_and_judged() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("db.sqlite3");
        fs::write(&state, "").unwrap();
        let grows = state.clone();
        let address = serve(move |path| match path {
            "/" => {
                page("200 OK", "", "<a href='/item/1'><a href='/item/2'><a href='/logout'><a href='/old'>")
            }
            "/old" => page("302 Found", "Location: /new\r\n", ""),
            "/item/1" | "/new" => page("200 OK", "", ""),
            "/busy" => page("429 Too Many Requests", "", ""),
            "/count" => {
                let longer = fs::read_to_string(&grows).unwrap() + "x";
                fs::write(&grows, longer).unwrap();
                page("200 OK", "", "")
            }
            _ => page("404 Not Found", "", ""),
        });
        let directories = [directory.path().to_path_buf()];
        let site = Site { address, authority: "a.localhost", directories: &directories };
        let routes = ["/busy", "/count", "/gone"].map(str::to_owned);
        let survey = discover(&site, &routes);
        let kept: Vec<&str> = survey.targets.iter().map(|target| target.target.as_str()).collect();
        assert_eq!(kept, ["/", "/item/1", "/new"]);
        let why = |target: &str| &survey.refused.iter().find(|(other, _)| other == target).unwrap().1;
        assert!(why("/busy").contains("429"));
        assert!(why("/count").contains("db.sqlite3"), "{}", why("/count"));
        assert!(why("/gone").contains("404"));
        assert!(why("/logout").contains("changes something"));
        let survey = named(&site, &[("/new".to_owned(), 3.0), ("/gone".to_owned(), 1.0)]);
        assert_eq!((survey.targets.len(), survey.targets[0].weight), (1, 3.0));
        assert_eq!(survey.reasons(), ["/gone: it does not exist for GET (404)"]);
    }

    #[test]
    fn one_page_of_each_route() {
        assert_eq!(shape("/item/3?page=2"), shape("/item/77?page=9"));
        assert_ne!(shape("/item/3"), shape("/item/three"));
        assert_eq!(shape("/u/0123456789abcdef"), shape("/u/fedcba9876543210"));
    }
}
