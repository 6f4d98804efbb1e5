//! Allocations on the way of a message, beside the message itself.

use super::{
    counting::{alone, on_this_thread},
    world::{AppWorld, CoreWorld, Readers, message, to_all},
};
use cometbox::core::Payload;

/// Rounds until buffers have their size, and rounds that count.
const WARM_UP: usize = 10;
const ROUNDS: usize = 100;

fn counted(mut round: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| round());
    on_this_thread(|| (0..ROUNDS).for_each(|_| round()))
}

#[test]
fn delivering_in_the_core_and_polling_again_allocates_nothing() {
    let _alone = alone();
    for readers in [1, 100, 1000] {
        let mut world = CoreWorld::of(Readers::of(readers));
        let (to, message) = (to_all(), message());
        let allocations = counted(|| world.deliver(&to, &message));
        assert_eq!(allocations, 0, "in {ROUNDS} deliveries to {readers} readers");
    }
}

#[test]
fn publishing_through_an_app_allocates_nothing_whatever_the_readers() {
    let _alone = alone();
    for readers in [1, 100, 1000] {
        let mut world = AppWorld::of(readers);
        let (to, message) = (to_all(), message());
        let allocations = counted(|| world.publish(&to, &message));
        assert_eq!(allocations, 0, "in {ROUNDS} publishes to {readers} readers");
    }
}

#[test]
fn a_message_from_a_client_allocates_nothing() {
    let _alone = alone();
    let mut world = AppWorld::of(1);
    let data = Payload::json("1");
    assert_eq!(counted(|| world.message(&data)), 0);
}
