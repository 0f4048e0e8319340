//! The file of the history: SQLite, one row per incident, with the JSON of the contract as it was last shown. How it is opened,
//! and what becomes of a damaged one, is in `database.rs`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};
use serpentry::control::Incident;
use serpentry::database::{self, DatabaseError as StoreError, Kind, SetAside};

use super::Retention;

/// "Serp".
const APPLICATION: i64 = 0x5365_7270;

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

/// What was open when the last host ended is closed.
const CLOSE: &str = "
    UPDATE incidents SET open = 0,
        body = iif(json_valid(body), json_set(body, '$.state', 'closed', '$.closed_at', last), body)
    WHERE open
";

const KIND: Kind = Kind { application: APPLICATION, version: 1, schema: SCHEMA, on_open: CLOSE };

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

impl Store {
    /// Open the file, or begin one. What was open in it when the last host ended is closed.
    pub(super) fn open(file: &Path, now: SystemTime) -> Result<(Self, Option<SetAside>), StoreError> {
        let (connection, set_aside) = database::open(file, &KIND, now)?;
        Ok((Store { connection }, set_aside))
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
        while database::used(&self.connection)? > retention.size {
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

#[cfg(test)]
impl Store {
    /// As if the disk had no more room than this file has now.
    pub(super) fn fill_disk(&self) -> Result<(), StoreError> {
        let pages: i64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        self.connection.pragma_update(None, "max_page_count", pages)?;
        Ok(())
    }
}
