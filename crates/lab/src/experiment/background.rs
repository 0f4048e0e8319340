//! Load beside something else that is watched.

use std::sync::Arc;
use std::time::Duration;

use super::SessionError;
use super::block::{Load, Rate};
use super::measure::{Generator, generate, plan};
use super::session::Session;
use crate::load::{LoadPlan, RawRecords, StopRule, Watch};

/// Longest time for requests that are sent one after the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// A generator that runs until it is stopped or through.
pub struct Background {
    watch: Arc<Watch>,
    generator: Generator,
}

impl Background {
    pub(super) fn start(plan: LoadPlan) -> Result<Self, SessionError> {
        let watch = Arc::new(Watch::default());
        let generator = generate(plan, Arc::clone(&watch))?;
        Ok(Background { watch, generator })
    }

    /// End it; what became of its requests.
    ///
    /// # Errors
    /// It could not be carried out.
    pub fn stop(self) -> Result<RawRecords, SessionError> {
        self.watch.stop();
        self.wait()
    }

    fn wait(self) -> Result<RawRecords, SessionError> {
        let result = self.generator.join();
        let (records, _) =
            result.map_err(|_| SessionError::Other("the load generator panicked".to_owned()))??;
        Ok(records)
    }
}

impl Session<'_> {
    /// Load on an application for so long, beside whatever comes next.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn background(
        &mut self,
        app: &str,
        load: &Load,
        length: Duration,
        seed: u64,
    ) -> Result<Background, SessionError> {
        Background::start(plan(self.host()?.endpoint(), app, load, length, seed)?)
    }

    /// So many requests, one after the other.
    ///
    /// # Errors
    /// They cannot be sent; that they fail is in the records.
    pub fn requests(&mut self, app: &str, target: &str, count: u64) -> Result<RawRecords, SessionError> {
        let load = Load::of(target, Rate::Closed(1));
        let plan = plan(self.host()?.endpoint(), app, &load, PATIENCE, 0)?;
        let stop = StopRule { requests: Some(count), ..plan.stop };
        Background::start(LoadPlan { stop, ..plan })?.wait()
    }
}
