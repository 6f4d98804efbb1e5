//! What a plugin can ask for, as values that can be built, compared and read.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{Address, Message, codec};

/// Something that a plugin wants done.
///
/// Built by [`send`], [`send_group`], [`join`], [`leave`], [`close`],
/// [`set_state`], [`set_timer`], [`cancel_timer`], [`put`] and [`delete`], and
/// printed the same way when a test fails:
///
/// ```
/// # use cometbox_guest::prelude::*;
/// let action = send_group("lobby", json!({"say": "hi"})).except("ann");
/// assert_eq!(
///     format!("{action:?}"),
///     r#"send_group("lobby", json!({"say":"hi"})).except("ann")"#,
/// );
/// ```
///
/// An action that names a mailbox which is gone does nothing.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Put a message into mailboxes and groups.
    Send {
        /// Who gets it.
        to: Address,
        /// What they get.
        message: Message,
    },
    /// Make a mailbox a member of a group. The first member creates the group.
    Join {
        /// Name of the mailbox.
        mailbox: String,
        /// Name of the group.
        group: String,
    },
    /// End a membership. The group vanishes with its last member.
    Leave {
        /// Name of the mailbox.
        mailbox: String,
        /// Name of the group.
        group: String,
    },
    /// Close a mailbox. The closed event follows.
    Close {
        /// Name of the mailbox.
        mailbox: String,
        /// Told to the reader along with the end of the mailbox.
        reason: String,
    },
    /// Store this plugin's state (MessagePack) for the mailbox that the event
    /// is about.
    SetState(Vec<u8>),
    /// Ring later.
    SetTimer {
        /// The mailbox it belongs to and dies with. None: it is the app's.
        mailbox: Option<String>,
        /// The timer's name.
        name: String,
        /// From now, in milliseconds.
        delay_ms: u64,
    },
    /// Do not ring.
    CancelTimer {
        /// The mailbox it belongs to. None: it is the app's.
        mailbox: Option<String>,
        /// The timer's name.
        name: String,
    },
    /// Store a value (MessagePack, if made by [`put`]) in the app's key-value
    /// space.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Remove a key from the app's key-value space.
    Delete {
        /// The key.
        key: String,
    },
}

/// Puts a message into a mailbox, or wherever an [`Address`] says.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// send("bob", json!({"say": "psst"}));
/// send(Address::default().group("lobby").group("hall"), json!({"say": "hi"}));
/// ```
pub fn send(to: impl Into<Address>, message: impl Into<Message>) -> Action {
    Action::Send { to: to.into(), message: message.into() }
}

/// Puts a message into the mailboxes of all members of a group.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// send_group("lobby", json!({"say": "hi"})).except("ann");
/// send_group("IBM", json!({"price": 101.5})).collapse("IBM");
/// ```
pub fn send_group(group: impl Into<String>, message: impl Into<Message>) -> Action {
    send(Address::default().group(group), message)
}

/// Makes a mailbox a member of a group.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// join("ann", "lobby");
/// ```
pub fn join(mailbox: impl Into<String>, group: impl Into<String>) -> Action {
    Action::Join { mailbox: mailbox.into(), group: group.into() }
}

/// Ends the membership of a mailbox in a group.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// leave("ann", "lobby");
/// ```
pub fn leave(mailbox: impl Into<String>, group: impl Into<String>) -> Action {
    Action::Leave { mailbox: mailbox.into(), group: group.into() }
}

/// Closes a mailbox; its reader is told the reason.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// close("ann", "the game is over");
/// ```
pub fn close(mailbox: impl Into<String>, reason: impl Into<String>) -> Action {
    Action::Close { mailbox: mailbox.into(), reason: reason.into() }
}

/// Stores this plugin's state for the mailbox that the event is about.
///
/// The value must be of the plugin's [`State`](crate::Plugin::State);
/// [`Session::set_state`](crate::Session::set_state) makes the compiler check
/// that.
///
/// # Panics
/// If the value cannot be written as MessagePack, see [`put`].
#[track_caller]
pub fn set_state<S: Serialize + ?Sized>(state: &S) -> Action {
    Action::SetState(codec::encode(state))
}

