//! What a plugin returned, checked and in the types of the gateway.
//!
//! Names, JSON, sizes and numbers: one bad value fails the whole call, and the
//! error says where it is.

use super::{adapter::Answer, bindings::cometbox::plugin::types};
use crate::{
    core::{
        Action, Address, CloseCause, FullPolicy, Kind, MAX_NAME_BYTES, Message, Name, Payload,
        PluginName,
    },
    plugin::{Accept, Failure, FailureKind, Outcome, PluginLimits},
};
use bytes::Bytes;
use std::sync::Arc;

/// Bounds of what has no limit of its own, in bytes.
const MAX_REASON_BYTES: usize = 1024;
const MAX_IDENTITY_BYTES: usize = 1024;
const MAX_COLLAPSE_BYTES: usize = 256;
const MAX_VALUE_KEY_BYTES: usize = 512;

/// What a name in a list counts beside its text: its pointer and length in the
/// plugin's memory.
const LIST_ITEM_BYTES: usize = 8;

/// A text for people, cut to a bounded length.
pub(super) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
    text
}

pub(super) fn refusal(refusal: types::Refusal) -> Failure {
    let text = match refusal {
        types::Refusal::Rejected(types::Rejection { status: status @ 400..=599, reason }) => {
            return Failure::Rejected { status, reason: bounded(reason) };
        }
        types::Refusal::Rejected(types::Rejection { status, .. }) => {
            format!("rejected with status {status}, which is not within 400 and 599")
        }
        types::Refusal::StateUnreadable => {
            "it cannot read the session state, though migrate has had its turn or there is no \
             session"
                .into()
        }
        types::Refusal::Failed(text) => bounded(text),
    };
    Failure::Failed { kind: FailureKind::Error, text }
}

/// What a plugin returned, checked. `spent_bytes` count against the limit of
/// output already.
///
/// # Errors
/// If anything in it is bad or too much.
pub(super) fn outcome(
    answer: Answer,
    plugin: &PluginName,
    limits: &PluginLimits,
    spent_bytes: usize,
) -> Result<Outcome, Failure> {
    let mut check = Check { plugin, limits, bytes: spent_bytes, actions: 0 };
    let mut outcome = Outcome::default();
    let actions = match answer {
        Answer::Actions(actions) => actions,
        Answer::Message(types::Outcome { actions, reply }) => {
            outcome.reply = check.reply(reply)?;
            actions
        }
        Answer::Publish(types::PublishOutcome { deliver, actions }) => {
            outcome.deliver = deliver;
            actions
        }
        Answer::Open(mut acceptance) => {
            outcome.reply = check.reply(acceptance.reply.take())?;
            let actions = std::mem::take(&mut acceptance.actions);
            outcome.accept = Some(check.acceptance(acceptance)?.into());
            actions
        }
    };
    outcome.actions = check.all(actions)?;
    Ok(outcome)
}

/// A value that no plugin may return.
struct Bad(FailureKind, String);

impl Bad {
    fn value(text: impl Into<String>) -> Self {
        Self(FailureKind::Error, text.into())
    }

    /// With the place where it is.
    fn at(self, place: impl std::fmt::Display) -> Failure {
        Failure::Failed { kind: self.0, text: format!("{place}: {}", self.1) }
    }
}

/// Checks what one call returned, and counts it.
struct Check<'a> {
    plugin: &'a PluginName,
    limits: &'a PluginLimits,
    bytes: usize,
    actions: usize,
}

