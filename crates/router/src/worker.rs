//! Reads what a worker says, checks it, and passes it on.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use wire::{ControlFromWorker, FrameBuffer, FromWorker, Spent, ToWorker};

use crate::answer::Problem;
use crate::app::{App, Left};
use crate::core::Core;
use crate::dispatch::Finished;
use crate::event::{self, Event, Worker};
use crate::http::response::AppFault;
use crate::link::{Link, Phase, read_some};
use crate::observed::{Blocked, Durable};
use crate::snapshot::Reason;

/// Most bytes of a traceback or stack that are passed on; the rest is cut.
const TEXT_LIMIT: usize = 16 * 1024;

/// How long after its control link a worker's data link may stay open.
const CONTROL_GRACE: Duration = Duration::from_millis(500);

/// Why a worker must go.
#[derive(Debug, thiserror::Error)]
enum Offence {
    #[error(transparent)]
    Wire(#[from] wire::WireError),
    #[error("a frame for request {0}, which this worker does not hold")]
    UnknownRequest(u64),
    #[error("{0}")]
    Fault(AppFault),
    #[error("it speaks protocol version {0}, this host speaks {version}", version = wire::VERSION)]
    Version(u16),
    #[error("a control message that makes no sense in its state")]
    Order,
}

/// Run a worker's links until they close. `data` and `control` are the router's ends.
///
/// # Errors
/// What is wrong with them, or with the application.
pub(crate) fn attach(
    core: &Core,
    app: event::App,
    worker: Worker,
    quota: Option<u64>,
    data: std::os::unix::net::UnixStream,
    control: std::os::unix::net::UnixStream,
) -> io::Result<()> {
    let app = core.app(app).ok_or_else(|| io::Error::other("its application is not known here"))?;
    let link = Link::new(worker, quota, Rc::clone(&app.busy));
    let [data, control] = [data, control].map(|stream| {
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream).map(UnixStream::into_split)
    });
    let ((data_in, data_out), (control_in, control_out)) = (data?, control?);
    app.attach(&link);
    // A write error means that the worker is gone; the read side notices once it has read all that the worker said.
    tokio::task::spawn_local(Rc::clone(&link).write_loop(data_out, false));
    tokio::task::spawn_local(Rc::clone(&link).write_loop(control_out, true));
    tokio::task::spawn_local(read_control(Rc::clone(&app), Rc::clone(&link), control_in));
    tokio::task::spawn_local(read_data(app, link, data_in));
    Ok(())
}

async fn read_data(app: Rc<App>, link: Rc<Link>, mut stream: OwnedReadHalf) {
    let mut buffer = FrameBuffer::default();
    let offence = loop {
        // An error here is a reset: the worker is gone, as at the end of the stream.
        if !read_some(&link, &mut stream, &mut buffer).await.unwrap_or(false) {
            break None;
        }
        if let Err(offence) = handle_batch(&app, &link, &mut buffer) {
            break Some(offence);
        }
    };
    if let Some(offence) = offence {
        app.core.report(Event::Misbehaved { worker: link.worker, reason: offence.to_string() });
    } else if link.phase.get() == Phase::Booting {
        // The other link says why it ends.
        let _ = tokio::time::timeout(CONTROL_GRACE, link.said_all.notified()).await;
    }
    detach(&app, &link);
}

/// Close the link, and say what became of its requests; the first time only.
pub(crate) fn detach(app: &Rc<App>, link: &Rc<Link>) {
    if link.phase.get() == Phase::Closed {
        return;
    }
    let Left { replayed, failed, requests } = app.detach(link);
    app.core.report(Event::Closed { worker: link.worker, replayed, failed, requests });
}

