//! The state of one app and what can be done to it.

use super::{
    AccessError, Answer, ConnId, CoreLimits, Effects, Key, MailboxId, Millis, Name, Notice, Polled,
    ReadFrom, Session, Totals, Version,
    books::{Books, Changed},
    closed::ClosedMemory,
    mailbox::{Mailbox, Reader},
    published::Published,
    table::{Named, Table},
    timers::{Alarms, PluginTimer},
    values::Values,
};
use bytes::Bytes;

/// A set of mailboxes. Exists while it has members.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Name,
    /// Slots of mailboxes; each of them knows its place here. Removal swaps, so
    /// the order is not that of joining, but the same calls give the same order.
    pub(super) members: Vec<u32>,
    pub(super) version: Version,
}

impl Named for Group {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

/// Mailboxes, groups, timers and values of one app.
#[derive(Debug)]
pub struct Core {
    pub(super) limits: CoreLimits,
    pub(super) mailboxes: Table<Mailbox>,
    pub(super) groups: Table<Group>,
    pub(super) values: Values,
    pub(super) closed: ClosedMemory,
    pub(super) published: Published,
    pub(super) alarms: Alarms,
    /// Plugin timers that belong to no mailbox.
    pub(super) app_timers: Vec<PluginTimer>,
    /// For them and for what is published.
    pub(super) app_alarm_at: Millis,
    /// Plugin timers of mailboxes and app together.
    pub(super) timers: usize,
    pub(super) books: Books,
    /// Source of versions, serials and marks.
    counter: u64,
    /// Mailboxes with a held read that got a message in this commit.
    pub(super) touched: Vec<u32>,
    /// Groups whose name is a pattern: while there is none, no send looks for
    /// them.
    pub(super) patterns: usize,
}

impl Core {
    #[must_use]
    pub fn new(limits: CoreLimits) -> Self {
        Self {
            limits,
            mailboxes: Table::new(),
            groups: Table::new(),
            values: Values::default(),
            closed: ClosedMemory::new(limits.closed_memory_ms),
            published: Published::new(),
            alarms: Alarms::default(),
            app_timers: Vec::new(),
            app_alarm_at: Millis::MAX,
            timers: 0,
            books: Books::default(),
            counter: 0,
            touched: Vec::new(),
            patterns: 0,
        }
    }

    /// Other limits from now on. What is over them already stays.
    pub fn set_limits(&mut self, limits: CoreLimits) {
        self.limits = limits;
        self.closed.keep_for(limits.closed_memory_ms);
    }

    // ---- looking ----

    /// A mailbox for an event, opened with its key.
    ///
    /// # Errors
    /// If there is no such mailbox or the key is not its own.
    pub fn session(&self, now: Millis, name: &str, key: Key) -> Result<Session, AccessError> {
        match self.mailboxes.find(name) {
            Some(slot) if self.mailboxes[slot].place_of(key).is_some() => {
                Ok(self.mailboxes[slot].session(slot))
            }
            found => Err(self.no_access(now, name, key, found)),
        }
    }

    /// The same mailbox as it is now, if it is still there.
    #[must_use]
    pub fn session_again(&self, id: MailboxId) -> Option<Session> {
        let mailbox = self.mailboxes.get(id.slot).filter(|m| m.is(id))?;
        Some(mailbox.session(id.slot))
    }

    /// The members of a group, and the group's version if it exists.
    #[must_use]
    pub fn members(&self, group: &str) -> (Vec<Name>, Option<Version>) {
        self.groups.find(group).map_or((Vec::new(), None), |slot| {
            let group = &self.groups[slot];
            let names = group.members.iter().map(|m| self.mailboxes[*m].name.clone()).collect();
            (names, Some(group.version))
        })
    }

    /// How many members a group has, and its version if it exists.
    #[must_use]
    pub fn member_count(&self, group: &str) -> (usize, Option<Version>) {
        self.groups.find(group).map_or((0, None), |slot| {
            let group = &self.groups[slot];
            (group.members.len(), Some(group.version))
        })
    }

