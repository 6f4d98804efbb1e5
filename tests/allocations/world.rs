//! A core, an app, and readers that come back.

use cometbox::{
    app::{Answers, App, AppLimits, Chain, Now},
    core::{
        Address, Answer, Commit, ConnId, Core, CoreLimits, Effects, FullPolicy, Key, MailboxLimits,
        Message, Name, OpenMailbox, Payload, PluginName, Polled, PublishId, ReadFrom, States,
    },
    plugin::{
        Accept, Context, Event, Failure, OpenRequest, Outcome, Plugin, PluginLimits, Reads, Wants,
    },
};
use std::sync::Arc;

pub const KEY: Key = Key([7; 16]);
const NOW: Now = Now { mono: 1_000, unix_ms: 1_700_000_000_000 };
const WAIT_MS: u64 = 25_000;

const CORE: CoreLimits = CoreLimits {
    max_mailboxes: 1 << 20,
    max_queued_bytes: 1 << 30,
    max_groups: 1 << 20,
    max_groups_per_mailbox: 10,
    max_timers: 10,
    max_values: 10,
    max_value_bytes: 1000,
    max_state_bytes: 1000,
    max_batch_messages: 100,
    max_batch_bytes: 1 << 20,
    detach_grace_ms: 5_000,
    closed_memory_ms: 30_000,
    publish_id_window_ms: 120_000,
    max_publish_id_bytes: 1 << 30,
};

const MAILBOX: MailboxLimits =
    MailboxLimits { messages: 100, bytes: 1 << 20, full: FullPolicy::DropOldest, per_second: 0 };

fn name(text: &str) -> Name {
    Name::parse(text).expect("tests use valid names")
}