async fn read_control(app: Rc<App>, link: Rc<Link>, mut stream: OwnedReadHalf) {
    let mut buffer = FrameBuffer::default();
    loop {
        if !read_some(&link, &mut stream, &mut buffer).await.unwrap_or(false) {
            break;
        }
        if let Err(offence) = handle_control(&app, &link, &mut buffer) {
            app.core.report(Event::Misbehaved { worker: link.worker, reason: offence.to_string() });
            detach(&app, &link);
            return;
        }
    }
    link.said_all.notify_one();
    // A worker that ends closes its data link too, whose reader knows what was answered before. One that closes only
    // this link can no longer be told anything.
    tokio::time::sleep(CONTROL_GRACE).await;
    if link.phase.get() != Phase::Closed {
        let reason = "it closed its control link".to_owned();
        app.core.report(Event::Misbehaved { worker: link.worker, reason });
        detach(&app, &link);
    }
}

/// Handle all complete frames of one read, then dispatch once.
fn handle_batch(app: &Rc<App>, link: &Rc<Link>, buffer: &mut FrameBuffer) -> Result<(), Offence> {
    let now = Instant::now();
    let busy = now.saturating_duration_since(link.last_progress());
    link.saw_life(now);
    let mut finished = Finished::default();
    while let Some(frame) = buffer.next_frame()? {
        let (frame, spent) = Spent::take(frame)?;
        handle(app, link, FromWorker::decode(frame)?, spent, now, &mut finished)?;
    }
    if finished.requests > 0 {
        app.learn(busy, &finished, link.slots.get());
        app.finish_if_drained(link);
        app.dispatch();
    }
    Ok(())
}

fn handle(
    app: &App,
    link: &Rc<Link>,
    message: FromWorker<'_>,
    spent: Option<Spent>,
    now: Instant,
    all_finished: &mut Finished,
) -> Result<(), Offence> {
    let id = match message {
        FromWorker::Response { id, .. }
        | FromWorker::Body { id, .. }
        | FromWorker::Credit { id, .. }
        | FromWorker::Failed { id, .. }
        | FromWorker::Started { id }
        | FromWorker::Done { id }
        | FromWorker::Message { id, .. }
        | FromWorker::Close { id, .. } => id,
    };
    let (exchange, timing) = {
        let mut held_requests = link.held.borrow_mut();
        let held = held_requests.get_mut(&id).ok_or(Offence::UnknownRequest(id))?;
        let first = !std::mem::replace(&mut held.started, true);
        let exchange = held.exchange.clone();
        let is_head = matches!(message, FromWorker::Response { .. });
        let figures = spent.filter(|_| is_head && app.settings().server_timing);
        let figures = figures.map(|spent| link.believe(spent, held, now, false));
        drop(held_requests);
        if let Some(exchange) = exchange.as_ref().filter(|_| first) {
            exchange.started();
        }
        (exchange, figures.map(|figures| figures.server_timing()))
    };
    let finished = match message {
        FromWorker::Response { done, .. }
        | FromWorker::Body { done, .. }
        | FromWorker::Failed { done, .. } => done,
        FromWorker::Done { .. } => true,
        _ => false,
    };
    if let Some(exchange) = &exchange {
        let result = match message {
            FromWorker::Response { head, body, end, .. } => {
                exchange.respond(&head, body, end, timing.as_deref(), now)
            }
            FromWorker::Body { data, end, .. } => exchange.respond_body(data, end, now),
            FromWorker::Credit { bytes, .. } => {
                exchange.body_credit(bytes);
                Ok(())
            }
            FromWorker::Message { data, text, end, .. } => exchange.message(data, text, end),
            FromWorker::Close { code, reason, .. } => exchange.closed(code, reason),
            FromWorker::Failed { .. } => {
                exchange.fail(Problem::APP_FAILED);
                Ok(())
            }
            FromWorker::Started { .. } | FromWorker::Done { .. } => Ok(()),
        };
        match result {
            Ok(()) => {}
            Err(fault @ (AppFault::Order | AppFault::Window)) => return Err(Offence::Fault(fault)),
            Err(fault) => {
                exchange.fail(Problem::BROKEN_RESPONSE);
                let text = format!(
                    "request {}: the application's response was refused: {fault}",
                    exchange.request_id
                );
                app.core.report(Event::Notice { worker: link.worker, text });
                app.troubles.specify(&app.core, app.id, Reason::BrokenResponse, &fault.to_string());
                if !finished {
                    link.send(&ToWorker::Cancel { id });
                }
            }
        }
    }
    if finished {
        let mut wall = None;
        if let (Some(held), Some(spent)) = (link.held.borrow().get(&id), spent) {
            let figures = link.believe(spent, held, now, true);
            app.measured(link, held, &figures, now);
            wall = Some(figures.wall());
        }
        all_finished.count(wall);
        link.take(id);
        if let Some(exchange) = exchange {
            exchange.finished();
        }
    } else if exchange.is_some_and(|exchange| exchange.is_over()) {
        // Only the slot is still taken (work after the response); nobody waits for anything more.
        if let Some(held) = link.held.borrow_mut().get_mut(&id) {
            held.exchange = None;
        }
    }
    Ok(())
}

