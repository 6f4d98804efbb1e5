//! The core: delivering, taking, holding, confirming, expiring.

use crate::{
    Operation, Work,
    world::{self, WAIT_MS, World},
};
use cometbox::core::{Address, Message, Millis, Polled};
use std::{hint::black_box, sync::Arc};

pub fn operations() -> Vec<Operation> {
    let guarded =
        |name, per_step, prepare| Operation { name, guarded: true, per_step, steps: 10, prepare };
    vec![
        guarded("core/deliver/mailbox", 100, || deliver(100, 1, world::to_mailbox)),
        guarded("core/deliver/group-of-1", 100, || deliver(100, 1, world::to_group)),
        guarded("core/deliver/group-of-100", 1, || deliver(1, 100, world::to_group)),
        guarded("core/deliver/group-of-1000", 1, || deliver(1, 1000, world::to_group)),
        guarded("core/poll/held", 100, || Box::new(Hold(World::of(100, "all")))),
        guarded("core/poll/takes-1", 100, || take(1)),
        guarded("core/poll/takes-10", 100, || take(10)),
        guarded("core/poll/takes-100", 100, || take(100)),
        guarded("core/poll/confirms-1", 100, || confirm(1)),
        guarded("core/poll/confirms-100", 100, || confirm(100)),
        Operation {
            name: "core/tick/256-of-100000-expire",
            guarded: false,
            per_step: 1,
            steps: 4,
            prepare: || Box::new(Expire::new(100_000)),
        },
    ]
}

/// A message to each of some addresses, all of whose readers are held.
struct Deliver {
    world: World,
    to: Vec<Address>,
    message: Arc<Message>,
}

/// In a world of one mailbox per group, the mailbox is called as its group.
fn deliver(groups: usize, members: usize, to: fn(&str) -> Address) -> Box<dyn Work> {
    let mut world = World::default();
    let names: Vec<String> = (0..groups).map(|group| format!("receiver-{group}")).collect();
    for group in &names {
        world.join(group, group);
        (1..members).for_each(|n| world.join(&format!("{group}-{n}"), group));
    }
    world.hold_all();
    let to = names.iter().map(|name| to(name)).collect();
    Box::new(Deliver { world, to, message: world::message() })
}

impl Work for Deliver {
    fn step(&mut self) {
        for to in &self.to {
            self.world.send(to, &self.message);
        }
    }

    fn reset(&mut self) {
        assert_eq!(self.world.fx.answers.len(), self.world.clients(), "everybody was answered");
        self.world.answered_poll_again();
    }
}

/// Reads that find nothing.
struct Hold(World);

impl Work for Hold {
    fn step(&mut self) {
        for client in 0..self.0.clients() {
            black_box(self.0.poll(client, WAIT_MS));
        }
    }

    fn reset(&mut self) {
        self.0.core.release_held(self.0.now, &mut self.0.fx);
        assert_eq!(self.0.fx.answers.len(), self.0.clients(), "everybody was held");
        self.0.fx.answers.clear();
        self.0.fx.notices.clear();
    }
}

/// Reads that find so many messages, and do not confirm them.
struct Take(World);

fn take(messages: usize) -> Box<dyn Work> {
    let mut world = World::of(100, "all");
    fill(&mut world, messages);
    Box::new(Take(world))
}

fn fill(world: &mut World, messages: usize) {
    let (to, message) = (world::to_group("all"), world::message());
    (0..messages).for_each(|_| world.send(&to, &message));
}

impl Work for Take {
    fn step(&mut self) {
        for client in 0..self.0.clients() {
            let polled = self.0.poll(client, WAIT_MS);
            assert!(matches!(black_box(polled), Polled::Ready(_)), "something waits");
        }
    }
}

/// Reads that confirm so many messages and find nothing new.
struct Confirm {
    world: World,
    messages: usize,
    sent: u64,
}

fn confirm(messages: usize) -> Box<dyn Work> {
    let mut confirm = Confirm { world: World::of(100, "all"), messages, sent: 0 };
    confirm.reset();
    Box::new(confirm)
}

impl Work for Confirm {
    fn step(&mut self) {
        for client in 0..self.world.clients() {
            let polled = self.world.poll(client, 0);
            assert!(matches!(polled, Polled::Nothing), "all is confirmed");
        }
    }

    fn reset(&mut self) {
        fill(&mut self.world, self.messages);
        self.sent += self.messages as u64;
        (0..self.world.clients()).for_each(|client| self.world.set_cursor(client, self.sent));
        self.world.fx.notices.clear();
    }
}

/// Among very many mailboxes, those expire whose time has come.
struct Expire {
    world: World,
    mailboxes: u64,
    opened: u64,
}

/// What one tick handles.
const RINGS: u64 = 256;

impl Expire {
    fn new(mailboxes: u64) -> Self {
        let mut expire = Self { world: World::default(), mailboxes, opened: 0 };
        (1..=mailboxes).for_each(|ms| expire.open(ms));
        expire
    }

    fn open(&mut self, linger_ms: Millis) {
        self.opened += 1;
        self.world.open(&format!("mailbox-{}", self.opened), &[], linger_ms);
    }
}

impl Work for Expire {
    fn step(&mut self) {
        self.world.now += RINGS;
        self.world.core.tick(self.world.now, &mut self.world.fx);
    }

    fn reset(&mut self) {
        assert_eq!(self.world.fx.notices.len() as u64, RINGS, "one expires in each millisecond");
        self.world.fx.notices.clear();
        (1..=RINGS).for_each(|ms| self.open(self.mailboxes - RINGS + ms));
    }
}
