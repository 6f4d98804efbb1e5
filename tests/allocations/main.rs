//! What a message on its way may allocate, and what a mailbox may take. A
//! binary of its own, since the allocator that counts is everybody's in it.

mod counting;
mod delivery;
mod http;
mod memory;
mod world;
