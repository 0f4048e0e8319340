//! The file of the history: SQLite, one row per incident, with the JSON of the contract as it was last shown.
//!
//! Anybody can read it with `sqlite3`. A file that is damaged, not ours, or of a newer version is never repaired or
//! overwritten: it is renamed, with a sentence about why, and a new one is begun. `user_version` is the version of the
//! schema, `application_id` says that it is ours (<https://www.sqlite.org/pragma.html>).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use serpentry::control::Incident;

use super::Retention;

/// Of the schema below.
const VERSION: i64 = 1;

/// "Serp".
const APPLICATION: i64 = 0x5365_7270;

/// How long another program that reads the file may hold it.
const BUSY: Duration = Duration::from_secs(1);

/// Files that were set aside and are kept; the oldest goes when there is one more.
const ASIDE: usize = 3;

/// The log of a connection is cut back to this.
const JOURNAL: u32 = 1024 * 1024;

const SCHEMA: &str = "
    CREATE TABLE incidents (
        id TEXT PRIMARY KEY,      -- 36NPJZM01: sorts by time
        code TEXT NOT NULL,       -- N11
        app TEXT,                 -- NULL: the host itself
        last TEXT NOT NULL,       -- when it was last seen, RFC 3339
        open INTEGER NOT NULL,
        body TEXT NOT NULL        -- the JSON of `serpentry why --json`
    ) STRICT;
    CREATE INDEX by_time ON incidents (last, id);
    CREATE TABLE names (          -- other names that visitors were told
        id TEXT PRIMARY KEY,
        incident TEXT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX by_incident ON names (incident);
";

#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("{what}: {source}")]
    Files { what: &'static str, source: io::Error },
    #[error("an incident cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) reason: String,
    pub(crate) moved_to: PathBuf,
}

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

/// Why an existing file is not used.
enum Unfit {
    /// Set it aside.
    File(String),
    /// Not the file's fault, or not certainly.
    Other(StoreError),
}

impl StoreError {
    /// The file itself is broken, as far as the database can tell.
    pub(super) fn is_damage(&self) -> bool {
        let code = match self {
            StoreError::Database(error) => error.sqlite_error_code(),
            _ => None,
        };
        matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        let error = StoreError::from(error);
        // "SQL logic error": our statements are right, so that the schema in the file is not.
        let code = match &error {
            StoreError::Database(error) => error.sqlite_error_code(),
            _ => None,
        };
        if error.is_damage() || code == Some(ErrorCode::Unknown) {
            Unfit::File(format!("it is damaged ({error})"))
        } else {
            Unfit::Other(error)
        }
    }
}

impl Store {
    /// Open the file, or begin one. What was open in it when the last host ended is closed.
    pub(super) fn open(file: &Path, now: SystemTime) -> Result<(Self, Option<SetAside>), StoreError> {
        let reason = match Store::try_open(file) {
            Ok(store) => return Ok((store, None)),
            Err(Unfit::Other(error)) => return Err(error),
            Err(Unfit::File(reason)) => reason,
        };
        let moved_to = set_aside(file, now)
            .map_err(|source| StoreError::Files { what: "the damaged history cannot be renamed", source })?;
        match Store::try_open(file) {
            Ok(store) => Ok((store, Some(SetAside { reason, moved_to }))),
            Err(Unfit::Other(error)) => Err(error),
            Err(Unfit::File(reason)) => {
                Err(StoreError::Files { what: "a new history is damaged", source: io::Error::other(reason) })
            }
        }
    }

    fn try_open(file: &Path) -> Result<Self, Unfit> {
        // Its log and its index get the same permissions.
        let created = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file);
        created.map_err(|source| {
            Unfit::Other(StoreError::Files { what: "the history cannot be created", source })
        })?;
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        // Reads the head of the file, so that what is no database is found here.
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        match (application, version, tables) {
            (0, 0, 0) | (APPLICATION, VERSION, _) => {}
            (APPLICATION, newer, _) if newer > VERSION => {
                return Err(Unfit::File(format!(
                    "its version is {newer}, this program knows version {VERSION}"
                )));
            }
            _ => return Err(Unfit::File("it is a database of something else".to_owned())),
        }
        if tables > 0 {
            let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if check != "ok" {
                return Err(Unfit::File(format!("it is damaged ({})", check.replace('\n', " "))));
            }
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", JOURNAL)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        if tables == 0 {
            // All of it or nothing: a file that was cut off here is an empty one.
            connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
            ))?;
        }
        connection.execute(
            "UPDATE incidents SET open = 0,
                 body = iif(json_valid(body), json_set(body, '$.state', 'closed', '$.closed_at', last), body)
             WHERE open",
            [],
        )?;
        Ok(Store { connection })
    }

    /// Write incidents as they are now, all or none.
    pub(super) fn put<'a>(
        &mut self,
        incidents: impl Iterator<Item = &'a Incident>,
    ) -> Result<(), StoreError> {
        let mut incidents = incidents.peekable();
        if incidents.peek().is_none() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare(
                "INSERT INTO incidents (id, code, app, last, open, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO UPDATE SET last = excluded.last, open = excluded.open, body = excluded.body",
            )?;
            let mut name =
                transaction.prepare("INSERT OR IGNORE INTO names (id, incident) VALUES (?1, ?2)")?;
            for incident in incidents {
                let body = serde_json::to_string(incident)?;
                let open = incident.closed_at.is_none();
                let id = bare(&incident.id);
                put.execute(params![id, incident.code, incident.app, incident.last_at, open, body])?;
                for also in &incident.also {
                    name.execute(params![bare(also), id])?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Delete what is too old, and the oldest while there is too much.
    pub(super) fn prune(&mut self, now: SystemTime, retention: &Retention) -> Result<(), StoreError> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(retention.age);
        self.connection.execute(
            "DELETE FROM incidents WHERE last < strftime('%Y-%m-%dT%H:%M:%S', ?1, 'unixepoch')",
            [i64::try_from(since.as_secs()).unwrap_or(i64::MAX)],
        )?;
        while self.used()? > retention.size {
            let deleted = self.connection.execute(
                "DELETE FROM incidents WHERE id IN (SELECT id FROM incidents ORDER BY last, id
                 LIMIT max(1, (SELECT count(*) FROM incidents) / 10))",
                [],
            )?;
            if deleted == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Bytes of the file that hold something; the rest of it is used again.
    fn used(&self) -> Result<u64, StoreError> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
    }

    /// Newest first.
    pub(super) fn list(&mut self, app: Option<&str>, limit: usize) -> Result<Vec<Incident>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT body FROM incidents WHERE ?1 IS NULL OR app = ?1 ORDER BY last DESC, id DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = query.query_map(params![app, limit], incident)?;
        let found = found.collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// By any of its names.
    pub(super) fn find(&mut self, id: incident::Id) -> Result<Option<Incident>, StoreError> {
        let mut query = self.connection.prepare(
            "SELECT body FROM incidents WHERE id = ?1 OR id = (SELECT incident FROM names WHERE id = ?1)",
        )?;
        Ok(query.query_row([id.to_string()], incident).optional()?.flatten())
    }
}

/// A row that says nothing (any more) must not hide the others.
fn incident(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Incident>> {
    let body = row.get_ref(0)?.as_bytes_or_null()?;
    Ok(body.and_then(|body| serde_json::from_slice(body).ok()))
}

/// The id without the code: that may become known better.
fn bare(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or(name)
}

/// Rename the file and what belongs to it; its new name.
fn set_aside(file: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let with = |base: &Path, suffix: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // A second damaged file within a second must not replace the first.
    let mut names = (0..).map(|number| with(file, &format!(".aside-{seconds:012}-{number}")));
    let moved_to = names.find(|name| !name.exists()).unwrap_or_else(|| with(file, ".aside"));
    fs::rename(file, &moved_to)?;
    for suffix in ["-wal", "-shm"] {
        match fs::rename(with(file, suffix), with(&moved_to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    forget_oldest(file, &with)?;
    Ok(moved_to)
}

fn forget_oldest(file: &Path, with: &impl Fn(&Path, &str) -> PathBuf) -> io::Result<()> {
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else { return Ok(()) };
    let prefix = format!("{}.aside-", name.display());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    let entries = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut aside: Vec<_> = entries.filter(is_aside).collect();
    aside.sort();
    for old in aside.iter().take(aside.len().saturating_sub(ASIDE)) {
        fs::remove_file(old)?;
        for suffix in ["-wal", "-shm"] {
            // Most have none.
            let _ = fs::remove_file(with(old, suffix));
        }
    }
    Ok(())
}

#[cfg(test)]
impl Store {
    /// As if the disk had no more room than this file has now.
    pub(super) fn fill_disk(&self) -> Result<(), StoreError> {
        let pages: i64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        self.connection.pragma_update(None, "max_page_count", pages)?;
        Ok(())
    }
}
