//! Applying the actions of an event.

use super::{
    AccessError, Action, Address, Answer, Change, CloseCause, Commit, CommitError, Committed,
    Effects, KeptEpitaph, Key, Message, Millis, Name, Notice, OpenMailbox, PluginName, Read,
    SendReport,
    books::Changed,
    growth::{state_bytes, within},
    mailbox::{MAX_SEATS, Mailbox, Membership, Pushed},
    pattern,
    state::{Core, Group},
    timers::{PluginTimer, cancel_timer},
};
use bytes::Bytes;
use smallvec::smallvec;
use std::sync::Arc;

/// Places for so many mailboxes are kept from commit to commit; what a rare
/// crowd has taken is given back.
const MAX_TOUCHED_KEPT: usize = 16_384;

impl Core {
    /// Closes a mailbox for its client; of a shared one only the client's seat,
    /// if there are others.
    ///
    /// # Errors
    /// If there is no such mailbox or the key is wrong.
    pub fn close(
        &mut self,
        now: Millis,
        name: &str,
        key: Key,
        fx: &mut Effects,
    ) -> Result<(), AccessError> {
        const REASON: &str = "closed by its client";
        let slot = self.access(now, name, key)?;
        if self.mailboxes[slot].seats() == 1 {
            self.close_slot(slot, now, CloseCause::Client, REASON, fx);
        } else {
            self.close_front(slot, now, CloseCause::Client, REASON, fx);
            self.mailboxes[slot].end_seat(&mut self.books);
            self.list(slot);
            self.arm(slot);
        }
        Ok(())
    }

    /// Applies the actions of one event: all of them, or (on an error) none.
    ///
    /// # Errors
    /// If what it rests on has changed, or a limit is reached.
    pub fn commit(
        &mut self,
        now: Millis,
        commit: Commit<'_>,
        fx: &mut Effects,
    ) -> Result<Committed, CommitError> {
        if let Some(id) = commit.id {
            if let Some(report) = self.done_before(now, id) {
                return Ok(Committed { sends: smallvec![report], cursor: 0 });
            }
            self.check_room_for(now, id)?;
        }
        self.check(&commit)?;
        let mut committed = Committed::default();
        let mut about = commit.session.map(|session| session.id.slot);
        if let Some(open) = &commit.open {
            let (slot, cursor) = self.open(now, open, fx);
            about = Some(slot);
            committed.cursor = cursor;
        }
        if let Some((to, message)) = commit.publish {
            committed.sends.push(self.send(now, to, message));
        }
        for action in commit.actions {
            self.apply(now, action, about, &mut committed, fx);
        }
        self.feed_touched(now, fx);
        if let Some(id) = commit.id {
            self.remember(now, id, &committed.sends);
        }
        Ok(committed)
    }

    fn feed_touched(&mut self, now: Millis, fx: &mut Effects) {
        // Taken out and put back, since its memory is used again.
        let mut touched = std::mem::take(&mut self.touched);
        fx.answers.reserve(touched.len());
        for slot in touched.drain(..) {
            // Closed by a later action of the same commit: nobody to answer.
            if self.mailboxes.get(slot).is_some_and(|mailbox| mailbox.touched) {
                self.mailboxes[slot].touched = false;
                self.feed(slot, now, fx);
                self.arm(slot);
            }
        }
        if touched.capacity() <= MAX_TOUCHED_KEPT {
            self.touched = touched;
        }
    }

    fn check(&self, commit: &Commit<'_>) -> Result<(), CommitError> {
        if let Some(session) = &commit.session {
            let current = self.mailboxes.get(session.id.slot);
            let Some(mailbox) = current.filter(|m| m.is(session.id)) else {
                return Err(CommitError::Gone);
            };
            if mailbox.version != session.version {
                return Err(CommitError::Conflict);
            }
        }
        if !commit.reads.iter().all(|read| self.still_holds(read)) {
            return Err(CommitError::Conflict);
        }
        if let Some(open) = &commit.open {
            let found = self.mailboxes.find(open.name.as_str()).map(|slot| &self.mailboxes[slot]);
            match found {
                Some(mailbox) if mailbox.shares_with(open) => {
                    if mailbox.seats() >= MAX_SEATS {
                        return Err(CommitError::NoSeat(open.name.clone()));
                    }
                }
                Some(_) if !open.replace => return Err(CommitError::NameTaken(open.name.clone())),
                Some(_) => {}
                None => within("mailboxes", self.limits.max_mailboxes, self.mailboxes.len(), 1)?,
            }
        }
        self.check_growth(commit)
    }

