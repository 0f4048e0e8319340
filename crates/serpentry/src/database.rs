//! Files of ours that are SQLite databases: opened, begun, and set aside when they cannot be used.
//!
//! Anybody can read them with `sqlite3`. A file that is damaged, not ours, or of a newer version is never repaired or
//! overwritten: it is renamed, with a sentence about why, and a new one is begun. `user_version` is the version of the
//! schema, `application_id` says that it is ours (<https://www.sqlite.org/pragma.html>).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};

/// How long another program that reads the file may hold it.
const BUSY: Duration = Duration::from_secs(1);

/// Files that were set aside and are kept; the oldest goes when there is one more.
const ASIDE: usize = 3;

/// The log of a connection is cut back to this.
const JOURNAL: u32 = 1024 * 1024;

/// What a file is for.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// `application_id`.
    pub application: i64,
    /// Of the schema.
    pub version: i64,
    pub schema: &'static str,
    /// A statement to begin with each time; empty for none.
    pub on_open: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("{what}: {source}")]
    Files { what: &'static str, source: io::Error },
    #[error("it cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub reason: String,
    pub moved_to: PathBuf,
}

/// Why an existing file is not used.
enum Unfit {
    /// Set it aside.
    File(String),
    /// Not the file's fault, or not certainly.
    Other(DatabaseError),
}

impl DatabaseError {
    /// The file itself is broken, as far as the database can tell.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let code = match self {
            DatabaseError::Database(error) => error.sqlite_error_code(),
            _ => None,
        };
        matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

impl From<rusqlite::Error> for Unfit {
    fn from(error: rusqlite::Error) -> Self {
        let error = DatabaseError::from(error);
        // "SQL logic error": our statements are right, so that the schema in the file is not.
        let code = match &error {
            DatabaseError::Database(error) => error.sqlite_error_code(),
            _ => None,
        };
        if error.is_damage() || code == Some(ErrorCode::Unknown) {
            Unfit::File(format!("it is damaged ({error})"))
        } else {
            Unfit::Other(error)
        }
    }
}

/// Open the file, or begin one.
///
/// # Errors
/// It cannot be created, read or renamed.
pub fn open(
    file: &Path,
    kind: &Kind,
    now: SystemTime,
) -> Result<(Connection, Option<SetAside>), DatabaseError> {
    let reason = match try_open(file, kind) {
        Ok(connection) => return Ok((connection, None)),
        Err(Unfit::Other(error)) => return Err(error),
        Err(Unfit::File(reason)) => reason,
    };
    let moved_to = set_aside(file, now)
        .map_err(|source| DatabaseError::Files { what: "the damaged history cannot be renamed", source })?;
    match try_open(file, kind) {
        Ok(connection) => Ok((connection, Some(SetAside { reason, moved_to }))),
        Err(Unfit::Other(error)) => Err(error),
        Err(Unfit::File(reason)) => {
            Err(DatabaseError::Files { what: "a new history is damaged", source: io::Error::other(reason) })
        }
    }
}

fn try_open(file: &Path, kind: &Kind) -> Result<Connection, Unfit> {
    // Its log and its index get the same permissions.
    let created = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file);
    created.map_err(|source| {
        Unfit::Other(DatabaseError::Files { what: "the history cannot be created", source })
    })?;
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY)?;
    // Reads the head of the file, so that what is no database is found here.
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version, tables) {
        (0, 0, 0) => {}
        (known, current, _) if (known, current) == (kind.application, kind.version) => {}
        (known, newer, _) if known == kind.application && newer > kind.version => {
            return Err(Unfit::File(format!(
                "its version is {newer}, this program knows version {}",
                kind.version
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
            "BEGIN; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT",
            kind.schema, kind.application, kind.version
        ))?;
    }
    connection.execute_batch(kind.on_open)?;
    Ok(connection)
}

/// Bytes of the file that hold something; the rest of it is used again.
///
/// # Errors
/// It cannot be read.
pub fn used(connection: &Connection) -> Result<u64, DatabaseError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
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
