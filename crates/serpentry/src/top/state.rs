//! What the live view shows: the latest picture of the host, what changed since the one before, and where the user is.

use std::collections::HashMap;
use std::time::Instant;

use serpentry::control::{AppStatus, Incident, IncidentState, Routes, Status};

/// What was seen at one moment.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) at: Instant,
    pub(super) status: Status,
    /// Newest first: of one application if its details are shown, else of all.
    pub(super) incidents: Vec<Incident>,
    pub(super) routes: Option<Routes>,
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Open,
    Back,
    NextOrder,
    Reverse,
    Incidents,
    Help,
    Quit,
}

/// By what applications are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Name,
    Requests,
    Cpu,
    Memory,
    P95,
    Queue,
    Incidents,
}

impl Order {
    const ALL: [Order; 7] =
        [Order::Name, Order::Requests, Order::Cpu, Order::Memory, Order::P95, Order::Queue, Order::Incidents];

    pub(super) fn title(self) -> &'static str {
        match self {
            Order::Name => "name",
            Order::Requests => "requests",
            Order::Cpu => "CPU",
            Order::Memory => "memory",
            Order::P95 => "p95",
            Order::Queue => "queue",
            Order::Incidents => "incidents",
        }
    }
}

/// What is on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Screen {
    Apps,
    App(String),
    Incidents,
    Help,
}

/// What happened in an application between two pictures, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) failed: f64,
    /// Cores.
    pub(super) cpu: Option<f64>,
    /// Share of the time held back by its own quota, over all its workers.
    pub(super) throttled: Option<f64>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) picture: Picture,
    rates: HashMap<String, Rates>,
    workers: HashMap<u64, f64>,
    /// Why there is no newer picture.
    pub(super) lost: Option<String>,
    pub(super) screen: Screen,
    pub(super) order: Order,
    pub(super) reversed: bool,
    selected: Option<String>,
    /// First line of a list of incidents.
    pub(super) scrolled: usize,
}

impl State {
    pub(super) fn new(picture: Picture, app: Option<String>) -> Self {
        let selected = app.clone().or_else(|| picture.status.apps.first().map(|app| app.name.clone()));
        State {
            picture,
            rates: HashMap::new(),
            workers: HashMap::new(),
            lost: None,
            screen: app.map_or(Screen::Apps, Screen::App),
            order: Order::Name,
            reversed: false,
            selected,
            scrolled: 0,
        }
    }

