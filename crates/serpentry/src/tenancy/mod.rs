//! What each application may use of the machine, and what is its own: carried out, changed while it runs, and given back.
//!
//! ```text
//!  host (main thread)                      keeper (a thread of its own, may block)
//!  tenant.rs  one application's handle --> keeper.rs  jobs, one after the other
//!     |  place(): made on first use           estate.rs  control groups, data, users, rooms of this host
//!     v                                       ledger.rs  who holds which cores and how much memory (pure)
//!     |                                       register.rs  what there is, for those who look at it
//!  room.rs    namespaces of its own            wants.rs   from configuration to limits of the kernel (pure)
//!     v
//!  process.rs starts workers in its Place
//! ```
//!
//! A place is made when the first worker of an application is started and given back when its last worker is gone and
//! nothing more will be started there: an application that sleeps costs nothing. The main thread never waits for any of it.
//! What the machine cannot enforce is reported with the place, never passed over.
//!
//! Not here: how a limit is set (crate `jail`), and limits that the router keeps by itself.

mod data;
mod estate;
mod keeper;
mod ledger;
mod limits;
mod register;
mod remains;
mod room;
mod shortage;
mod tenant;
mod users;
mod wants;

pub(crate) use estate::{Pool, Settings, Token, UNNAMED};
pub(crate) use keeper::{Grounds, Keeper};
pub(crate) use register::{Entry, Register};
pub(crate) use room::Room;
pub(crate) use shortage::{Shortage, Whose};
pub(crate) use tenant::{Place, Tenant};
pub(crate) use wants::{Unmet, Wants};
