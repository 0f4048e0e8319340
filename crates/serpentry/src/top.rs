//! `serpentry top`: a live view of a running host in the terminal. It asks the control interface once a second and changes nothing.
//!
//! `state.rs` is what is shown and how keys change it, `view.rs` draws it: both know neither terminal nor host.

mod state;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serpentry::control::Client;

use crate::commands::{HostArguments, fail};
use crate::exit::Usage;
use state::{Key, Picture, State};

/// Between two looks at the host.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for a key before the screen is looked after again.
const ATTENTION: Duration = Duration::from_millis(100);
/// Incidents that are asked for.
const INCIDENTS: u32 = 50;

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    /// Begin with the details of this application
    app: Option<String>,

    #[command(flatten)]
    host: HostArguments,
}

pub(crate) fn run(arguments: &TopArguments) -> anyhow::Result<ExitCode> {
    if !std::io::stdout().is_terminal() {
        return Err(Usage("top needs a terminal; elsewhere: serpentry status --watch".to_owned()).into());
    }
    let client = arguments.host.client();
    // Whether there is a host at all is said before the screen is taken.
    let first = match look(&client, arguments.app.as_deref()) {
        Ok(picture) => picture,
        Err(error) => return fail(error),
    };
    let (send, receive) = sync_channel(1);
    let (ask, asked) = sync_channel(1);
    thread::Builder::new()
        .name("look".into())
        .spawn(move || watch(&client, &asked, &send))
        .context("cannot watch the host")?;
    let mut terminal = ratatui::try_init().context("cannot take the terminal")?;
    let result = show(&mut terminal, State::new(first, arguments.app.clone()), &receive, &ask);
    ratatui::restore();
    result.map(|()| ExitCode::SUCCESS)
}

fn look(client: &Client, detail: Option<&str>) -> Result<Picture, serpentry::control::ClientError> {
    let status = client.status()?;
    let incidents = client.incidents(detail, INCIDENTS).map(|answer| answer.incidents).unwrap_or_default();
    let routes = detail.and_then(|app| client.routes(app, false).ok());
    Ok(Picture { at: Instant::now(), status, incidents, routes })
}

/// Look once a second, and at once when something else is to be seen, until nobody takes pictures any more.
fn watch(client: &Client, asked: &Receiver<Option<String>>, send: &SyncSender<Result<Picture, String>>) {
    let mut detail = None;
    loop {
        match asked.recv_timeout(PERIOD) {
            Ok(app) => detail = app,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        }
        let picture = look(client, detail.as_deref()).map_err(|error| error.to_string());
        if send.send(picture).is_err() {
            return;
        }
    }
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    mut state: State,
    pictures: &Receiver<Result<Picture, String>>,
    ask: &SyncSender<Option<String>>,
) -> anyhow::Result<()> {
    let _ = ask.try_send(state.detail().map(str::to_owned));
    loop {
        terminal.draw(|frame| view::draw(frame, &state)).context("cannot draw")?;
        if event::poll(ATTENTION).context("cannot read keys")?
            && let Event::Key(key) = event::read().context("cannot read keys")?
            && key.kind == KeyEventKind::Press
        {
            let before = state.detail().map(str::to_owned);
            match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                code => match meaning(code) {
                    Some(Key::Quit) => return Ok(()),
                    Some(key) => state.press(key),
                    None => {}
                },
            }
            if state.detail() != before.as_deref() {
                // One question is under way at most; the next picture comes within a second anyway.
                let _ = ask.try_send(state.detail().map(str::to_owned));
            }
        }
        match pictures.try_recv() {
            Ok(Ok(picture)) => state.take(picture),
            Ok(Err(why)) => state.lost(why),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

fn meaning(code: KeyCode) -> Option<Key> {
    Some(match code {
        KeyCode::Char('q') => Key::Quit,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Key::Back,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Enter | KeyCode::Right => Key::Open,
        KeyCode::Char('s') => Key::NextOrder,
        KeyCode::Char('r') => Key::Reverse,
        KeyCode::Char('i') => Key::Incidents,
        KeyCode::Char('?' | 'h') => Key::Help,
        _ => return None,
    })
}
