//! Reads that tasks wait for: from a connection's number to the task.

use super::super::{browsers::Counted, hosted::HostedApp};
use crate::core::{Answer, ConnId, MailboxId};
use parking_lot::Mutex;
use slab::Slab;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The reads that tasks hold, or are about to.
#[derive(Default)]
pub(in super::super) struct HeldReads {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    slab: Slab<Slot>,
    /// Tells a slot's tenants apart, so that an answer for the one before does
    /// not reach the next.
    serial: u32,
}

struct Slot {
    serial: u32,
    state: State,
}

enum State {
    /// None: nobody has asked yet.
    Waiting(Option<Waker>),
    Answered(Answer),
}

impl HeldReads {
    fn add(&self) -> ConnId {
        let mut slots = self.slots.lock();
        slots.serial = slots.serial.wrapping_add(1);
        // The highest bit marks the front's.
        let serial = slots.serial & (u32::MAX >> 1);
        let index = slots.slab.insert(Slot { serial, state: State::Waiting(None) });
        ConnId(u64::from(serial) << 32 | index as u64)
    }

    /// Hands an answer to the read it is for. One that is gone gets nothing;
    /// its messages stay unconfirmed.
    pub(in super::super) fn answer(&self, conn: ConnId, answer: Answer) {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get(conn) else { return };
        let before = std::mem::replace(&mut slot.state, State::Answered(answer));
        drop(slots);
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }

    /// True if it had no answer.
    fn remove(&self, conn: ConnId) -> bool {
        let mut slots = self.slots.lock();
        if slots.get(conn).is_none() {
            return false;
        }
        let slot = slots.slab.remove(index(conn));
        drop(slots);
        matches!(slot.state, State::Waiting(_))
    }
}

impl Slots {
    fn get(&mut self, conn: ConnId) -> Option<&mut Slot> {
        let slot = self.slab.get_mut(index(conn))?;
        (u64::from(slot.serial) == conn.0 >> 32).then_some(slot)
    }
}

fn index(conn: ConnId) -> usize {
    (conn.0 & u64::from(u32::MAX)) as usize
}

/// One such read, or one after the other: resolves to its answer. Dropping it
/// before takes the connection back from the mailbox, for its client has gone
/// away.
pub(super) struct HeldRead {
    app: Arc<HostedApp>,
    /// None: it is not held yet.
    mailbox: Option<MailboxId>,
    conn: ConnId,
    counted: Option<Counted>,
}

impl HeldRead {
    /// To be made before the read starts, since its answer can come before the
    /// call that starts it returns.
    pub(super) fn new(app: Arc<HostedApp>) -> Self {
        let conn = app.readers.held.add();
        Self { app, mailbox: None, conn, counted: None }
    }

    pub(super) fn app(&self) -> &Arc<HostedApp> {
        &self.app
    }

    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }

    /// It came to be held.
    pub(super) fn held_by(&mut self, mailbox: MailboxId) {
        self.mailbox = Some(mailbox);
    }

    /// As long as it lives it counts among its browser's.
    pub(super) fn counts(&mut self, counted: Option<Counted>) {
        self.counted = counted;
    }
}

impl HeldRead {
    /// Its answer. Afterwards it can be held again.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut slots = self.app.readers.held.slots.lock();
        let slot = slots.get(self.conn).expect("it has its slot until it is dropped");
        match std::mem::replace(&mut slot.state, State::Waiting(None)) {
            State::Answered(answer) => {
                self.mailbox = None;
                Poll::Ready(answer)
            }
            State::Waiting(waker) => {
                let waker = waker.filter(|waker| waker.will_wake(cx.waker()));
                let waker = waker.unwrap_or_else(|| cx.waker().clone());
                slot.state = State::Waiting(Some(waker));
                Poll::Pending
            }
        }
    }
}

impl Future for HeldRead {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.get_mut().poll_answer(cx)
    }
}

impl Drop for HeldRead {
    fn drop(&mut self) {
        // Before others can see that the read is gone.
        self.counted = None;
        if self.app.readers.held.remove(self.conn)
            && let Some(mailbox) = self.mailbox
        {
            self.app.detach(mailbox, self.conn);
        }
    }
}
