//! Plugins in native Rust for the simulator: a gatekeeper and a chat, with a
//! fault that the world can ask for.

use bytes::Bytes;
use cometbox::{
    core::{Action, Address, CloseCause, FullPolicy, Kind, Message, Name, Payload, PluginName},
    plugin::{
        Accept, Context, Event, Failure, FailureKind, Outcome, Plugin, Reads, SessionView, Wants,
    },
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Something that happens in the middle of a plugin's call.
pub type Meddle = Box<dyn FnOnce() + Send>;

/// What world and plugins share.
#[derive(Default)]
pub struct Shared {
    /// attached, detached and closed, as the plugin was told.
    pub notices: Mutex<Vec<(String, String)>>,
    /// Run once, in the middle of the next call that counts something.
    pub meddle: Mutex<Option<Meddle>>,
    /// Trap at the end of the next call.
    pub trap: Mutex<bool>,
}

pub struct Gatekeeper(pub PluginName);

impl Plugin for Gatekeeper {
    fn name(&self) -> &PluginName {
        &self.0
    }

    fn wants(&self) -> Wants {
        Wants::default()
    }

    fn call(&self, _: Context, event: Event<'_>, _: &mut Reads) -> Result<Outcome, Failure> {
        match event {
            Event::Open { request, .. } if text(&request.body).starts_with("bad") => {
                Err(Failure::Rejected { status: 403, reason: "bad guest".into() })
            }
            Event::Open { .. } => {
                let accept = Accept { identity: Some("guest".into()), ..Accept::default() };
                Ok(Outcome { accept: Some(accept.into()), ..Outcome::default() })
            }
            _ => Ok(Outcome { deliver: true, ..Outcome::default() }),
        }
    }
}

pub struct Chat {
    pub name: PluginName,
    pub shared: Arc<Shared>,
    /// Does not load.
    pub broken: bool,
}

impl Plugin for Chat {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn wants(&self) -> Wants {
        Wants {
            message: true,
            publish: true,
            attached: true,
            detached: true,
            closed: true,
            timer: true,
            subscribe: false,
        }
    }

    fn call(&self, _: Context, event: Event<'_>, reads: &mut Reads) -> Result<Outcome, Failure> {
        let outcome = match event {
            Event::Load { .. } if self.broken => {
                Err(Failure::Failed { kind: FailureKind::Trap, text: "broken version".into() })
            }
            Event::Load { .. } => Ok(Outcome::default()),
            Event::Open { request, identity, .. } => {
                assert_eq!(identity, Some("guest"), "set by the gatekeeper");
                Ok(open(text(&request.body)))
            }
            Event::Message { session, data, .. } => self.message(session, text(data), reads),
            Event::Subscribe { .. } => unreachable!("it does not want it"),
            Event::Publish { .. } => Ok(Outcome { deliver: true, ..Outcome::default() }),
            Event::Attached { session } => Ok(self.notice(session, "attached")),
            Event::Detached { session } => Ok(self.notice(session, "detached")),
            Event::Closed { session, cause } => Ok(self.notice(session, cause.as_str())),
            Event::Timer { session, .. } => {
                Ok(self.notice(session.expect("it is a mailbox's timer"), "timer"))
            }
        }?;
        if std::mem::take(&mut *self.shared.trap.lock()) {
            return Err(Failure::Failed { kind: FailureKind::Trap, text: "as asked".into() });
        }
        Ok(outcome)
    }
}

impl Chat {
    fn notice(&self, session: SessionView<'_>, what: &str) -> Outcome {
        self.shared.notices.lock().push((session.mailbox.to_owned(), what.to_owned()));
        Outcome::default()
    }

    /// `say GROUP TEXT`, `join GROUP`, `leave GROUP`, `kick NAME`, `count`,
    /// `own`, `timer MS`
    fn message(
        &self,
        session: SessionView<'_>,
        command: &str,
        reads: &mut Reads,
    ) -> Result<Outcome, Failure> {
        let me = name(session.mailbox);
        let words: Vec<&str> = command.splitn(3, ' ').collect();
        let mut reply = None;
        let actions = match words[..] {
            ["say", group, said] => vec![Action::Send {
                to: Address { groups: vec![name(group)], except: vec![me], ..Address::default() },
                message: Message::new(payload(said), None, None),
            }],
            ["join", group] => {
                vec![Action::Join { mailbox: me, group: name(group), chosen: false }]
            }
            ["leave", group] => vec![Action::Leave { mailbox: me, group: name(group) }],
            ["kick", whom] => vec![Action::Close {
                mailbox: name(whom),
                cause: CloseCause::Plugin,
                reason: "kicked".into(),
            }],
            ["timer", ms] => vec![Action::SetTimer {
                plugin: self.name.clone(),
                mailbox: Some(me),
                name: "ring".into(),
                delay_ms: ms.parse().expect("the world sends numbers"),
            }],
            ["count"] => {
                let value = reads.value("count").map_or(0, |value| number(&value));
                self.meddle();
                reply = Some(bytes(value + 1));
                vec![Action::Put { key: "count".into(), value: bytes(value + 1) }]
            }
            ["own"] => {
                let state = session.state.map_or(0, number);
                self.meddle();
                reply = Some(bytes(state + 1));
                vec![Action::SetState { plugin: self.name.clone(), state: Some(bytes(state + 1)) }]
            }
            _ => return Err(Failure::Rejected { status: 400, reason: "no such command".into() }),
        };
        let reply = reply.map(|bytes| Payload { kind: Kind::Binary, bytes });
        Ok(Outcome { actions, reply, ..Outcome::default() })
    }

    fn meddle(&self) {
        let meddle = self.shared.meddle.lock().take();
        if let Some(meddle) = meddle {
            meddle();
        }
    }
}

/// `NAME GROUP MESSAGES POLICY LINGER_MS REPLACE SHARED`, then first messages
fn open(request: &str) -> Outcome {
    let words: Vec<&str> = request.split(' ').collect();
    let accept = Accept {
        mailbox: Some(name(words[0])),
        groups: vec![name(words[1])],
        messages: words[2].parse().ok(),
        full: Some(if words[3] == "reject" { FullPolicy::Reject } else { FullPolicy::DropOldest }),
        linger_ms: words[4].parse().ok(),
        replace: words[5] == "true",
        shared: words[6] == "true",
        first: words[7..].iter().map(|text| Message::new(payload(text), None, None)).collect(),
        ..Accept::default()
    };
    Outcome { accept: Some(accept.into()), ..Outcome::default() }
}

pub fn payload(said: &str) -> Payload {
    Payload { kind: Kind::Text, bytes: said.to_owned().into() }
}

pub fn text(payload: &Payload) -> &str {
    std::str::from_utf8(&payload.bytes).expect("the world sends text")
}

pub fn name(text: &str) -> Name {
    Name::parse(text).expect("the world uses valid names")
}

pub fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("only numbers are stored"))
}

fn bytes(number: u64) -> Bytes {
    number.to_le_bytes().to_vec().into()
}
