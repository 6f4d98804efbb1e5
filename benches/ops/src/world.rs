//! Mailboxes, readers and messages for the operations to work on.

use cometbox::core::{
    Action, Address, Answer, Commit, ConnId, Core, CoreLimits, Effects, FullPolicy, Key, Kind,
    MailboxLimits, Message, Millis, Name, OpenMailbox, Payload, Polled, ReadFrom, States,
};
use std::sync::Arc;

pub const KEY: Key = Key([7; 16]);

/// As long as clients wait by default.
pub const WAIT_MS: Millis = 25_000;

/// What the messages carry: about what a chat or a ticker sends.
pub const JSON: &str =
    r#"{"from":"ann","say":"a line of some fifty characters, as people write","room":"lobby"}"#;

pub const MAILBOX: MailboxLimits =
    MailboxLimits { messages: 1000, bytes: 1 << 20, full: FullPolicy::DropOldest, per_second: 0 };

/// Far more of everything than an operation needs.
pub const CORE: CoreLimits = CoreLimits {
    max_mailboxes: 1 << 20,
    max_queued_bytes: 1 << 30,
    max_groups: 1 << 20,
    max_groups_per_mailbox: 100,
    max_timers: 1 << 20,
    max_values: 1 << 20,
    max_value_bytes: 1 << 30,
    max_state_bytes: 1 << 30,
    max_batch_messages: 100,
    max_batch_bytes: 1 << 20,
    detach_grace_ms: 5_000,
    closed_memory_ms: 30_000,
    publish_id_window_ms: 120_000,
    max_publish_id_bytes: 1 << 30,
};

/// # Panics
/// If the text is no name.
#[must_use]
pub fn name(text: &str) -> Name {
    Name::parse(text).expect("the names here are valid")
}

#[must_use]
pub fn message() -> Arc<Message> {
    Message::new(Payload::json(JSON), None, None)
}

#[must_use]
pub fn text() -> Arc<Message> {
    let payload = Payload { kind: Kind::Text, bytes: "a \"line\" of text\n".into() };
    Message::new(payload, None, None)
}

#[must_use]
pub fn to_group(group: &str) -> Address {
    Address { groups: vec![name(group)], ..Address::default() }
}

#[must_use]
pub fn to_mailbox(mailbox: &str) -> Address {
    Address { mailboxes: vec![name(mailbox)], ..Address::default() }
}

/// A core with clients that come back for more.
pub struct World {
    pub core: Core,
    pub now: Millis,
    pub fx: Effects,
    /// Clients by number, which is also that of their connections.
    clients: Vec<Client>,
}

struct Client {
    mailbox: String,
    cursor: u64,
}

impl Default for World {
    fn default() -> Self {
        let fx = Effects::default();
        Self { core: Core::new(CORE), now: 1_000, fx, clients: Vec::new() }
    }
}

impl World {
    /// So many mailboxes, all in this group.
    #[must_use]
    pub fn of(mailboxes: usize, group: &str) -> Self {
        let mut world = Self::default();
        (0..mailboxes).for_each(|n| world.join(&format!("mailbox-{n}"), group));
        world
    }

    /// A further client with a mailbox in this group.
    pub fn join(&mut self, mailbox: &str, group: &str) {
        self.open(mailbox, &[group], 60_000);
        self.clients.push(Client { mailbox: mailbox.to_owned(), cursor: 0 });
    }

    /// A mailbox that nobody reads.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn open(&mut self, mailbox: &str, groups: &[&str], linger_ms: u64) {
        let open = OpenMailbox {
            name: name(mailbox),
            key: KEY,
            replace: false,
            shared: false,
            identity: None,
            states: States::new(),
            groups: groups.iter().map(|group| name(group)).collect(),
            linger_ms,
            limits: MAILBOX,
            first: Vec::new(),
        };
        let commit = Commit { open: Some(open.into()), ..Commit::default() };
        self.core.commit(self.now, commit, &mut self.fx).expect("nothing stands against it");
    }

    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// # Panics
    /// If a limit is reached.
    pub fn send(&mut self, to: &Address, message: &Arc<Message>) {
        let send = Action::Send { to: to.clone(), message: message.clone() };
        let commit = Commit { actions: vec![send], ..Commit::default() };
        self.core.commit(self.now, commit, &mut self.fx).expect("nothing stands against it");
    }

    /// A client reads on from its cursor.
    ///
    /// # Panics
    /// If the core refuses.
    pub fn poll(&mut self, client: usize, wait_ms: Millis) -> Polled {
        let Client { mailbox, cursor } = &self.clients[client];
        let conn = ConnId(client as u64);
        let read = (ReadFrom::Cursor(Some(*cursor)), wait_ms, conn, &mut self.fx);
        let polled = self.core.poll(self.now, mailbox, KEY, read.0, read.1, read.2, read.3);
        polled.expect("the mailbox is there and the key is its own")
    }

    /// All clients wait for something.
    pub fn hold_all(&mut self) {
        for client in 0..self.clients() {
            assert!(matches!(self.poll(client, WAIT_MS), Polled::Held(_)), "nothing waits for it");
        }
    }

    /// Whoever was answered takes the cursor and comes again.
    pub fn answered_poll_again(&mut self) {
        let mut answers = std::mem::take(&mut self.fx.answers);
        for (conn, answer) in answers.drain(..) {
            let Answer::Batch(batch) = answer else { unreachable!("nobody is away that long") };
            let client = usize::try_from(conn.0).expect("numbered so");
            self.clients[client].cursor = batch.cursor;
            assert!(matches!(self.poll(client, WAIT_MS), Polled::Held(_)), "that was all");
        }
        assert!(self.fx.answers.is_empty());
        self.fx.answers = answers;
        self.fx.notices.clear();
    }

    /// A client confirms everything up to here with its next read.
    pub fn set_cursor(&mut self, client: usize, cursor: u64) {
        self.clients[client].cursor = cursor;
    }
}
