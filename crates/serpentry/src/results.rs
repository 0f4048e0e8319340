//! Results of the laboratory on disk, for `--against last`: a SQLite file in the state directory, one row per run, with its
//! document as JSON. Bounded by number and age. Nothing of hosting depends on it, and only who runs the laboratory opens it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::document::Document;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::database::{self, DatabaseError, Kind, SetAside};

/// The file in the state directory.
pub const FILE: &str = "results.db";

/// "SerL".
const APPLICATION: i64 = 0x5365_724c;

const SCHEMA: &str = "
    CREATE TABLE results (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,       -- compare, claims
        subject TEXT NOT NULL,    -- the application, or claims
        plan_hash TEXT NOT NULL,
        at INTEGER NOT NULL,      -- seconds since 1970
        body TEXT NOT NULL        -- the JSON of `serpentry compare --json`
    ) STRICT;
    CREATE INDEX by_subject ON results (kind, subject, id);
";

const KIND: Kind = Kind { application: APPLICATION, version: 1, schema: SCHEMA, on_open: "" };

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Of each kind and subject, the newest ones.
    pub results: u32,
    pub age: Duration,
    /// Of all together; the oldest are deleted, but never the last one.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { results: 50, age: Duration::from_secs(400 * 86_400), bytes: 256 * 1024 * 1024 }
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub subject: String,
    pub plan_hash: String,
    /// Seconds since 1970.
    pub at: i64,
}

#[derive(Debug)]
pub struct Results {
    connection: Connection,
}

impl Results {
    /// Open the file, or begin one. A file that cannot be used is renamed.
    ///
    /// # Errors
    /// It can be neither created nor renamed.
    pub fn open(file: &Path, now: SystemTime) -> Result<(Self, Option<SetAside>), DatabaseError> {
        let (connection, set_aside) = database::open(file, &KIND, now)?;
        Ok((Results { connection }, set_aside))
    }

    /// Keep a document, and delete what is too old or too much. Its id.
    ///
    /// # Errors
    /// The disk is full, another program holds the file, or it is damaged.
    pub fn put(
        &mut self,
        document: &Document,
        now: SystemTime,
        retention: &Retention,
    ) -> Result<i64, DatabaseError> {
        let body = serde_json::to_string(document)?;
        let at = seconds(now);
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO results (kind, subject, plan_hash, at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![kind(document), document.subject, document.plan_hash, at, body],
        )?;
        let id = transaction.last_insert_rowid();
        let since = at.saturating_sub(i64::try_from(retention.age.as_secs()).unwrap_or(i64::MAX));
        transaction.execute("DELETE FROM results WHERE at < ?1 AND id != ?2", params![since, id])?;
        transaction.execute(
            "DELETE FROM results WHERE kind = ?1 AND subject = ?2 AND id NOT IN
                 (SELECT id FROM results WHERE kind = ?1 AND subject = ?2 ORDER BY id DESC LIMIT max(1, ?3))",
            params![kind(document), document.subject, retention.results],
        )?;
        transaction.commit()?;
        while database::used(&self.connection)? > retention.bytes {
            let oldest = "DELETE FROM results WHERE id != ?1 AND id = (SELECT min(id) FROM results)";
            if self.connection.execute(oldest, [id])? == 0 {
                break;
            }
        }
        Ok(id)
    }

    /// The newest result for the same subject that can be read, and when it was kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last(&self, like: &Document) -> Result<Option<(Entry, Document)>, DatabaseError> {
        let mut query = self.connection.prepare(
            "SELECT id, subject, plan_hash, at, body FROM results WHERE kind = ?1 AND subject = ?2 ORDER BY id DESC",
        )?;
        let mut rows = query.query(params![kind(like), like.subject])?;
        while let Some(row) = rows.next()? {
            // A row that says nothing (any more) must not hide the others.
            if let Ok(document) = Document::read(row.get_ref(4)?.as_bytes().unwrap_or_default()) {
                return Ok(Some((entry(row)?, document)));
            }
        }
        Ok(None)
    }

    /// One of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find(&self, id: i64) -> Result<Option<Document>, DatabaseError> {
        let mut query = self.connection.prepare("SELECT body FROM results WHERE id = ?1")?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(row.get_ref(0)?.as_bytes().ok().and_then(|body| Document::read(body).ok()))
        };
        Ok(query.query_row([id], read).optional()?.flatten())
    }

    /// What there is of a kind, newest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self, like: &Document, limit: u32) -> Result<Vec<Entry>, DatabaseError> {
        let mut query = self.connection.prepare(
            "SELECT id, subject, plan_hash, at FROM results WHERE kind = ?1 AND subject = ?2 ORDER BY id DESC LIMIT ?3",
        )?;
        let found = query.query_map(params![kind(like), like.subject, limit], entry)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry { id: row.get(0)?, subject: row.get(1)?, plan_hash: row.get(2)?, at: row.get(3)? })
}

