//! Worlds with a store, whose gateway dies now and then: of what nobody was
//! promised anything may be gone, and of the rest nothing.

use super::{
    model::ModelBox,
    store::{Fault, Moment, Store},
    world::{Client, Device, World, limits},
};
use cometbox::{
    app::{Answers, App},
    core::{Core, Restart},
    store::Durability,
};

/// What a world with a store remembers beside its model.
pub struct Keeping {
    store: Store,
    durability: Durability,
    fault: Option<Fault>,
    /// Done; its answer waits until it is kept.
    pending: Vec<Promise>,
    /// Answered.
    given: Vec<Promise>,
    crashes: usize,
}

/// What an answer says.
#[derive(Clone)]
pub enum Promise {
    /// A message with this text is in its mailboxes.
    Message(String),
    /// A device has a mailbox, and now learns of its key.
    Open(Device, Client),
    /// So many `count` commands have succeeded.
    Counted(u64),
}

impl World {
    /// One with a store; `fault` is what is wrong with it.
    pub fn kept(seed: u64, fault: Option<Fault>) -> Self {
        const ALL: [Durability; 3] = [Durability::None, Durability::Os, Durability::Disk];
        let mut world = Self::new(seed);
        world.keeping = Some(Keeping {
            store: Store::new(fault),
            durability: ALL[(seed % 3) as usize],
            fault,
            pending: Vec::new(),
            given: Vec::new(),
            crashes: 0,
        });
        if !world.start_up(false) {
            world.crash();
        }
        world
    }

    fn keeping(&mut self) -> &mut Keeping {
        self.keeping.as_mut().expect("a world with a store")
    }

    pub fn crashes(&self) -> usize {
        self.keeping.as_ref().map_or(0, |keeping| keeping.crashes)
    }

    /// Something was done that changes what there is.
    pub(super) fn taken(&mut self, promise: Promise) {
        match &mut self.keeping {
            None => self.answer(promise),
            Some(keeping) => {
                keeping.pending.push(promise);
                let is_early = keeping.fault == Some(Fault::AcknowledgesEarly);
                if keeping.durability == Durability::None || is_early {
                    self.answer_all();
                }
            }
        }
    }

    fn answer_all(&mut self) {
        for promise in std::mem::take(&mut self.keeping().pending) {
            self.keeping().given.push(promise.clone());
            self.answer(promise);
        }
    }

    fn answer(&mut self, promise: Promise) {
        if let Promise::Open(device, client) = promise {
            self.clients.insert(device, client);
        }
    }

    /// Whether the gateway takes nothing new, since it could not be kept.
    pub(super) fn is_refused(&mut self) -> bool {
        let is_refused = self.keeping.as_ref().is_some_and(|keeping| keeping.store.is_failing);
        if is_refused {
            self.note(format_args!("refused: the store cannot be written"));
        }
        is_refused
    }

    /// What happens to a store between two steps.
    pub(super) fn keep(&mut self) {
        match self.rng.u32(0..100) {
            0..2 => self.crash(),
            2 => self.stop_and_start(),
            3..7 => {
                let is_full = self.rng.u32(0..3) == 0;
                self.keeping().store.is_full = is_full;
            }
            7..40 => {
                let keeping = self.keeping();
                // Whoever waits for the disk brings a sync about.
                let waits = keeping.durability == Durability::Disk && !keeping.pending.is_empty();
                let sync = waits || self.rng.u32(0..8) == 0;
                self.write(sync);
            }
            _ => {}
        }
    }

    /// Whether there was room.
    fn write(&mut self, sync: bool) -> bool {
        let boxes = self.boxes.clone();
        let moment = Moment { boxes, counted: self.counted, seen: Some(self.now) };
        let keeping = self.keeping();
        let is_written = keeping.store.write(sync, moment);
        let is_enough = sync || keeping.durability < Durability::Disk;
        self.note(format_args!("write sync={sync} {is_written}"));
        if !is_written {
            // They are told so. It may be there all the same.
            self.keeping().pending.clear();
        } else if is_enough {
            self.answer_all();
        }
        is_written
    }