    /// A newer picture.
    pub(super) fn take(&mut self, picture: Picture) {
        let seconds = picture.at.saturating_duration_since(self.picture.at).as_secs_f64();
        if seconds > 0.0 {
            let before: HashMap<&str, &AppStatus> =
                self.picture.status.apps.iter().map(|app| (app.name.as_str(), app)).collect();
            let rate = |app: &AppStatus| {
                let before = before.get(app.name.as_str())?;
                Some((app.name.clone(), rates(before, app, seconds)))
            };
            self.rates = picture.status.apps.iter().filter_map(rate).collect();
            self.workers = workers(&self.picture.status, &picture.status, seconds);
        }
        self.picture = picture;
        self.lost = None;
    }

    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Whose details are on the screen.
    pub(super) fn detail(&self) -> Option<&str> {
        match &self.screen {
            Screen::App(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn rates(&self, app: &str) -> Rates {
        self.rates.get(app).copied().unwrap_or_default()
    }

    /// Cores that a worker uses; None before the second picture.
    pub(super) fn worker_cpu(&self, id: u64) -> Option<f64> {
        self.workers.get(&id).copied()
    }

    /// In the order that was chosen.
    pub(super) fn apps(&self) -> Vec<&AppStatus> {
        let mut apps: Vec<&AppStatus> = self.picture.status.apps.iter().collect();
        let figure = |app: &AppStatus| -> f64 {
            let rates = self.rates(&app.name);
            match self.order {
                Order::Name => 0.0,
                Order::Requests => rates.requests,
                Order::Cpu => rates.cpu.unwrap_or(0.0),
                Order::Memory => app.memory_bytes.unwrap_or(0) as f64,
                Order::P95 => app.latency_ms.p95.unwrap_or(0.0),
                Order::Queue => app.queue.depth as f64,
                Order::Incidents => app.incidents.len() as f64,
            }
        };
        apps.sort_by(|a, b| figure(b).total_cmp(&figure(a)).then_with(|| a.name.cmp(&b.name)));
        if self.reversed {
            apps.reverse();
        }
        apps
    }

    pub(super) fn selected(&self) -> Option<usize> {
        let selected = self.selected.as_deref()?;
        self.apps().iter().position(|app| app.name == selected)
    }

    /// Those that are open, of whom the screen is about.
    pub(super) fn incidents(&self) -> Vec<&Incident> {
        let of_app = |incident: &&Incident| match self.detail() {
            Some(name) => incident.app.as_deref() == Some(name),
            None => true,
        };
        self.picture.incidents.iter().filter(of_app).collect()
    }

    pub(super) fn open_incidents(&self) -> usize {
        self.picture.incidents.iter().filter(|incident| incident.state == IncidentState::Open).count()
    }

    pub(super) fn press(&mut self, key: Key) {
        match key {
            Key::Up | Key::Down if self.screen != Screen::Apps => {
                let last = self.incidents().len().saturating_sub(1);
                self.scrolled = match key {
                    Key::Up => self.scrolled.saturating_sub(1),
                    _ => (self.scrolled + 1).min(last),
                };
            }
            Key::Up | Key::Down => {
                let names: Vec<String> = self.apps().iter().map(|app| app.name.clone()).collect();
                let at = self.selected().unwrap_or(0);
                let to = if key == Key::Up { at.saturating_sub(1) } else { at + 1 };
                self.selected = names.get(to.min(names.len().saturating_sub(1))).cloned();
            }
            Key::Open => {
                if let (Screen::Apps, Some(name)) = (&self.screen, self.selected.clone()) {
                    self.go(Screen::App(name));
                }
            }
            Key::Back => self.go(Screen::Apps),
            Key::NextOrder => {
                let at = Order::ALL.iter().position(|order| *order == self.order).unwrap_or(0);
                self.order = Order::ALL[(at + 1) % Order::ALL.len()];
            }
            Key::Reverse => self.reversed = !self.reversed,
            Key::Incidents => self.go(Screen::Incidents),
            Key::Help => self.go(if self.screen == Screen::Help { Screen::Apps } else { Screen::Help }),
            Key::Quit => {}
        }
    }

    fn go(&mut self, screen: Screen) {
        (self.screen, self.scrolled) = (screen, 0);
    }
}

fn cpu_seconds(app: &AppStatus) -> Option<HashMap<u64, f64>> {
    app.workers.iter().map(|worker| Some((worker.id, worker.cpu_seconds?))).collect()
}

/// A worker that is new since the picture before counts with all it used; one that is gone not any more.
fn rates(before: &AppStatus, after: &AppStatus, seconds: f64) -> Rates {
    let per_second = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let cpu = cpu_seconds(before).zip(cpu_seconds(after)).map(|(before, after)| {
        let used = |(id, used): (&u64, &f64)| (used - before.get(id).unwrap_or(&0.0)).max(0.0);
        after.iter().map(used).sum::<f64>() / seconds
    });
    let throttled = before.cpu.throttled_ms.zip(after.cpu.throttled_ms);
    Rates {
        requests: per_second(before.requests.total, after.requests.total),
        failed: per_second(before.requests.failed, after.requests.failed),
        cpu,
        throttled: throttled.map(|(before, after)| per_second(before, after) / 1e3),
    }
}

fn workers(before: &Status, after: &Status, seconds: f64) -> HashMap<u64, f64> {
    let all = |status: &Status| -> HashMap<u64, f64> {
        let workers = status.apps.iter().flat_map(|app| &app.workers);
        workers.filter_map(|worker| Some((worker.id, worker.cpu_seconds?))).collect()
    };
    let before = all(before);
    let used = |(id, used): (u64, f64)| Some((id, (used - before.get(&id)?).max(0.0) / seconds));
    all(after).into_iter().filter_map(used).collect()
}
