//! What can be said about an exchange: for the log, for incidents, for the figures.

use incident::Request;

use super::{Exchange, Record};

impl Exchange {
    /// For people: id, method and path. Decodes what was encoded for the worker, so that requests which go well carry no
    /// text for this.
    pub(crate) fn describe(&self) -> String {
        let state = self.state.borrow();
        let request = wire::Frame::first(&state.handover).map(wire::ToWorker::decode);
        let Some(Ok(wire::ToWorker::Request { head, .. })) = request else {
            return self.request_id.to_string();
        };
        format!("{} {} {}", self.request_id, head.method, head.raw_path.escape_ascii())
    }

    /// For an incident. Raw: whoever shows it escapes it.
    pub(crate) fn request(&self, outcome: &'static str) -> Request {
        let state = self.state.borrow();
        let request = wire::Frame::first(&state.handover).map(wire::ToWorker::decode);
        let (method, path) = match request {
            Some(Ok(wire::ToWorker::Request { head, .. })) => (head.method, head.raw_path),
            _ => ("", &b""[..]),
        };
        let path = &path[..path.len().min(incident::text::LINE + 1)];
        Request {
            id: self.request_id.to_string(),
            method: method.to_owned(),
            path: String::from_utf8_lossy(path).into_owned(),
            age: self.arrived.elapsed(),
            outcome,
        }
    }

    /// For the access log and the figures.
    pub(crate) fn record(&self) -> Record {
        let state = self.state.borrow();
        Record {
            status: if state.websocket { 101 } else { state.encoder.status() },
            body_bytes: state.encoder.body_bytes(),
            worker: state.worker,
            websocket: state.websocket,
            handed_at: state.handed_at,
            ended_at: state.ended_at,
            reason: state.reason,
        }
    }
}
