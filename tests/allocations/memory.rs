//! What a mailbox takes that nobody has written to, or whose reader keeps up; and
//! what a publish takes that is remembered.

use super::{
    counting::{alone, live_bytes},
    world::{CoreWorld, Readers, message, to_all},
};

/// A power of two, so that tables that double are full: what they have in
/// reserve at other numbers is address space, and no memory until it is used.
const MAILBOXES: usize = 1 << 17;

/// One more than a power of two: tables have doubled just now, and take the most.
const PUBLISHES: usize = (1 << 17) + 1;

/// What each counts against `max_publish_id_bytes`, with an id of 20 bytes.
const COUNTED_BYTES: u64 = 128 + 20;

/// With its key, a name of 13 bytes, a group, a held read and its alarms, and
/// its part of all tables. A connection comes on top.
const MAX_BYTES: u64 = 370;

/// The same after some messages, all of them confirmed but for the last.
const MAX_BYTES_LATER: u64 = 370;

#[test]
fn a_parked_mailbox_is_small_and_stays_so_after_messages() {
    let _alone = alone();
    let readers = Readers::of(MAILBOXES);
    let (mut world, bytes) = live_bytes(|| CoreWorld::of(readers));
    let ((), more) = live_bytes(|| {
        let (to, message) = (to_all(), message());
        (0..5).for_each(|_| world.deliver(&to, &message));
        world.forget_effects();
    });
    let per_mailbox = |bytes: u64| bytes / MAILBOXES as u64;
    let (at_first, later) = (per_mailbox(bytes), per_mailbox(bytes + more));
    println!("a parked mailbox takes {at_first} bytes, after messages {later}");
    assert!(at_first <= MAX_BYTES, "{at_first}");
    assert!(later <= MAX_BYTES_LATER, "{later}");
}

#[test]
fn a_remembered_publish_takes_no_more_than_it_counts() {
    let _alone = alone();
    let mut world = CoreWorld::of(Readers::of(0));
    let ((), bytes) = live_bytes(|| (0..PUBLISHES).for_each(|n| world.publish_once(n)));
    let each = bytes / PUBLISHES as u64;
    println!("a remembered publish takes {each} bytes");
    assert!(each <= COUNTED_BYTES, "{each}");
}
