//! The history of incidents on disk, so that it survives restarts.
//!
//! A thread of its own has the file. Whoever books incidents hands them over through a bounded channel and never waits; while
//! the disk is full or hangs, a bounded number of them is kept here and tried again, and the host is told once. What the file
//! holds and what becomes of a damaged one is in `store.rs`. Nothing of serving requests depends on any of it.

mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use serpentry::control::Incident;
use serpentry::database::DatabaseError as StoreError;
pub(crate) use serpentry::database::SetAside;
use tokio::sync::{mpsc, oneshot};

use self::store::Store;

/// The file in the state directory.
pub(crate) const FILE: &str = "incidents.db";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Incidents that were last seen before that are deleted.
    pub(crate) age: Duration,
    /// Above that many bytes, the oldest are.
    pub(crate) size: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { age: Duration::from_secs(90 * 86_400), size: 64 * 1024 * 1024 }
    }
}

/// Orders that may be under way to the thread.
const QUEUE: usize = 512;

/// Incidents that are kept while they cannot be written; then the oldest are given up.
const PENDING: usize = 512;

/// How often writing is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How often what is too old or too much is deleted.
const PRUNE: Duration = Duration::from_secs(600);

/// How long the program waits for the last words to be written when it ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// News that may be under way to the host.
const NEWS: usize = 16;

enum Order {
    Put(Box<Incident>),
    List { app: Option<String>, limit: usize, reply: oneshot::Sender<Vec<Incident>> },
    Find { id: incident::Id, reply: oneshot::Sender<Option<Incident>> },
    Stop,
}

/// What the host should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It cannot be written; said for each attempt.
    Failed(String),
    /// The file was not usable and was renamed.
    SetAside(SetAside),
}

/// The history as the host sees it. When dropped, what was handed over is written, unless the disk hangs.
#[derive(Debug)]
pub(crate) struct History {
    orders: SyncSender<Order>,
    ended: Receiver<()>,
    pub(crate) file: PathBuf,
}

impl History {
    /// Start the thread. The file is opened there: no disk is waited for here.
    ///
    /// # Errors
    /// When there is no thread left.
    pub(crate) fn start(directory: &Path, retention: Retention) -> io::Result<(Self, mpsc::Receiver<News>)> {
        let (orders, received) = sync_channel(QUEUE);
        let (news, heard) = mpsc::channel(NEWS);
        let (end, ended) = sync_channel(1);
        let file = directory.join(FILE);
        let keeper = Keeper {
            file: file.clone(),
            retention,
            store: None,
            pending: BTreeMap::new(),
            pruned: None,
            news,
        };
        thread::Builder::new().name("history".into()).spawn(move || {
            keeper.run(&received);
            drop(end);
        })?;
        Ok((History { orders, ended, file }, heard))
    }

    /// Keep an incident as it is now; gives it back if there is no room at the moment.
    pub(crate) fn put(&self, incident: Incident) -> Option<Incident> {
        let order = Order::Put(Box::new(incident));
        match self.orders.try_send(order) {
            Err(TrySendError::Full(Order::Put(it)) | TrySendError::Disconnected(Order::Put(it))) => Some(*it),
            _ => None,
        }
    }

    /// Newest first. The answer never comes if the thread is busy with too much else.
    pub(crate) fn list(&self, app: Option<String>, limit: usize) -> oneshot::Receiver<Vec<Incident>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.try_send(Order::List { app, limit, reply });
        answer
    }

    pub(crate) fn find(&self, id: incident::Id) -> oneshot::Receiver<Option<Incident>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.try_send(Order::Find { id, reply });
        answer
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let _ = self.orders.try_send(Order::Stop);
        // The other end is dropped when it is done; a disk that hangs is not waited for.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// The thread.
struct Keeper {
    file: PathBuf,
    retention: Retention,
    store: Option<Store>,
    /// Not written yet, by id: the oldest come first.
    pending: BTreeMap<String, Incident>,
    pruned: Option<Instant>,
    news: mpsc::Sender<News>,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>) {
        self.write();
        loop {
            let order = if self.is_behind() {
                match orders.recv_timeout(RETRY) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            } else {
                let Ok(order) = orders.recv() else { break };
                Some(order)
            };
            // Everything that waits is written together.
            let batch: Vec<Order> = order.into_iter().chain(orders.try_iter().take(QUEUE)).collect();
            let mut ends = false;
            let mut questions = Vec::new();
            for order in batch {
                match order {
                    Order::Put(incident) => self.keep(*incident),
                    Order::Stop => ends = true,
                    question => questions.push(question),
                }
            }
            self.write();
            questions.into_iter().for_each(|question| self.answer(question));
            if ends {
                break;
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.store.is_none() || !self.pending.is_empty()
    }

    fn keep(&mut self, incident: Incident) {
        self.pending.insert(incident.id.clone(), incident);
        if self.pending.len() > PENDING {
            self.pending.pop_first();
        }
    }

    /// Write what is pending, opening the file if need be.
    fn write(&mut self) {
        if let Err(error) = self.try_write() {
            if error.is_damage() {
                // What is in memory is not lost; the next attempt begins a new file.
                self.store = None;
            }

            self.tell(News::Failed(error.to_string()));
        }
    }

    fn try_write(&mut self) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let store = match &mut self.store {
            Some(store) => store,
            none => {
                let (store, set_aside) = Store::open(&self.file, now)?;
                if let Some(set_aside) = set_aside {
                    // See `tell`.
                    let _ = self.news.try_send(News::SetAside(set_aside));
                }
                none.insert(store)
            }
        };
        store.put(self.pending.values())?;
        self.pending.clear();
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
            self.pruned = Some(Instant::now());
            store.prune(now, &self.retention)?;
        }
        Ok(())
    }

    fn answer(&mut self, question: Order) {
        // What cannot be read is as if it were not there: the host knows of the trouble from the writing. Whoever asked may
        // have gone.
        match question {
            Order::List { app, limit, reply } => {
                let found = self.store.as_mut().and_then(|store| store.list(app.as_deref(), limit).ok());
                let _ = reply.send(found.unwrap_or_default());
            }
            Order::Find { id, reply } => {
                let found = self.store.as_mut().and_then(|store| store.find(id).ok());
                let _ = reply.send(found.flatten());
            }
            Order::Put(_) | Order::Stop => {}
        }
    }

    /// A host that has not read the last news does not need more of them.
    fn tell(&self, news: News) {
        let _ = self.news.try_send(news);
    }
}

#[cfg(test)]
mod tests;