    /// Of these groups the first that a plugin has put the mailbox into, and not
    /// its client.
    #[must_use]
    pub fn put_into<'a>(&self, id: MailboxId, groups: &'a [Name]) -> Option<&'a Name> {
        let mailbox = self.mailboxes.get(id.slot).filter(|mailbox| mailbox.is(id))?;
        groups.iter().find(|name| {
            let group = self.groups.find(name.as_str());
            let membership = group.and_then(|group| mailbox.membership(group));
            membership.is_some_and(|membership| !membership.is_chosen())
        })
    }

    /// Whether a mailbox is attached; none if it does not exist.
    #[must_use]
    pub fn attached(&self, name: &str) -> Option<bool> {
        self.mailboxes.find(name).map(|slot| self.mailboxes[slot].attached)
    }

    /// A value and its version.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<(Bytes, Version)> {
        self.values.get(key).map(|(value, version)| (value.clone(), version))
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            mailboxes: self.mailboxes.len(),
            groups: self.groups.len(),
            values: self.values.len(),
            value_bytes: self.values.bytes(),
            publish_ids: self.published.len(),
            ..self.books.totals
        }
    }

    /// When [`Core::tick`] has something to do; `Millis::MAX`: nothing is due.
    #[must_use]
    pub fn next_deadline(&self) -> Millis {
        self.alarms.next()
    }

    /// The mailbox, with the seat that the key opens in front.
    pub(super) fn access(&mut self, now: Millis, name: &str, key: Key) -> Result<u32, AccessError> {
        match self.mailboxes.find(name) {
            Some(slot) if self.mailboxes[slot].turn_to_key(key) => Ok(slot),
            found => Err(self.no_access(now, name, key, found)),
        }
    }

    #[cold]
    fn no_access(&self, now: Millis, name: &str, key: Key, found: Option<u32>) -> AccessError {
        match self.closed.find(now, name, key) {
            Some((cause, reason)) => AccessError::Closed { cause, reason },
            None if found.is_some() => AccessError::WrongKey,
            None => AccessError::NotFound,
        }
    }

    // ---- reading ----

    /// Starts a read, and answers or holds it. A held read gets its answer
    /// through some later call's effects, within `wait_ms`.
    ///
    /// # Errors
    /// If there is no such mailbox, the key is wrong, or the cursor is ahead.
    #[allow(clippy::too_many_arguments)] // one read's parameters; a struct would only rename them
    pub fn poll(
        &mut self,
        now: Millis,
        name: &str,
        key: Key,
        from: ReadFrom,
        wait_ms: Millis,
        conn: ConnId,
        fx: &mut Effects,
    ) -> Result<Polled, AccessError> {
        let slot = self.access(now, name, key)?;
        let mailbox = &mut self.mailboxes[slot];
        let cursor = match from {
            ReadFrom::Cursor(_) | ReadFrom::Handed => {
                let cursor = match from {
                    ReadFrom::Cursor(cursor) => cursor.unwrap_or(mailbox.confirmed()),
                    _ => mailbox.handed(),
                };
                mailbox.check_cursor(cursor)?;
                if let Some(reader) = mailbox.let_go() {
                    self.books.totals.held -= 1;
                    fx.answers.push((reader.conn, Answer::Displaced));
                }
                mailbox.confirm(cursor, &mut self.books);
                mailbox.read_by(conn);
                cursor
            }
            ReadFrom::Position(_) if !mailbox.is_read_by(conn) => return Ok(Polled::Displaced),
            ReadFrom::Position(position) => position,
        };
        mailbox.seat.away_since = now;
        if !mailbox.attached {
            mailbox.attached = true;
            mailbox.changed.add(Changed::ITSELF);
            fx.notices.push_back(Notice::Attached(mailbox.session(slot)));
        }
        let (messages, bytes) = (self.limits.max_batch_messages, self.limits.max_batch_bytes);
        let polled = match mailbox.take(now, cursor, messages, bytes, &mut self.books) {
            Some(batch) => Polled::Ready(batch),
            None if wait_ms == 0 => Polled::Nothing,
            None => {
                mailbox.hold(cursor, now.saturating_add(wait_ms));
                self.books.totals.held += 1;
                Polled::Held(mailbox.id(slot))
            }
        };
        self.list(slot);
        self.arm(slot);
        Ok(polled)
    }

    /// Up to where the reader with this key has confirmed.
    ///
    /// # Errors
    /// If there is no such mailbox or the key is wrong.
    pub fn confirmed(&mut self, now: Millis, name: &str, key: Key) -> Result<u64, AccessError> {
        let slot = self.access(now, name, key)?;
        Ok(self.mailboxes[slot].confirmed())
    }

    /// A reader has processed everything up to `cursor`, and says so without
    /// reading on.
    ///
    /// # Errors
    /// If there is no such mailbox, the key is wrong, or the cursor is ahead.
    pub fn confirm(
        &mut self,
        now: Millis,
        name: &str,
        key: Key,
        cursor: u64,
    ) -> Result<(), AccessError> {
        let slot = self.access(now, name, key)?;
        let mailbox = &mut self.mailboxes[slot];
        mailbox.check_cursor(cursor)?;
        mailbox.confirm(cursor, &mut self.books);
        self.list(slot);
        Ok(())
    }

    /// The connection of a held read is gone.
    pub fn detach(&mut self, now: Millis, mailbox: MailboxId, conn: ConnId) {
        let slot = mailbox.slot;
        if let Some(mailbox) = self.mailboxes.get_mut(slot).filter(|m| m.is(mailbox))
            && let Some(place) = mailbox.place_held_by(conn)
        {
            mailbox.turn_to(place);
            self.end_read(slot, now);
            self.arm(slot);
        }
    }

    /// Ends every held read with [`Answer::Nothing`].
    pub fn release_held(&mut self, now: Millis, fx: &mut Effects) {
        let held: Vec<u32> = self
            .mailboxes
            .iter()
            .filter_map(|(slot, mailbox)| mailbox.is_waited_for().then_some(slot))
            .collect();
        for slot in held {
            self.for_each_seat(slot, |core| {
                if let Some(reader) = core.end_read(slot, now) {
                    fx.answers.push((reader.conn, Answer::Nothing));
                }
            });
            self.arm(slot);
        }
    }

    /// Of the seat in front.
    pub(super) fn end_read(&mut self, slot: u32, now: Millis) -> Option<Reader> {
        let mailbox = &mut self.mailboxes[slot];
        let reader = mailbox.let_go()?;
        mailbox.seat.away_since = now;
        self.books.totals.held -= 1;
        Some(reader)
    }

    /// Answers the held reads for which there is something.
    #[inline]
    pub(super) fn feed(&mut self, slot: u32, now: Millis, fx: &mut Effects) {
        self.for_each_seat(slot, |core| core.feed_front(slot, now, fx));
    }

    /// Does something with each seat of a mailbox in front.
    #[inline]
    pub(super) fn for_each_seat(&mut self, slot: u32, mut what: impl FnMut(&mut Self)) {
        what(self);
        if self.mailboxes[slot].has_others() {
            self.for_each_other(slot, what);
        }
    }

    #[cold]
    fn for_each_other(&mut self, slot: u32, mut what: impl FnMut(&mut Self)) {
        for place in self.mailboxes[slot].other_places() {
            self.mailboxes[slot].turn_to(place);
            what(self);
        }
    }

    fn feed_front(&mut self, slot: u32, now: Millis, fx: &mut Effects) {
        let mailbox = &mut self.mailboxes[slot];
        let Some(&Reader { conn, cursor, .. }) = mailbox.reader() else { return };
        let (messages, bytes) = (self.limits.max_batch_messages, self.limits.max_batch_bytes);
        if let Some(batch) = mailbox.take(now, cursor, messages, bytes, &mut self.books) {
            self.end_read(slot, now);
            fx.answers.push((conn, Answer::Batch(batch)));
        }
        self.list(slot);
    }

    /// The next number for a version, serial or mark.
    pub(super) fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Numbers that were given before a restart are not given again.
    pub(super) fn count_from(&mut self, first: u64) {
        self.counter = self.counter.max(first.saturating_sub(1));
    }
}
