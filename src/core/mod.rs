//! Mailboxes, groups, timers and values of one app, without IO.
//!
//! Contract: time and keys are handed in; the same calls give the same
//! effects, byte for byte. No call blocks, panics on input, or iterates over
//! anything unordered. Bad input is an error value; a broken invariant of the
//! core itself panics.

mod action;
mod books;
mod change;
mod closed;
mod commit;
mod effect;
mod growth;
mod ids;
mod lost;
mod mailbox;
mod message;
mod pace;
mod pattern;
mod published;
mod queue;
mod record;
mod restore;
mod state;
mod table;
mod tick;
mod timers;
mod values;

pub use action::{
    AccessError, Action, Commit, CommitError, Committed, CoreLimits, MailboxLimits, OpenMailbox,
    Read, Session, States,
};
pub use change::{
    Change, Image, KeptEpitaph, KeptGroup, KeptMailbox, KeptPublish, KeptSeat, Marks, Sent, Uid,
};
pub use effect::{Answer, CloseCause, Effects, Notice, Polled, ReadFrom, Totals};
pub use ids::{
    BadName, BadPublishId, ConnId, Key, MAX_NAME_BYTES, MAX_PUBLISH_ID_BYTES, MailboxId, Millis,
    Name, PluginName, PublishId, Version,
};
pub use lost::Run;
pub use mailbox::MAX_SEATS;
pub use message::{Address, Batch, Delivery, FullPolicy, Kind, Message, Payload, SendReport};
pub use restore::Restart;
pub use state::Core;
pub use timers::PluginTimer;

#[cfg(test)]
pub(crate) mod tests;
