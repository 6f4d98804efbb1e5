//! A core from what lasted.

use super::{
    Change, CoreLimits, Image, KeptMailbox, Marks, Millis, Sent, Uid,
    books::Changed,
    growth::state_bytes,
    mailbox::Mailbox,
    message::Kept,
    state::Core,
    timers::{PluginTimer, set_timer},
};
use std::collections::BTreeSet;

/// How a core was left, and how it is taken up.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    pub now: Millis,
    /// Since when nobody could read.
    pub down_since: Millis,
    /// What a client has at least to come back, in milliseconds, however long
    /// that is.
    pub grace_ms: u64,
    /// The last changes may be missing, among them messages that readers have
    /// seen.
    pub cut_off: bool,
}

/// Seqs left out where changes may be missing, so that none is given twice: more
/// than a mailbox can have got in the moments that are.
const SEQ_GAP: u64 = 1 << 20;

impl Core {
    /// Goes on from an image, and records from now on. The first changes are
    /// those that the restart itself makes: they should be kept before anything
    /// else is.
    #[must_use]
    pub fn restore(limits: CoreLimits, image: Image, restart: &Restart) -> Self {
        let mut core = Self::new(limits);
        core.count_from(image.next_id);
        let mut slots = Vec::with_capacity(image.mailboxes.len());
        for (uid, (kept, marks)) in image.mailboxes {
            slots.push((uid, core.restore_mailbox(kept, marks, restart)));
        }
        // Not those of the mailboxes themselves, which are on disk as they are.
        core.record();
        for sent in image.messages.into_values() {
            core.restore_message(sent, &slots, &image.superseded, restart);
        }
        for ((plugin, name), at) in image.timers {
            let timer = PluginTimer { plugin, name, at };
            core.timers += usize::from(set_timer(&mut core.app_timers, timer));
        }
        for (key, value) in image.values {
            let version = core.count();
            core.values.put(&key, value, version);
        }
        for epitaph in image.epitaphs {
            core.closed.put(epitaph);
        }
        for kept in image.published {
            if kept.until > restart.now {
                core.published.put(kept);
            }
        }
        for (_, slot) in slots {
            let mailbox = &mut core.mailboxes[slot];
            if restart.cut_off {
                mailbox.leave_out(SEQ_GAP);
                mailbox.changed.add(Changed::MARKS);
            }
            core.list(slot);
            core.arm(slot);
        }
        core.arm_app();
        core
    }

    fn restore_mailbox(&mut self, kept: KeptMailbox, marks: Marks, restart: &Restart) -> u32 {
        // Time passes for a mailbox while the gateway is down; but a client that
        // was there must be able to come back. To one that lingers for less than
        // that, it is as if its reader were still there for the rest.
        let latest = restart.now.saturating_add(restart.grace_ms);
        let away_since = restart.down_since.max(latest.saturating_sub(kept.linger_ms));
        let version = self.count();
        let groups = kept.groups.clone();
        let mailbox = Mailbox::restored(kept, marks, version, away_since);
        self.timers += mailbox.timers().len();
        self.books.totals.state_bytes += state_bytes(&mailbox.states);
        let slot = self.mailboxes.insert(mailbox);
        for group in &groups {
            self.join(slot, &group.name, group.chosen);
        }
        // On disk it is as it is.
        self.mailboxes[slot].changed = Changed::default();
        slot
    }

    fn restore_message(
        &mut self,
        sent: Sent,
        slots: &[(Uid, u32)],
        superseded: &BTreeSet<(u64, Uid)>,
        restart: &Restart,
    ) {
        let Sent { id, mut message, expires_at, to } = sent;
        // A reader may have seen more than is known, and a newer message must
        // not take the place of one that it has: from now on, for the next
        // restart knows no more.
        let stays = restart.cut_off && message.collapse.is_some();
        if stays {
            message = message.without_collapse();
        }
        let kept = message.kept.get_or_init(|| Kept::new(id, 0));
        let is_over = expires_at <= restart.now;
        let mut waits = 0;
        for (uid, seq) in &to {
            // By their uids, as they came out of the image.
            let Ok(at) = slots.binary_search_by_key(uid, |(uid, _)| *uid) else { continue };
            let mailbox = &mut self.mailboxes[slots[at].1];
            mailbox.has_given(*seq);
            if is_over {
                // The message goes, and with it what says that its seq was given.
                mailbox.changed.add(Changed::MARKS);
            }
            if !is_over && !superseded.contains(&(id, *uid)) {
                waits += u32::from(mailbox.requeue(*seq, expires_at, &message, &mut self.books));
            }
        }
        kept.set_waits(waits);
        if waits == 0 {
            self.books.note(|| Change::Done { message: id });
        } else if stays {
            self.books.note(|| Change::Sent(Sent { id, message, expires_at, to }.into()));
        }
    }
}
