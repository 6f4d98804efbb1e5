//! Write plugins for Cometbox.
//!
//! A plugin is a function from an event to actions. The gateway calls it for
//! everything that happens to the mailboxes of an app; it answers with what it
//! wants done: messages sent, groups joined, timers set. All actions of one
//! call take effect together or, if the call fails, none.
//!
//! ```
//! use cometbox_guest::prelude::*;
//!
//! struct Echo;
//!
//! impl Plugin for Echo {
//!     type Settings = ();
//!     type State = ();
//!
//!     fn new(_: ()) -> Result<Self, String> {
//!         Ok(Echo)
//!     }
//!
//!     fn on_message(&self, _: &Context, _: &Session<()>, data: Payload) -> Result<Outcome> {
//!         Ok(Outcome::reply(data))
//!     }
//! }
//!
//! cometbox_guest::export!(Echo);
//!
//! // In a test: call it, compare.
//! let data = Payload::from(json!({"say": "hi"}));
//! let outcome = Echo.on_message(&Context::test(), &Session::test("ann", ()), data.clone());
//! assert_eq!(outcome, Ok(Outcome::reply(data)));
//! ```
//!
//! # What a plugin may rely on
//!
//! - **Not its memory.** An instance may be dropped and made anew between any
//!   two calls, and several run side by side. That is why every method takes
//!   `&self`. What must last goes into the session state (one value per
//!   mailbox, see [`Plugin::State`]) or the key-value space (one per app, see
//!   [`Context::get`] and [`put`]).
//! - **What it reads is the state before the event.** If another event changed
//!   what a call has read, the gateway throws the call's actions away and calls
//!   again. So read-then-write is safe without locks, and a call may run more
//!   than once.
//! - **No clock, no randomness, no files, no network.** Time and 64 random bits
//!   come with the [`Context`].
//!
//! # Where what is
//!
//! [`Plugin`] is the trait to implement, [`Context`] what a call can look up,
//! [`Action`] what it can ask for. [`Accept`], [`Outcome`] and
//! [`PublishOutcome`] are what events are answered with, [`Error`] is how they
//! are refused. Natively (not in wasm) the [`mod@test`] module has the test kit.
//!
//! In wasm the crate brings an allocator, which is made for calls that take
//! small blocks and give them back. A plugin with a `#[global_allocator]` of its
//! own depends on this crate with `default-features = false`.

#![deny(missing_docs, unsafe_code)]

mod action;
mod answer;
mod codec;
mod context;
mod error;
mod event;
#[cfg(any(
    all(feature = "allocator", target_arch = "wasm32", not(target_feature = "atomics")),
    all(test, not(target_arch = "wasm32"))
))]
mod memory;
mod message;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

pub use action::{
    Action, cancel_timer, cancel_timer_of, close, delete, join, leave, put, send, send_group,
    set_state, set_timer, set_timer_of,
};
pub use answer::{Accept, Full, MailboxLimits, Outcome, PublishOutcome};
pub use codec::read_state;
pub use context::{Context, Level};
pub use error::{Error, Result, fail, reject};
pub use event::{CloseCause, Events, Open, Session};
pub use message::{Address, Message, Payload};
pub use plugin::Plugin;

/// Everything a plugin needs, serde's derives and `json!` among it. The derives
/// write code that names the crate `serde`, so a plugin that uses them depends
/// on it too.
pub mod prelude {
    pub use crate::{
        Accept, Action, Address, CloseCause, Context, Error, Events, Full, Level, MailboxLimits,
        Message, Open, Outcome, Payload, Plugin, PublishOutcome, Result, Session, cancel_timer,
        cancel_timer_of, close, delete, fail, join, leave, put, read_state, reject, send,
        send_group, set_state, set_timer, set_timer_of,
    };
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
}

/// Makes a type the plugin of this crate. Once per crate.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// struct Quiet;
///
/// impl Plugin for Quiet {
///     type Settings = ();
///     type State = ();
///     fn new(_: ()) -> Result<Self, String> {
///         Ok(Quiet)
///     }
/// }
///
/// cometbox_guest::export!(Quiet);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            // One thread per instance, so this is a plain static in wasm, and
            // a plugin may hold what cannot be shared between threads.
            ::std::thread_local! {
                static INSTANCE: ::std::cell::OnceCell<$plugin> =
                    const { ::std::cell::OnceCell::new() };
            }
            impl $crate::wasm::Instance for $plugin {
                fn with<R>(f: impl FnOnce(&::std::cell::OnceCell<Self>) -> R) -> R {
                    INSTANCE.with(f)
                }
            }
            type Exports = $crate::wasm::Exports<$plugin>;
    $crate::wasm::bindings::export_plugin!(Exports with_types_in $crate::wasm::bindings);
        };
        // So that a type that is no plugin is an error in native builds too.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_plugin<P: $crate::Plugin>() {}
            is_a_plugin::<$plugin>();
        };
    };
}