pub fn message() -> Arc<Message> {
    Message::new(Payload::json(r#"{"say":"hello"}"#), None, None)
}

pub fn to_all() -> Address {
    Address { groups: vec![name("all")], ..Address::default() }
}

/// Readers by number, which is that of their connections, and their cursors.
#[derive(Default)]
pub struct Readers(Vec<(String, u64)>);

impl Readers {
    pub fn of(readers: usize) -> Self {
        Self((0..readers).map(|number| (format!("reader-{number:06}"), 0)).collect())
    }

    /// Those that were answered take the cursor and come again.
    fn again(&mut self, answers: &mut Answers, mut poll: impl FnMut(&str, u64, ConnId)) {
        for (conn, answer) in answers.drain(..) {
            let Answer::Batch(batch) = answer else { panic!("{conn:?} got {answer:?}") };
            let (mailbox, cursor) = &mut self.0[usize::try_from(conn.0).expect("numbered so")];
            *cursor = batch.cursor;
            poll(mailbox, *cursor, conn);
        }
    }

    fn all(&self, mut poll: impl FnMut(&str, u64, ConnId)) {
        for (number, (mailbox, cursor)) in self.0.iter().enumerate() {
            poll(mailbox, *cursor, ConnId(number as u64));
        }
    }
}

/// A core with held readers in one group.
pub struct CoreWorld {
    core: Core,
    readers: Readers,
    fx: Effects,
}

impl CoreWorld {
    pub fn of(readers: Readers) -> Self {
        let (core, fx) = (Core::new(CORE), Effects::default());
        let mut world = Self { core, readers, fx };
        for (mailbox, _) in &world.readers.0 {
            let open = OpenMailbox {
                name: name(mailbox),
                key: KEY,
                replace: false,
                shared: false,
                identity: None,
                states: States::new(),
                groups: vec![name("all")],
                linger_ms: 60_000,
                limits: MAILBOX,
                first: Vec::new(),
            };
            let commit = Commit { open: Some(open.into()), ..Commit::default() };
            world.core.commit(NOW.mono, commit, &mut world.fx).expect("nothing is against it");
        }
        let Self { core, readers, fx } = &mut world;
        readers.all(|mailbox, cursor, conn| hold(core, fx, mailbox, cursor, conn));
        world.fx = Effects::default();
        world
    }

    /// Gives back what the shell has of the deliveries so far.
    pub fn forget_effects(&mut self) {
        self.fx = Effects::default();
    }

    /// A message for nobody, under an id of 20 bytes.
    pub fn publish_once(&mut self, number: usize) {
        let id = PublishId::try_from(format!("publish-{number:012}")).expect("a valid id");
        let (to, message) = (Address::default(), message());
        let publish = Some((&to, &message));
        let commit = Commit { publish, id: Some(&id), ..Commit::default() };
        self.core.commit(NOW.mono, commit, &mut self.fx).expect("there is room");
    }

    /// A message for everybody; everybody is answered and polls again.
    pub fn deliver(&mut self, to: &Address, message: &Arc<Message>) {
        let commit = Commit { publish: Some((to, message)), ..Commit::default() };
        self.core.commit(NOW.mono, commit, &mut self.fx).expect("nothing is against it");
        assert_eq!(self.fx.answers.len(), self.readers.0.len());
        let mut answers = std::mem::take(&mut self.fx.answers);
        let Self { core, readers, fx } = self;
        readers.again(&mut answers, |mailbox, cursor, conn| hold(core, fx, mailbox, cursor, conn));
        self.fx.answers = answers;
    }
}

fn hold(core: &mut Core, fx: &mut Effects, mailbox: &str, cursor: u64, conn: ConnId) {
    let polled =
        core.poll(NOW.mono, mailbox, KEY, ReadFrom::Cursor(Some(cursor)), WAIT_MS, conn, fx);
    assert!(matches!(polled, Ok(Polled::Held(_))), "{polled:?}");
}

/// Lets everything pass; opens are members of the group `all`.
struct Pass(PluginName);

/// A chain of nothing else.
pub fn pass() -> Chain {
    vec![Arc::new(Pass(PluginName("pass".into())))]
}

impl Plugin for Pass {
    fn name(&self) -> &PluginName {
        &self.0
    }

    fn wants(&self) -> Wants {
        Wants { message: true, publish: true, ..Wants::default() }
    }

    fn call(&self, _: Context, event: Event<'_>, _: &mut Reads) -> Result<Outcome, Failure> {
        let accept = matches!(event, Event::Open { .. })
            .then(|| Accept { groups: vec![name("all")], ..Accept::default() }.into());
        Ok(Outcome { accept, deliver: true, ..Outcome::default() })
    }
}

/// The same with an app around the core. Its mailboxes are called as the app
/// likes.
pub struct AppWorld {
    app: Arc<App>,
    readers: Readers,
    out: Answers,
}

impl AppWorld {
    pub fn of(readers: usize) -> Self {
        let limits = AppLimits {
            core: CORE,
            mailbox: MAILBOX,
            max_mailbox: MAILBOX,
            linger_ms: 60_000,
            max_linger_ms: 60_000,
            plugin: PluginLimits::default(),
        };
        let app = App::new("lab", limits, 1, Box::new(|| {}));
        let mut world = Self { app, readers: Readers::default(), out: Answers::new() };
        let Self { app, readers: them, out } = &mut world;
        app.swap(NOW, pass(), out).expect("it loads");
        let body = Payload::json("null");
        let request = OpenRequest { body, headers: Vec::new(), peer: String::new() };
        for _ in 0..readers {
            let opened = app.open(NOW, KEY, &request, out).expect("it is let in");
            them.0.push((opened.mailbox.to_string(), opened.cursor));
        }
        them.all(|mailbox, cursor, conn| {
            let polled =
                app.poll(NOW, mailbox, KEY, ReadFrom::Cursor(Some(cursor)), WAIT_MS, conn, out);
            assert!(matches!(polled, Ok(Polled::Held(_))), "{polled:?}");
        });
        world
    }

    pub fn publish(&mut self, to: &Address, message: &Arc<Message>) {
        self.app.publish(NOW, to, message, &mut self.out).expect("it is delivered");
        assert_eq!(self.out.len(), self.readers.0.len());
        let mut answers = std::mem::take(&mut self.out);
        let Self { app, readers, out } = self;
        readers.again(&mut answers, |mailbox, cursor, conn| {
            let polled =
                app.poll(NOW, mailbox, KEY, ReadFrom::Cursor(Some(cursor)), WAIT_MS, conn, out);
            assert!(matches!(polled, Ok(Polled::Held(_))), "{polled:?}");
        });
        self.out = answers;
    }

    /// The first reader says something.
    pub fn message(&mut self, data: &Payload) {
        let mailbox = &self.readers.0[0].0;
        self.app.message(NOW, mailbox, KEY, None, data, &mut self.out).expect("it is taken");
    }
}
