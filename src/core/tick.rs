//! What happens because time passes.

use super::{
    Answer, Change, CloseCause, Effects, MailboxId, Millis, Name, Notice, PluginName,
    books::Changed,
    state::Core,
    timers::{Owner, PluginTimer, first_due, set_timer, take_due},
};

/// Most alarms handled in one [`Core::tick`], so that a crowd that expires at
/// once does not hold the lock for long.
const MAX_RINGS_PER_TICK: usize = 256;

impl Core {
    /// Does what is due at `now`. At most [`MAX_RINGS_PER_TICK`] alarms; if
    /// more are due, [`Core::next_deadline`] is still in the past.
    pub fn tick(&mut self, now: Millis, fx: &mut Effects) {
        for _ in 0..MAX_RINGS_PER_TICK {
            let Some((at, owner)) = self.alarms.pop_due(now) else { break };
            match owner {
                Owner::App if at == self.app_alarm_at => self.ring_app(now, fx),
                Owner::Mailbox(id) if self.is_live(at, id) => self.ring(id.slot, now, fx),
                _ => {}
            }
        }
    }

    fn is_live(&self, at: Millis, id: MailboxId) -> bool {
        self.mailboxes.get(id.slot).is_some_and(|m| m.is(id) && m.alarm_at == at)
    }

    fn ring_app(&mut self, now: Millis, fx: &mut Effects) {
        self.app_alarm_at = Millis::MAX;
        for timer in take_due(&mut self.app_timers, now) {
            self.timers -= 1;
            let PluginTimer { plugin, name, .. } = timer;
            self.note_timer(None, &plugin, &name, None);
            fx.notices.push_back(Notice::Timer { plugin, name, session: None });
        }
        self.published.ring(now);
        self.arm_app();
    }

    fn ring(&mut self, slot: u32, now: Millis, fx: &mut Effects) {
        let mailbox = &mut self.mailboxes[slot];
        mailbox.alarm_at = Millis::MAX;
        mailbox.ring(now, &mut self.books);
        for timer in mailbox.take_due_timers(now) {
            self.timers -= 1;
            mailbox.changed.add(Changed::ITSELF);
            let session = Some(mailbox.session(slot));
            let PluginTimer { plugin, name, .. } = timer;
            fx.notices.push_back(Notice::Timer { plugin, name, session });
        }
        self.feed(slot, now, fx);
        self.for_each_seat(slot, |core| {
            if core.mailboxes[slot].reader().is_some_and(|reader| reader.until <= now)
                && let Some(reader) = core.end_read(slot, now)
            {
                fx.answers.push((reader.conn, Answer::Nothing));
            }
        });
        let mailbox = &mut self.mailboxes[slot];
        if !mailbox.end_late_seats(now, &mut self.books) {
            return self.close_slot(slot, now, CloseCause::Expired, "expired", fx);
        }
        let grace_ms = self.limits.detach_grace_ms;
        if mailbox.attached
            && mailbox.away_since().is_some_and(|since| now >= since.saturating_add(grace_ms))
        {
            mailbox.attached = false;
            mailbox.changed.add(Changed::ITSELF);
            fx.notices.push_back(Notice::Detached(mailbox.session(slot)));
        }
        self.list(slot);
        self.arm(slot);
    }

    /// Sets a mailbox's alarm if something is due earlier than it rings.
    pub(super) fn arm(&mut self, slot: u32) {
        let grace_ms = self.limits.detach_grace_ms;
        let mailbox = &mut self.mailboxes[slot];
        let due = mailbox.due(grace_ms);
        if due < mailbox.alarm_at {
            mailbox.alarm_at = due;
            let owner = Owner::Mailbox(mailbox.id(slot));
            self.alarms.set(due, owner);
            let mailboxes = &self.mailboxes;
            let app_alarm_at = self.app_alarm_at;
            self.alarms.sweep(mailboxes.len(), |at, owner| match owner {
                Owner::App => at == app_alarm_at,
                Owner::Mailbox(id) => {
                    mailboxes.get(id.slot).is_some_and(|m| m.is(id) && m.alarm_at == at)
                }
            });
        }
    }

    pub(super) fn arm_app(&mut self) {
        let due = first_due(&self.app_timers).min(self.published.due());
        if due < self.app_alarm_at {
            self.app_alarm_at = due;
            self.alarms.set(due, Owner::App);
        }
    }

    pub(super) fn set_timer(&mut self, mailbox: Option<Name>, timer: PluginTimer) {
        let Some(timers) = self.timers_of(mailbox.as_ref()) else { return };
        let PluginTimer { plugin, name, at } = timer.clone();
        let added = set_timer(timers, timer);
        self.timers += usize::from(added);
        self.note_timer(mailbox.as_ref(), &plugin, &name, Some(at));
        match mailbox.and_then(|name| self.mailboxes.find(name.as_str())) {
            Some(slot) => self.arm(slot),
            None => self.arm_app(),
        }
    }

    /// A timer was set, or (without a time) it rang or was cancelled.
    pub(super) fn note_timer(
        &mut self,
        mailbox: Option<&Name>,
        plugin: &PluginName,
        name: &str,
        at: Option<Millis>,
    ) {
        let slot = mailbox.map(|name| self.mailboxes.find(name.as_str()));
        match slot {
            None => {
                self.books.note(|| Change::Timer { plugin: plugin.clone(), name: name.into(), at })
            }
            Some(Some(slot)) => self.note_itself(slot),
            Some(None) => {}
        }
    }

    pub(super) fn timers_of(&mut self, mailbox: Option<&Name>) -> Option<&mut Vec<PluginTimer>> {
        match mailbox {
            None => Some(&mut self.app_timers),
            Some(name) => {
                let slot = self.mailboxes.find(name.as_str())?;
                Some(self.mailboxes[slot].timers_mut())
            }
        }
    }
}