impl Check<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), Bad> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.output_bytes {
            let text = format!("more than {} bytes of output", self.limits.output_bytes);
            return Err(Bad(FailureKind::Limit, text));
        }
        Ok(())
    }

    fn count_actions(&mut self, more: usize) -> Result<(), Bad> {
        self.actions = self.actions.saturating_add(more);
        if self.actions > self.limits.actions {
            let text = format!("more than {} actions", self.limits.actions);
            return Err(Bad(FailureKind::Limit, text));
        }
        Ok(())
    }

    fn name(&mut self, what: &str, text: String) -> Result<Name, Bad> {
        self.spend(text.len() + LIST_ITEM_BYTES)?;
        Name::try_from(text).map_err(|e| Bad::value(format!("{what}: {e}")))
    }

    fn names(&mut self, what: &str, texts: Vec<String>) -> Result<Vec<Name>, Bad> {
        texts.into_iter().map(|text| self.name(what, text)).collect()
    }

    fn text(&mut self, what: &str, text: String, max_bytes: usize) -> Result<Box<str>, Bad> {
        self.spend(text.len())?;
        if text.is_empty() || text.len() > max_bytes {
            return Err(Bad::value(format!(
                "{what} has {} bytes; it needs 1 to {max_bytes}",
                text.len()
            )));
        }
        Ok(text.into())
    }

    fn bytes(&mut self, bytes: Vec<u8>) -> Result<Bytes, Bad> {
        self.spend(bytes.len())?;
        Ok(bytes.into())
    }

    fn payload(&mut self, payload: types::PayloadResult) -> Result<Payload, Bad> {
        let (kind, bytes) = match payload {
            types::PayloadResult::Json(text) => {
                self.spend(text.len())?;
                serde_json::from_str::<serde::de::IgnoredAny>(&text)
                    .map_err(|e| Bad::value(format!("its JSON is none: {e}")))?;
                return Ok(Payload::json(text));
            }
            types::PayloadResult::Text(text) => (Kind::Text, text.into_bytes()),
            types::PayloadResult::Binary(bytes) => (Kind::Binary, bytes),
        };
        Ok(Payload { kind, bytes: self.bytes(bytes)? })
    }

    fn message(&mut self, message: types::MessageResult) -> Result<Arc<Message>, Bad> {
        let payload = self.payload(message.data)?;
        let collapse = message
            .collapse
            .map(|key| self.text("collapse key", key, MAX_COLLAPSE_BYTES))
            .transpose()?;
        Ok(Message::new(payload, message.ttl_ms, collapse))
    }

    fn reply(&mut self, reply: Option<types::PayloadResult>) -> Result<Option<Payload>, Failure> {
        reply.map(|payload| self.payload(payload)).transpose().map_err(|bad| bad.at("reply"))
    }

    fn all(&mut self, actions: Vec<types::Action>) -> Result<Vec<Action>, Failure> {
        self.count_actions(actions.len()).map_err(|bad| bad.at("actions"))?;
        let mut checked = Vec::with_capacity(actions.len());
        for (index, action) in actions.into_iter().enumerate() {
            let kind = kind(&action);
            let action = self
                .action(action)
                .map_err(|bad| bad.at(format_args!("actions[{index}] ({kind})")))?;
            checked.push(action);
        }
        Ok(checked)
    }

    fn action(&mut self, action: types::Action) -> Result<Action, Bad> {
        Ok(match action {
            types::Action::Send(types::Send { to, message }) => Action::Send {
                to: Address {
                    mailboxes: self.names("mailbox", to.mailboxes)?,
                    groups: self.names("group", to.groups)?,
                    except: self.names("except", to.except)?,
                },
                message: self.message(message)?,
            },
            types::Action::Join(types::Membership { mailbox, group }) => Action::Join {
                mailbox: self.name("mailbox", mailbox)?,
                group: self.name("group", group)?,
                chosen: false,
            },
            types::Action::Leave(types::Membership { mailbox, group }) => Action::Leave {
                mailbox: self.name("mailbox", mailbox)?,
                group: self.name("group", group)?,
            },
            types::Action::Close(types::Closing { mailbox, reason }) => Action::Close {
                mailbox: self.name("mailbox", mailbox)?,
                cause: CloseCause::Plugin,
                reason: bounded(reason).into(),
            },
            types::Action::SetState(state) => {
                Action::SetState { plugin: self.plugin.clone(), state: Some(self.bytes(state)?) }
            }
            types::Action::SetTimer(types::Timer { mailbox, name, delay_ms }) => Action::SetTimer {
                plugin: self.plugin.clone(),
                mailbox: mailbox.map(|name| self.name("mailbox", name)).transpose()?,
                name: self.text("timer name", name, MAX_NAME_BYTES)?,
                delay_ms,
            },
            types::Action::CancelTimer(types::TimerName { mailbox, name }) => Action::CancelTimer {
                plugin: self.plugin.clone(),
                mailbox: mailbox.map(|name| self.name("mailbox", name)).transpose()?,
                name: self.text("timer name", name, MAX_NAME_BYTES)?,
            },
            types::Action::Put(types::Entry { key, value }) => Action::Put {
                key: self.text("key", key, MAX_VALUE_KEY_BYTES)?,
                value: self.bytes(value)?,
            },
            types::Action::Delete(key) => {
                Action::Delete { key: self.text("key", key, MAX_VALUE_KEY_BYTES)? }
            }
        })
    }

    fn acceptance(&mut self, mut accept: types::Acceptance) -> Result<Accept, Failure> {
        let messages = std::mem::take(&mut accept.first);
        self.count_actions(messages.len()).map_err(|bad| bad.at("first"))?;
        let mut first = Vec::with_capacity(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let message =
                self.message(message).map_err(|bad| bad.at(format_args!("first[{index}]")))?;
            first.push(message);
        }
        self.mailbox(accept, first).map_err(|bad| bad.at("acceptance"))
    }

    fn mailbox(
        &mut self,
        accept: types::Acceptance,
        first: Vec<Arc<Message>>,
    ) -> Result<Accept, Bad> {
        let limits = accept.limits;
        if limits.messages == Some(0) {
            return Err(Bad::value("a mailbox holds at least 1 message"));
        }
        let per_second = limits.per_second.map(|n| match u16::try_from(n) {
            Ok(n @ 1..=1000) => Ok(n),
            _ => Err(Bad::value("per-second is not within 1 and 1000")),
        });
        let identity = accept.identity.map(|text| self.text("identity", text, MAX_IDENTITY_BYTES));
        Ok(Accept {
            mailbox: accept.mailbox.map(|name| self.name("mailbox", name)).transpose()?,
            replace: accept.replace,
            shared: accept.shared,
            identity: identity.transpose()?.map(Arc::from),
            state: accept.state.map(|state| self.bytes(state)).transpose()?,
            groups: self.names("group", accept.groups)?,
            linger_ms: accept.linger_ms,
            messages: limits.messages,
            bytes: limits.bytes,
            full: limits.full.map(|policy| match policy {
                types::FullPolicy::DropOldest => FullPolicy::DropOldest,
                types::FullPolicy::Reject => FullPolicy::Reject,
            }),
            per_second: per_second.transpose()?,
            first,
        })
    }
}

/// As the WIT calls it.
fn kind(action: &types::Action) -> &'static str {
    match action {
        types::Action::Send(_) => "send",
        types::Action::Join(_) => "join",
        types::Action::Leave(_) => "leave",
        types::Action::Close(_) => "close",
        types::Action::SetState(_) => "set-state",
        types::Action::SetTimer(_) => "set-timer",
        types::Action::CancelTimer(_) => "cancel-timer",
        types::Action::Put(_) => "put",
        types::Action::Delete(_) => "delete",
    }
}
