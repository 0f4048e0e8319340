//! What workers see inside of themselves, made incidents; and what they are asked to look at.
//!
//! A worker may lie about all of it. It can only speak of itself: whose it is comes from the link, not from its words.

use std::collections::HashMap;
use std::time::Duration;

use incident::{Code, Detail, Detection, Facts, Id, Incident};
use router::{Blocked, Command, Durable};
use tokio::sync::oneshot;
use wire::Look;

use super::endings::reference;
use super::{Host, Number};
use serpentry::control::{Answer, Looked, WorkerLook};

/// How long an answer may take that needs nothing but the interpreter lock.
const PATIENCE: Duration = Duration::from_secs(3);

/// Questions without an answer, of all workers.
const QUESTIONS: usize = 256;

/// Said of a worker that does not answer.
const SILENT: &str = "it does not answer: it boots, or native code keeps the interpreter lock";

#[derive(Debug, Default)]
pub(super) struct Observed {
    /// For each worker the episode that it told last, and the incident that came of it.
    episodes: HashMap<Number, (u64, Id)>,
    /// What workers were asked.
    questions: HashMap<u64, Question>,
    last_question: u64,
}

#[derive(Debug)]
struct Question {
    worker: Number,
    what: Look,
    /// Whether it is complete, and the text.
    reply: oneshot::Sender<(bool, String)>,
}

impl Host {
    /// A detection about this worker, with its application and process.
    fn detected(&self, number: Number, code: Code, cause: &'static str) -> Option<Detection> {
        let (app, worker) = self.numbers.get(&number).copied()?;
        let app = self.apps.get(&app)?;
        let pid = app.processes.get(&worker).map(|process| process.handle.pid());
        let mut detection = Detection::new(code, cause, Some(app.name()));
        detection.worker = Some(reference(worker, pid));
        Some(detection)
    }

    /// Told when it is noticed, again when more is known, and at its end.
    pub(super) fn on_blocked(&mut self, said: &Blocked) {
        let mut facts = Facts::default();
        facts.number("blocked_ms", f64::from(said.milliseconds));
        facts.number("waited", f64::from(said.waited));
        facts.text("place", &said.place);
        facts.text("call", &said.call);
        facts.text("inner", &said.inner);
        facts.text("stack", &said.stack);
        let known = self.observed.episodes.get(&said.worker).filter(|(episode, _)| *episode == said.episode);
        if let Some((_, id)) = known.copied() {
            self.incidents.book.amend(id, Detail { facts, requests: Vec::new() });
            return;
        }
        let cause = if said.native { "native" } else { "heartbeat" };
        let Some(mut detection) = self.detected(said.worker, Code::C21, cause) else { return };
        if said.over {
            // Its beginning was not heard.
            return;
        }
        detection.facts = facts;
        let recorded = self.record(detection);
        let Host { observed, numbers, .. } = self;
        observed.episodes.retain(|number, _| numbers.contains_key(number));
        observed.episodes.insert(said.worker, (said.episode, recorded.name.id));
    }

    /// Let a worker look at something; the answer comes as news.
    async fn ask_worker(&mut self, worker: Number, what: Look, reply: oneshot::Sender<(bool, String)>) {
        let Host { observed, numbers, .. } = self;
        observed
            .questions
            .retain(|_, question| !question.reply.is_closed() && numbers.contains_key(&question.worker));
        if observed.questions.len() >= QUESTIONS {
            return;
        }
        observed.last_question += 1;
        let id = observed.last_question;
        observed.questions.insert(id, Question { worker, what, reply });
        self.tell(Command::Look { worker, id, what }).await;
    }

    pub(super) fn on_seen(&mut self, worker: Number, id: u64, done: bool, text: String) {
        let Some(question) = self.observed.questions.remove(&id) else { return };
        if question.worker != worker {
            return;
        }
        if done && matches!(question.what, Look::Memory { .. }) {
            self.explain_growth(worker, &text);
        }
        // Whoever asked may have gone.
        drop(question.reply.send((done, text)));
    }

    /// The lines that allocate most are what an open incident of memory that grows was missing.
    fn explain_growth(&mut self, worker: Number, top: &str) {
        let Some(app) = self.numbers.get(&worker).and_then(|(app, _)| self.apps.get(app)) else { return };
        let about = |it: &&Incident| {
            matches!(it.code, Code::M30 | Code::M31) && it.app.as_deref() == Some(app.name())
        };
        let ids: Vec<Id> = self.incidents.book.open().iter().filter(about).map(|it| it.id).collect();
        for id in ids {
            let mut detail = Detail::default();
            detail.facts.text("top", top);
            self.incidents.book.amend(id, detail);
        }
    }

    /// Let all workers of an application look at something, and answer when they have.
    pub(super) async fn look(&mut self, name: &str, what: Look, reply: Answer<Looked>) {
        let app = match self.find(name) {
            Ok(id) => self.apps.get(&id),
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let Some(app) = app else { return };
        let workers = app.processes.iter().filter(|(_, process)| !process.link_closed);
        let mut workers: Vec<_> =
            workers.map(|(worker, process)| (worker.0, process.handle.pid(), process.number)).collect();
        workers.sort_unstable();
        let patience = match what {
            Look::Stacks => PATIENCE,
            Look::Memory { seconds } => PATIENCE * 3 + Duration::from_secs(seconds.into()),
        };
        let mut answers = Vec::new();
        for (worker, pid, number) in workers {
            let (sender, answer) = oneshot::channel();
            self.ask_worker(number, what, sender).await;
            answers.push((worker, pid, answer));
        }
        let app = name.to_owned();
        tokio::task::spawn_local(async move {
            let deadline = tokio::time::Instant::now() + patience;
            let mut workers = Vec::new();
            for (worker, pid, answer) in answers {
                let (complete, text) = match tokio::time::timeout_at(deadline, answer).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => (false, "it was not asked: it is gone, or too much was asked".to_owned()),
                    Err(_) => (false, SILENT.to_owned()),
                };
                workers.push(WorkerLook { worker, pid, complete, text });
            }
            let _ = reply.send(Ok(Looked { app, workers }));
        });
    }

    pub(super) fn on_durable(&mut self, said: &Durable) {
        let cause = if said.event_loop { "event_loop" } else { "stack" };
        let Some(detection) = self.detected(said.worker, Code::D11, cause) else { return };
        let milliseconds = f64::from(said.microseconds) / 1e3;
        let mut detection = detection
            .number("fsync_ms", Some(milliseconds).filter(|it| *it > 0.0))
            .number("share_percent", f64::from(said.percent))
            .text("place", &said.place)
            .text("call", &said.call)
            .text("stack", &said.stack);
        detection.count = u64::from(said.count.max(1));
        self.record(detection);
    }
}