/// Has [`on_timer`](crate::Plugin::on_timer) called later, for the app. Setting
/// a timer again moves it.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// set_timer("tick", 1_000);
/// ```
pub fn set_timer(name: impl Into<String>, delay_ms: u64) -> Action {
    Action::SetTimer { mailbox: None, name: name.into(), delay_ms }
}

/// Has [`on_timer`](crate::Plugin::on_timer) called later, for a mailbox. The
/// timer dies with the mailbox.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// set_timer_of("ann", "idle", 60_000);
/// ```
pub fn set_timer_of(mailbox: impl Into<String>, name: impl Into<String>, delay_ms: u64) -> Action {
    Action::SetTimer { mailbox: Some(mailbox.into()), name: name.into(), delay_ms }
}

/// Cancels a timer of the app.
pub fn cancel_timer(name: impl Into<String>) -> Action {
    Action::CancelTimer { mailbox: None, name: name.into() }
}

/// Cancels a timer of a mailbox.
pub fn cancel_timer_of(mailbox: impl Into<String>, name: impl Into<String>) -> Action {
    Action::CancelTimer { mailbox: Some(mailbox.into()), name: name.into() }
}

/// Stores a value in the app's key-value space, as MessagePack. Read it with
/// [`Context::get`](crate::Context::get).
///
/// All plugins of an app share the space: begin keys with the plugin's name.
///
/// ```
/// # use cometbox_guest::prelude::*;
/// put("chat/topic/lobby", "COMET");
/// put("chat/lines/lobby", &["hi", "hello"]);
/// ```
///
/// # Panics
/// If the value cannot be written as MessagePack. Derived `Serialize` of plain
/// structs and enums never gets there.
#[track_caller]
pub fn put<T: Serialize + ?Sized>(key: impl Into<String>, value: &T) -> Action {
    Action::Put { key: key.into(), value: codec::encode(value) }
}

/// Removes a key from the app's key-value space.
pub fn delete(key: impl Into<String>) -> Action {
    Action::Delete { key: key.into() }
}

/// Options of a send.
///
/// # Panics
/// All of these, on an action that is not a send: only a message has receivers
/// and waits. The first test of such a line finds it.
impl Action {
    /// Leaves a mailbox out, however it is addressed: the sender, say.
    #[track_caller]
    pub fn except(mut self, mailbox: impl Into<String>) -> Self {
        self.sent("except").0.except.push(mailbox.into());
        self
    }

    /// Sets how long the message may wait in a mailbox, in milliseconds.
    #[track_caller]
    pub fn ttl_ms(mut self, ttl_ms: u64) -> Self {
        self.sent("ttl_ms").1.ttl_ms = Some(ttl_ms);
        self
    }

    /// Sets the collapse key: a newer message with the same key takes the
    /// place of an older one that still waits and was not yet handed out.
    #[track_caller]
    pub fn collapse(mut self, key: impl Into<String>) -> Self {
        self.sent("collapse").1.collapse = Some(key.into());
        self
    }

    #[track_caller]
    fn sent(&mut self, option: &str) -> (&mut Address, &mut Message) {
        match self {
            Self::Send { to, message } => (to, message),
            other => panic!("`.{option}()` is for send and send_group, not for {other:?}"),
        }
    }
}