    fn still_holds(&self, read: &Read) -> bool {
        match read {
            Read::Value { key, version } => {
                self.values.get(key).map(|(_, version)| version) == *version
            }
            Read::Group { name, version } => {
                self.groups.find(name).map(|slot| self.groups[slot].version) == *version
            }
            Read::Mailbox { name, attached } => self.attached(name) == *attached,
        }
    }

    /// Where the mailbox is, and behind which seq its client starts.
    fn open(&mut self, now: Millis, open: &OpenMailbox, fx: &mut Effects) -> (u32, u64) {
        if let Some(old) = self.mailboxes.find(open.name.as_str()) {
            if self.mailboxes[old].shares_with(open) {
                return (old, self.take_seat(old, now, open));
            }
            self.close_slot(old, now, CloseCause::Replaced, "opened again elsewhere", fx);
        }
        let version = self.count();
        let slot = self.mailboxes.insert(Mailbox::new(open, version, now));
        self.mailboxes[slot].changed.add(Changed::MARKS);
        self.note_itself(slot);
        self.books.totals.opened += 1;
        self.books.totals.state_bytes += state_bytes(&open.states);
        for group in &open.groups {
            self.join(slot, group, false);
        }
        for message in &open.first {
            let copy = self.fresh(message);
            let message = copy.as_ref().unwrap_or(message);
            let mailbox = &mut self.mailboxes[slot];
            if let Pushed::Queued { seq, .. } = mailbox.push(now, message, &mut self.books) {
                self.note_receiver(self.mailboxes[slot].uid, seq);
                self.note_sent(now, message);
            }
        }
        self.mailboxes[slot].end_of_first_messages();
        self.arm(slot);
        (slot, 0)
    }

    /// A device joins a shared mailbox, which stays as it is but for groups:
    /// first messages would come twice to who is there already.
    fn take_seat(&mut self, slot: u32, now: Millis, open: &OpenMailbox) -> u64 {
        let cursor = self.mailboxes[slot].add_seat(open.key, now);
        self.list(slot);
        for group in &open.groups {
            self.join(slot, group, false);
        }
        self.arm(slot);
        cursor
    }

    fn apply(
        &mut self,
        now: Millis,
        action: Action,
        about: Option<u32>,
        committed: &mut Committed,
        fx: &mut Effects,
    ) {
        match action {
            Action::Send { to, message } => committed.sends.push(self.send(now, &to, &message)),
            Action::Join { mailbox, group, chosen } => {
                if let Some(slot) = self.mailboxes.find(mailbox.as_str()) {
                    self.join(slot, &group, chosen);
                }
            }
            Action::Leave { mailbox, group } => {
                if let Some(slot) = self.mailboxes.find(mailbox.as_str())
                    && let Some(group) = self.groups.find(group.as_str())
                {
                    self.leave(slot, group);
                }
            }
            Action::Close { mailbox, cause, reason } => {
                if let Some(slot) = self.mailboxes.find(mailbox.as_str()) {
                    self.close_slot(slot, now, cause, &reason, fx);
                }
            }
            Action::SetState { plugin, state } => self.set_state(about, plugin, state),
            Action::SetTimer { plugin, mailbox, name, delay_ms } => {
                // Not now: a timer that sets itself again must let time pass.
                let at = now.saturating_add(delay_ms.max(1));
                let timer = PluginTimer { plugin, name, at };
                self.set_timer(mailbox, timer);
            }
            Action::CancelTimer { plugin, mailbox, name } => {
                if let Some(timers) = self.timers_of(mailbox.as_ref())
                    && cancel_timer(timers, &plugin, &name)
                {
                    self.timers -= 1;
                    self.note_timer(mailbox.as_ref(), &plugin, &name, None);
                }
            }
            Action::Put { key, value } => {
                let version = self.count();
                self.books.note(|| Change::Value { key: key.clone(), value: Some(value.clone()) });
                self.values.put(&key, value, version);
            }
            Action::Delete { key } => {
                self.values.delete(&key);
                self.books.note(|| Change::Value { key, value: None });
            }
        }
    }