fn handle_control(app: &Rc<App>, link: &Rc<Link>, buffer: &mut FrameBuffer) -> Result<(), Offence> {
    let worker = link.worker;
    while let Some(frame) = buffer.next_frame()? {
        match ControlFromWorker::decode(frame)? {
            ControlFromWorker::Hello(hello) => {
                if hello.version != wire::VERSION {
                    return Err(Offence::Version(hello.version));
                }
                let first = link.phase.get() == Phase::Booting && link.slots.get() == 0;
                if !first || hello.slots == 0 || hello.slots > 65_536 {
                    return Err(Offence::Order);
                }
                link.slots.set(hello.slots as usize);
                link.interface.set(hello.interface);
                app.set_interface(hello.interface);
                let runtime = hello.runtime.chars().filter(|c| !c.is_control()).take(80).collect();
                app.core.report(Event::Hello {
                    worker,
                    interface: hello.interface,
                    slots: hello.slots,
                    runtime,
                });
            }
            ControlFromWorker::Ready => {
                if link.phase.get() != Phase::Booting || link.slots.get() == 0 {
                    return Err(Offence::Order);
                }
                link.phase.set(Phase::Ready);
                app.core.report(Event::Ready { worker });
            }
            ControlFromWorker::BootFailed(failure) => {
                // Said once, before Ready; the link has nothing to do any more, and the supervisor ends the worker.
                if link.phase.get() != Phase::Booting {
                    return Err(Offence::Order);
                }
                link.phase.set(Phase::Draining);
                let (message, traceback) = (cut(failure.message), cut(failure.traceback));
                app.core.report(Event::BootFailed { worker, message, traceback });
            }
            ControlFromWorker::Reclaimed(ids) => app.reclaimed(link, ids),
            ControlFromWorker::Stack { id, text } => {
                if let Some(request) = link.take_interrupted(id) {
                    app.core.report(Event::Stuck { worker, request, stack: cut(text) });
                }
            }
            ControlFromWorker::Blocked(said) => {
                if link.hearing.hears(Instant::now()) {
                    app.core.report(Event::Blocked(Blocked::of(worker, &said)));
                }
            }
            ControlFromWorker::Durable(said) => {
                if link.hearing.hears(Instant::now()) {
                    app.core.report(Event::Durable(Durable::of(worker, &said)));
                }
            }
            ControlFromWorker::Seen { id, done, text } => {
                if let Some(text) = link.hearing.answered(id, text) {
                    app.core.report(Event::Seen { worker, id, done, text });
                }
            }
        }
    }
    Ok(())
}

/// At most [`TEXT_LIMIT`] bytes, without terminal escapes: the text is the tenant's and is read on a terminal.
fn cut(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(TEXT_LIMIT)];
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