/// The way it would be written in a plugin.
impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { to, message } => {
                match (&to.mailboxes[..], &to.groups[..]) {
                    ([mailbox], []) => write!(f, "send({mailbox:?}, ")?,
                    ([], [group]) => write!(f, "send_group({group:?}, ")?,
                    (mailboxes, groups) => {
                        write!(f, "send(Address::default()")?;
                        mailboxes.iter().try_for_each(|m| write!(f, ".mailbox({m:?})"))?;
                        groups.iter().try_for_each(|g| write!(f, ".group({g:?})"))?;
                        write!(f, ", ")?;
                    }
                }
                write!(f, "{:?})", message.data)?;
                to.except.iter().try_for_each(|e| write!(f, ".except({e:?})"))?;
                message.ttl_ms.iter().try_for_each(|ms| write!(f, ".ttl_ms({ms})"))?;
                message.collapse.iter().try_for_each(|key| write!(f, ".collapse({key:?})"))
            }
            Self::Join { mailbox, group } => write!(f, "join({mailbox:?}, {group:?})"),
            Self::Leave { mailbox, group } => write!(f, "leave({mailbox:?}, {group:?})"),
            Self::Close { mailbox, reason } => write!(f, "close({mailbox:?}, {reason:?})"),
            Self::SetState(state) => write!(f, "set_state({})", Packed(state)),
            Self::SetTimer { mailbox: None, name, delay_ms } => {
                write!(f, "set_timer({name:?}, {delay_ms})")
            }
            Self::SetTimer { mailbox: Some(mailbox), name, delay_ms } => {
                write!(f, "set_timer_of({mailbox:?}, {name:?}, {delay_ms})")
            }
            Self::CancelTimer { mailbox: None, name } => write!(f, "cancel_timer({name:?})"),
            Self::CancelTimer { mailbox: Some(mailbox), name } => {
                write!(f, "cancel_timer_of({mailbox:?}, {name:?})")
            }
            Self::Put { key, value } => write!(f, "put({key:?}, {})", Packed(value)),
            Self::Delete { key } => write!(f, "delete({key:?})"),
        }
    }
}

/// Shows MessagePack as JSON where that is possible.
struct Packed<'a>(&'a [u8]);

impl fmt::Display for Packed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match codec::decode::<Value>(self.0) {
            Ok(value) => write!(f, "&json!({value})"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Payload;

    #[test]
    fn json_payloads_compare_by_value() {
        let spaced = Payload::Json(r#"{ "b": 2, "a": 1 }"#.into());
        assert_eq!(send("bob", spaced), send("bob", json!({"a": 1, "b": 2})));
        assert_ne!(
            send("bob", json!("hi")),
            send("bob", Payload::text("hi")),
            "a JSON string is not a text"
        );
    }

    #[test]
    fn every_action_prints_as_it_is_written() {
        let shown = [
            (
                send("bob", Payload::text("hi")).ttl_ms(5),
                r#"send("bob", Payload::text("hi")).ttl_ms(5)"#,
            ),
            (
                send(Address::default().mailbox("a").group("g"), json!(1)).collapse("k"),
                r#"send(Address::default().mailbox("a").group("g"), json!(1)).collapse("k")"#,
            ),
            (join("ann", "lobby"), r#"join("ann", "lobby")"#),
            (leave("ann", "lobby"), r#"leave("ann", "lobby")"#),
            (close("ann", "bye"), r#"close("ann", "bye")"#),
            (set_state(&json!({"room": "lobby"})), r#"set_state(&json!({"room":"lobby"}))"#),
            (set_timer("t", 5), r#"set_timer("t", 5)"#),
            (set_timer_of("ann", "t", 5), r#"set_timer_of("ann", "t", 5)"#),
            (cancel_timer("t"), r#"cancel_timer("t")"#),
            (cancel_timer_of("ann", "t"), r#"cancel_timer_of("ann", "t")"#),
            (put("k", &[1, 2]), r#"put("k", &json!([1,2]))"#),
            (delete("k"), r#"delete("k")"#),
        ];
        for (action, text) in shown {
            assert_eq!(format!("{action:?}"), text);
        }
    }

    #[test]
    #[should_panic(
        expected = r#"`.except()` is for send and send_group, not for join("ann", "lobby")"#
    )]
    fn options_of_a_send_are_for_sends() {
        let _ = join("ann", "lobby").except("ann");
    }
}