    /// Each receiver once, in one order for all: `mark` tells who has it.
    fn send(&mut self, now: Millis, to: &Address, message: &Arc<Message>) -> SendReport {
        let mut report = SendReport::default();
        let copy = self.fresh(message);
        let message = copy.as_ref().unwrap_or(message);
        let mark = self.count();
        for name in &to.except {
            if let Some(slot) = self.mailboxes.find(name.as_str()) {
                self.mailboxes[slot].mark = mark;
            }
        }
        if let [first, others @ ..] = &to.groups[..] {
            message.channel.get_or_init(|| first.clone());
            self.put_in_all(first, now, message, mark, &mut report);
            self.note_sent(now, message);
            if !others.is_empty() || !to.mailboxes.is_empty() {
                self.put_in_others(now, to, message, mark, &mut report);
            }
            return report;
        }
        for name in &to.mailboxes {
            match self.mailboxes.find(name.as_str()) {
                Some(slot) => self.put_in(slot, now, message, mark, &mut report),
                None => report.missing.push(name.clone()),
            }
        }
        self.note_sent(now, message);
        report
    }

    /// What was sent to the first of these groups goes to the others, and to
    /// mailboxes by name: a message for each, for a reader is told a channel
    /// that it is in.
    #[cold]
    #[inline(never)] // as below
    fn put_in_others(
        &mut self,
        now: Millis,
        to: &Address,
        message: &Message,
        mark: u64,
        report: &mut SendReport,
    ) {
        for name in &to.groups[1..] {
            if self.patterns > 0 || self.groups.find(name.as_str()).is_some() {
                let message = message.by(Some(name));
                self.put_in_all(name, now, &message, mark, report);
                self.note_sent(now, &message);
            }
        }
        let mut by_name = None;
        for name in &to.mailboxes {
            match self.mailboxes.find(name.as_str()) {
                Some(slot) if self.mailboxes[slot].mark == mark => {}
                Some(slot) => {
                    let message = by_name.get_or_insert_with(|| message.by(None));
                    self.put_in(slot, now, message, mark, report);
                }
                None => report.missing.push(name.clone()),
            }
        }
        if let Some(message) = &by_name {
            self.note_sent(now, message);
        }
    }

    /// To a group, and to the patterns that match it.
    #[inline]
    fn put_in_all(
        &mut self,
        name: &Name,
        now: Millis,
        message: &Arc<Message>,
        mark: u64,
        report: &mut SendReport,
    ) {
        self.put_in_group(name.as_str(), now, message, mark, report);
        if self.patterns > 0 {
            self.put_in_matching(name.as_str(), now, message, mark, report);
        }
    }

    #[cold]
    #[inline(never)] // what most sends do not need is kept out of their way
    fn put_in_matching(
        &mut self,
        name: &str,
        now: Millis,
        message: &Arc<Message>,
        mark: u64,
        report: &mut SendReport,
    ) {
        pattern::each_that_matches(name, |pattern| {
            self.put_in_group(pattern, now, message, mark, report);
        });
    }

    fn put_in_group(
        &mut self,
        name: &str,
        now: Millis,
        message: &Arc<Message>,
        mark: u64,
        report: &mut SendReport,
    ) {
        let Some(group) = self.groups.find(name) else { return };
        let members = std::mem::take(&mut self.groups[group].members);
        for slot in &members {
            self.put_in(*slot, now, message, mark, report);
        }
        self.groups[group].members = members;
    }

    #[inline]
    fn put_in(
        &mut self,
        slot: u32,
        now: Millis,
        message: &Arc<Message>,
        mark: u64,
        report: &mut SendReport,
    ) {
        let mailbox = &mut self.mailboxes[slot];
        if mailbox.mark == mark {
            return;
        }
        mailbox.mark = mark;
        let fits =
            self.books.totals.queued_bytes + message.len_bytes() <= self.limits.max_queued_bytes;
        let pushed = if fits { mailbox.push(now, message, &mut self.books) } else { Pushed::Full };
        if let Some(record) = &mut self.books.record {
            if let Pushed::Queued { seq, .. } = pushed {
                record.receivers.push((mailbox.uid, seq));
            }
            // Not a note per receiver: only where something was dropped.
            if mailbox.changed.list() {
                record.changed.push(slot);
            }
        }
        match pushed {
            Pushed::Full => report.full.push(mailbox.name.clone()),
            Pushed::Queued { dropped, .. } => {
                report.queued += 1;
                report.dropped += dropped;
                if mailbox.is_waited_for() && !mailbox.touched {
                    mailbox.touched = true;
                    self.touched.push(slot);
                } else if message.ttl_ms.is_some() {
                    self.arm(slot);
                }
            }
        }
    }

