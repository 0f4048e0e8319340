//! The signals that mean something to the host.

use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// By number, as on every Linux architecture; tokio has no names for them.
pub(crate) const TTIN: SignalKind = SignalKind::from_raw(21);
pub(crate) const TTOU: SignalKind = SignalKind::from_raw(22);

/// Writing beyond a limit of file sizes: an error of the log's, not the end of the program.
pub(crate) const XFSZ: SignalKind = SignalKind::from_raw(25);

pub(crate) struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::hangup(),
            SignalKind::user_defined1(),
            TTIN,
            TTOU,
            XFSZ,
        ];
        kinds.into_iter().map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<_>>().map(Signals)
    }

    pub(crate) async fn next(&mut self) -> SignalKind {
        std::future::poll_fn(|ctx| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(ctx).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}
