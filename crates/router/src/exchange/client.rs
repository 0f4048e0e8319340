//! The connection's side of an exchange: what there is to do for the client, and what the client has done.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::{Exchange, Step};
use crate::link::Link;

impl Exchange {
    /// What to do next. Registers the task to be woken when there is nothing.
    pub(crate) fn poll_step(&self, ctx: &Context<'_>) -> Poll<Step> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let Some(step) = state.messages.pop_front() {
            return Poll::Ready(step);
        }
        if !state.output.is_empty() || state.encoder.is_finished() {
            let bytes = std::mem::take(&mut state.output);
            let credit = std::mem::take(&mut state.received);
            let last = state.encoder.is_finished().then(|| state.encoder.keeps_alive());
            return Poll::Ready(Step::Write { bytes, credit, last });
        }
        if state.cut {
            return Poll::Ready(Step::Cut);
        }
        if state.link.is_some() && state.body_credit > 0 {
            let credit = std::mem::take(&mut state.body_credit);
            let restart = std::mem::take(&mut state.body_restart);
            state.fed_once = true;
            return Poll::Ready(Step::FeedBody { credit, restart });
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(ctx.waker())) {
            state.waker = Some(ctx.waker().clone());
        }
        Poll::Pending
    }

    /// It will never be whole: what is left of it need not be written.
    pub(crate) fn is_cut(&self) -> bool {
        self.state.borrow().cut
    }

    /// The link that runs it now.
    pub(crate) fn link(&self) -> Option<Rc<Link>> {
        self.state.borrow().link.clone()
    }

    /// The client has read `bytes` of the response: the worker may send as many more.
    pub(crate) fn grant(&self, bytes: u32) {
        if bytes == 0 {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.window += i64::from(bytes);
        let Some(link) = state.link.clone() else { return };
        if !state.encoder.is_finished() {
            link.credit(self.id, bytes);
        }
    }

    /// Bytes of WebSocket messages taken by the connection, see [`Exchange::grant`].
    pub(crate) fn grant_message(&self, bytes: usize) {
        self.state.borrow_mut().received = 0;
        self.grant(wire::message_cost(bytes));
    }

    /// The connection has passed on the whole body.
    pub(crate) fn body_fed(&self) {
        self.state.borrow_mut().body_fed = Some(Instant::now());
    }
}