    fn set_state(&mut self, about: Option<u32>, plugin: PluginName, state: Option<Bytes>) {
        let version = self.count();
        // Closed by an earlier action of the same commit: nothing to keep.
        let Some(mailbox) = about.and_then(|slot| self.mailboxes.get_mut(slot)) else { return };
        mailbox.version = version;
        self.books.totals.state_bytes -= state_bytes(&mailbox.states);
        mailbox.states.retain(|(p, _)| *p != plugin);
        if let Some(state) = state {
            mailbox.states.push((plugin, state));
        }
        self.books.totals.state_bytes += state_bytes(&mailbox.states);
        if let Some(slot) = about {
            self.note_itself(slot);
        }
    }

    /// Who is in it already stays as it is.
    pub(super) fn join(&mut self, mailbox: u32, name: &Name, chosen: bool) {
        let version = self.count();
        let group = self.groups.find(name.as_str()).unwrap_or_else(|| {
            self.patterns += usize::from(name.is_pattern());
            self.groups.insert(Group { name: name.clone(), members: Vec::new(), version })
        });
        if self.mailboxes[mailbox].membership(group).is_some() {
            return;
        }
        let Group { members, version: of_group, .. } = &mut self.groups[group];
        *of_group = version;
        let membership = Membership::new(group, members.len(), chosen);
        members.push(mailbox);
        self.mailboxes[mailbox].groups.push(membership);
        self.note_itself(mailbox);
    }

    fn leave(&mut self, mailbox: u32, slot: u32) {
        let version = self.count();
        let groups = &mut self.mailboxes[mailbox].groups;
        let Some(at) = groups.iter().position(|membership| membership.group == slot) else {
            return;
        };
        let place = groups.swap_remove(at).place();
        self.note_itself(mailbox);
        let group = &mut self.groups[slot];
        group.version = version;
        group.members.swap_remove(place as usize);
        match group.members.get(place as usize) {
            Some(&moved) => self.mailboxes[moved].moved_in(slot, place),
            None if group.members.is_empty() => {
                let gone = self.groups.remove(slot);
                self.patterns -= usize::from(gone.name.is_pattern());
            }
            None => {}
        }
    }

    pub(super) fn close_slot(
        &mut self,
        slot: u32,
        now: Millis,
        cause: CloseCause,
        reason: &str,
        fx: &mut Effects,
    ) {
        if cause != CloseCause::Client {
            // The last words, say of a plugin that sends and then closes.
            self.feed(slot, now, fx);
        }
        self.for_each_seat(slot, |core| core.close_front(slot, now, cause, reason, fx));
        while let Some(membership) = self.mailboxes[slot].groups.first().copied() {
            self.leave(slot, membership.group);
        }
        let mut mailbox = self.mailboxes.remove(slot);
        mailbox.clear(&mut self.books);
        self.books.note(|| Change::Closed { mailbox: mailbox.uid });
        self.books.totals.state_bytes -= state_bytes(&mailbox.states);
        self.timers -= mailbox.timers().len();
        self.books.totals.closed += 1;
        fx.notices.push_back(Notice::Closed(mailbox.session(slot), cause));
    }

    /// Tells the reader of the seat in front that it is over, now or when it
    /// comes back.
    fn close_front(
        &mut self,
        slot: u32,
        now: Millis,
        cause: CloseCause,
        reason: &str,
        fx: &mut Effects,
    ) {
        if let Some(reader) = self.end_read(slot, now) {
            fx.answers.push((reader.conn, Answer::Closed { cause, reason: reason.into() }));
        }
        if cause != CloseCause::Expired {
            let mailbox = &self.mailboxes[slot];
            let (name, key) = (mailbox.name.clone(), mailbox.seat.key);
            let until = self.closed.note(now, name.clone(), key, cause, reason);
            self.books.note(|| {
                Change::Epitaph(
                    KeptEpitaph { name, key, cause, reason: reason.into(), until }.into(),
                )
            });
        }
    }
}