    /// The gateway dies, alone or with the whole machine, perhaps several times
    /// until it is up again.
    pub(super) fn crash(&mut self) {
        loop {
            let is_power_cut = self.rng.bool();
            let unsynced = self.keeping().store.unsynced();
            let surviving = if is_power_cut { self.rng.usize(0..=unsynced) } else { unsynced };
            let keeping = self.keeping();
            keeping.store.crash(surviving);
            keeping.pending.clear();
            keeping.crashes += 1;
            self.note(format_args!(
                "crash power_cut={is_power_cut}: {surviving} of {unsynced} unsynced survive"
            ));
            self.check_promises(is_power_cut);
            if self.start_up(true) {
                return;
            }
        }
    }

    fn stop_and_start(&mut self) {
        let now = self.now;
        for seat in self.boxes.values_mut().flat_map(|mailbox| &mut mailbox.seats) {
            if let Some(held) = seat.held.take() {
                seat.away_since = now;
                self.ending.push((held.conn, "Nothing"));
            }
        }
        let mut out = Answers::new();
        self.app.release_held(self.now(), &mut out);
        self.note(format_args!("stop"));
        self.apply(out);
        // What cannot be written at the end is as lost as in a crash.
        if !self.write(true) || !self.start_up(false) {
            self.crash();
        }
    }

    /// A new gateway, after a while; whether it lives long enough to let clients
    /// in. `cut_off`: the one before died.
    fn start_up(&mut self, cut_off: bool) -> bool {
        self.now += self.rng.u64(0..3_000);
        let is_full = self.rng.u32(0..4) == 0;
        self.keeping().store.is_full = is_full;
        while self.rng.u32(0..8) == 0 {
            self.note(format_args!("a start is refused: the store cannot be read"));
            self.now += self.rng.u64(0..3_000);
        }
        let keeping = self.keeping();
        let (image, moment) = keeping.store.read();
        let (keeper, is_careless) =
            (keeping.store.keeper(), keeping.fault == Some(Fault::ReusesSeqs));
        let restart = Restart {
            now: self.now,
            down_since: moment.seen.unwrap_or(self.now),
            grace_ms: self.rng.u64(0..1_500),
            cut_off: cut_off && moment.seen.is_some(),
        };
        self.note(format_args!("start {restart:?}"));
        for client in self.clients.values_mut() {
            client.stream = None;
        }
        (self.boxes, self.counted) = (moment.boxes, moment.counted);
        self.boxes.values_mut().for_each(|mailbox| mailbox.restart(&restart));
        let told = Restart { cut_off: restart.cut_off && !is_careless, ..restart };
        let core = Core::restore(limits().core, image, &told);
        let seed = self.rng.u64(..);
        self.app = App::kept("sim", limits(), core, seed, Box::new(|| {}), keeper);
        // What the restart has changed is kept before anybody comes in.
        if self.rng.u32(0..8) == 0 || !self.write(true) {
            return false;
        }
        self.version = 0;
        self.swap(false);
        true
    }

    /// What was answered is there, as far as the setting promises it.
    fn check_promises(&mut self, is_power_cut: bool) {
        let keeping = self.keeping.as_ref().expect("a world with a store");
        let holds = match keeping.durability {
            Durability::None => false,
            Durability::Os => !is_power_cut,
            Durability::Disk => true,
        };
        if !holds {
            return self.keeping().given.clear();
        }
        let (_, kept) = keeping.store.read();
        for promise in &keeping.given {
            // What has ended since, or was read, need not be there.
            for (who, mailbox) in &self.boxes {
                let kept = kept.boxes.get(who);
                let is_kept =
                    |has: &dyn Fn(&ModelBox) -> bool| !has(mailbox) || kept.is_some_and(has);
                match promise {
                    Promise::Message(text) => {
                        assert!(is_kept(&|one| one.has(text)), "{text} for {who} is lost");
                    }
                    Promise::Open((name, _), client) if name == who => {
                        assert!(is_kept(&|one| one.has_seat(client.key)), "{who}'s seat is lost");
                    }
                    _ => {}
                }
            }
            if let Promise::Counted(count) = promise {
                assert!(kept.counted >= *count, "count {count} is lost");
            }
        }
    }

    /// For the end: there is room, and everything is written and answered.
    pub(super) fn keep_all(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.store.is_full = false;
            assert!(self.write(true), "there is room");
        }
    }

    /// Nothing waits, so a store has given its space back.
    pub(super) fn check_store_is_empty(&mut self) {
        self.keep_all();
        if let Some(keeping) = &self.keeping
            && keeping.fault != Some(Fault::SkipsSyncs)
        {
            assert_eq!(keeping.store.messages(), (0, 0), "nothing waits");
        }
    }
}