fn kind(document: &Document) -> String {
    match serde_json::to_value(document.kind) {
        Ok(serde_json::Value::String(kind)) => kind,
        _ => String::new(),
    }
}

fn seconds(now: SystemTime) -> i64 {
    i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lab::document::Kind as RunKind;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_764_000_000 + seconds)
    }

    fn document(subject: &str, seed: u64) -> Document {
        Document { seed, plan_hash: format!("plan-{seed}"), ..Document::new(RunKind::Compare, subject) }
    }

    fn open(folder: &tempfile::TempDir) -> (Results, Option<SetAside>) {
        Results::open(&folder.path().join(FILE), at(0)).unwrap()
    }

    #[test]
    fn the_last_result_of_the_same_application_is_found_also_later() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Retention::default();
        let (mut results, _) = open(&folder);
        for (second, (subject, seed)) in [("shop", 1), ("feed", 2), ("shop", 3)].into_iter().enumerate() {
            results.put(&document(subject, seed), at(second as u64), &keep).unwrap();
        }
        drop(results);
        let (results, set_aside) = open(&folder);
        assert_eq!(set_aside, None);
        let (entry, last) = results.last(&document("shop", 0)).unwrap().unwrap();
        assert_eq!((last.seed, entry.plan_hash.as_str()), (3, "plan-3"));
        assert_eq!(results.find(entry.id).unwrap(), Some(last));
        assert_eq!(results.last(&document("other", 0)).unwrap(), None);
        assert_eq!(results.last(&Document::new(RunKind::Claims, "shop")).unwrap(), None);
        assert_eq!(results.list(&document("shop", 0), 9).unwrap().len(), 2);
    }

    #[test]
    fn number_age_and_size_are_bounded_and_the_newest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (mut results, _) = open(&folder);
        let few = Retention { results: 3, ..Retention::default() };
        for seed in 0..10 {
            results.put(&document("shop", seed), at(seed), &few).unwrap();
        }
        let seeds = |results: &Results| -> Vec<String> {
            results.list(&document("shop", 0), 99).unwrap().into_iter().map(|entry| entry.plan_hash).collect()
        };
        assert_eq!(seeds(&results), ["plan-9", "plan-8", "plan-7"]);
        let young = Retention { age: Duration::from_secs(5), ..Retention::default() };
        results.put(&document("feed", 1), at(13), &young).unwrap();
        assert_eq!(seeds(&results), ["plan-9", "plan-8"]);
        let small = Retention { bytes: 1, ..Retention::default() };
        results.put(&document("shop", 20), at(14), &small).unwrap();
        assert_eq!(seeds(&results), ["plan-20"]);
        assert_eq!(results.last(&document("feed", 1)).unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_a_damaged_row_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        fs::write(&file, "this is no database, but long enough to look at for a moment").unwrap();
        let (mut results, set_aside) = open(&folder);
        let set_aside = set_aside.unwrap();
        assert!(set_aside.reason.contains("damaged") && set_aside.moved_to.exists(), "{set_aside:?}");
        results.put(&document("shop", 1), at(1), &Retention::default()).unwrap();
        results.put(&document("shop", 2), at(2), &Retention::default()).unwrap();
        results.connection.execute("UPDATE results SET body = '{' WHERE id = 2", []).unwrap();
        assert_eq!(results.last(&document("shop", 0)).unwrap().unwrap().1.seed, 1);
        drop(results);
        // A file of the incidents is a database of something else.
        let other = Kind { application: 1, version: 1, schema: "CREATE TABLE x (y);", on_open: "" };
        let incidents = folder.path().join("other.db");
        drop(database::open(&incidents, &other, at(0)).unwrap());
        let (_, set_aside) = Results::open(&incidents, at(0)).unwrap();
        assert!(set_aside.unwrap().reason.contains("something else"));
    }
}
