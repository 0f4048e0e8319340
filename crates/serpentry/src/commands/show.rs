//! `status`: once, or again and again.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serpentry::control::{Client, ClientError};
use tokio::signal::unix::{SignalKind, signal};

use super::table::{self, Style};
use super::{StatusArguments, fail};
use crate::output::print;
use crate::say;

/// Cursor to the upper left corner, then clear what follows: no flicker, as a full clear would.
const HOME: &str = "\x1b[H\x1b[J";

/// What is to be shown.
#[derive(Debug, Clone)]
struct View {
    client: Client,
    app: Option<String>,
    routes: bool,
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Table(Style),
    Json,
    /// One line per picture, for a program that reads them one by one.
    JsonLine,
}

pub(crate) fn status(arguments: &StatusArguments) -> anyhow::Result<ExitCode> {
    let style = Style::of_stdout();
    let form = match (arguments.json, arguments.watch) {
        (false, _) => Form::Table(style),
        (true, None) => Form::Json,
        (true, Some(_)) => Form::JsonLine,
    };
    let view =
        View { client: arguments.host.client(), app: arguments.app.clone(), routes: arguments.routes, form };
    // The first picture decides whether there is anything to watch.
    let first = match view.picture() {
        Ok(text) => text,
        Err(error) => return fail(error),
    };
    let Some(seconds) = arguments.watch else {
        print(&first)?;
        return Ok(ExitCode::SUCCESS);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start watching")?;
    let result = runtime.block_on(watch(&view, first, Duration::from_secs(seconds.into())));
    // A call under way has a time limit, but whoever pressed Ctrl-C does not wait for it.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

impl View {
    /// What there is to see now.
    fn picture(&self) -> Result<String, ClientError> {
        match &self.app {
            Some(name) if self.routes => {
                let routes = self.client.routes(name, false)?;
                self.text(&routes, table::routes)
            }
            Some(name) => {
                let app = self.client.app(name)?;
                self.text(&app, table::one)
            }
            None => {
                let status = self.client.status()?;
                self.text(&status, table::all)
            }
        }
    }

    fn text<T: Serialize>(&self, value: &T, table: fn(&T, Style) -> String) -> Result<String, ClientError> {
        let text = match self.form {
            Form::Table(style) => return Ok(table(value, style)),
            Form::Json => serde_json::to_string_pretty(value),
            Form::JsonLine => serde_json::to_string(value),
        };
        text.map(|text| text + "\n").map_err(|error| ClientError::Strange(error.to_string()))
    }
}

/// Until Ctrl-C or TERM, or until nobody reads any more.
async fn watch(view: &View, first: String, pause: Duration) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut picture: Result<String, ClientError> = Ok(first);
    loop {
        match (picture, view.form) {
            (Ok(text), Form::Table(Style { terminal: true, .. })) => print(&format!("{HOME}{text}"))?,
            (Ok(text), Form::Table(_)) => print(&format!("{text}\n"))?,
            (Ok(text), _) => print(&text)?,
            // It may be on its way back: watching goes on.
            (Err(error), _) => say::warning(format_args!("{}", table::printable(&error.to_string()))),
        }
        let again = view.clone();
        let next = async {
            tokio::time::sleep(pause).await;
            tokio::task::spawn_blocking(move || again.picture()).await
        };
        picture = tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            result = next => result.context("the call was lost")?,
        };
    }
}
