//! The memory of a plugin: blocks by sizes.
//!
//! A call takes a few dozen small blocks and gives them back microseconds later.
//! The allocator that comes with Rust splits and joins memory each time, which
//! was a third to a half of what a simple plugin's code did. Here a block has
//! one of a few sizes for good: it is taken from a list and put back on it, by
//! some ten instructions each.
//!
//! So memory that was taken for one size is never used for another one, and what
//! a plugin has at most of one size stays with that size: together that is up to
//! `SIZES` times what it ever had in blocks at once, and it does not grow with
//! the number of calls. What is large goes to Rust's allocator.

// An allocator hands out memory by address.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;

/// Every instance has memory of its own, and one thread.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static MEMORY: BySize<std::alloc::System> = BySize::new(std::alloc::System);

/// The smallest block; all blocks are aligned to it.
const MIN_BLOCK_BYTES: usize = 16;

/// How many sizes there are, each twice the one before. A power of two.
const SIZES: usize = 8;

/// What is larger is no block.
const MAX_BLOCK_BYTES: usize = MIN_BLOCK_BYTES << (SIZES - 1);

/// New blocks are cut from pieces of this size.
const PIECE: Layout = match Layout::from_size_align(4 * MAX_BLOCK_BYTES, MIN_BLOCK_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two and some KiB are a layout"),
};

/// An allocator of blocks by sizes, for one thread. `L` has what is too large to
/// be a block, and the pieces that blocks are cut from.
#[derive(Debug)]
pub(crate) struct BySize<L> {
    /// The first free block of each size, or null. The first bytes of a free
    /// block are the address of the next.
    free: [Cell<*mut u8>; SIZES],
    /// What is not cut yet of the last piece.
    rest: Cell<*mut u8>,
    rest_bytes: Cell<usize>,
    large: L,
}

impl<L> BySize<L> {
    pub(crate) const fn new(large: L) -> Self {
        Self {
            free: [const { Cell::new(ptr::null_mut()) }; SIZES],
            rest: Cell::new(ptr::null_mut()),
            rest_bytes: Cell::new(0),
            large,
        }
    }

    /// Puts a block on the list of its size.
    ///
    /// # Safety
    /// `block` is of the size with this index, aligned, and nobody's.
    #[inline]
    unsafe fn put(&self, size: usize, block: *mut u8) {
        // SAFETY: it is nobody's, and an address fits into the smallest and is
        // aligned as the smallest.
        unsafe { block.cast::<*mut u8>().write(self.free[size].get()) };
        self.free[size].set(block);
    }
}

/// Which of the sizes is meant, or none for what is no block.
#[inline]
const fn size_of(layout: Layout) -> Option<usize> {
    if layout.size() > MAX_BLOCK_BYTES || layout.align() > MIN_BLOCK_BYTES {
        return None;
    }
    let units = layout.size().saturating_sub(1) / MIN_BLOCK_BYTES;
    let size = usize::BITS - units.leading_zeros();
    // That it is below is known; like this the compiler knows it, too.
    Some(size as usize % SIZES)
}

impl<L: GlobalAlloc> BySize<L> {
    /// A new block of a size, or null if there is no more memory.
    #[cold]
    #[inline(never)]
    fn cut(&self, size: usize) -> *mut u8 {
        let bytes = MIN_BLOCK_BYTES << size;
        if self.rest_bytes.get() < bytes {
            // SAFETY: its size is not zero.
            let piece = unsafe { self.large.alloc(PIECE) };
            if piece.is_null() {
                return piece;
            }
            self.cut_up_rest();
            self.rest.set(piece);
            self.rest_bytes.set(PIECE.size());
        }
        self.cut_off(bytes)
    }

    /// Takes the next so many bytes of the rest, which has them.
    fn cut_off(&self, bytes: usize) -> *mut u8 {
        let (block, rest_bytes) = (self.rest.get(), self.rest_bytes.get());
        debug_assert!(bytes <= rest_bytes, "{bytes} of {rest_bytes}");
        // SAFETY: they are all of one piece.
        self.rest.set(unsafe { block.add(bytes) });
        self.rest_bytes.set(rest_bytes - bytes);
        block
    }

    /// Makes free blocks of all that is left of a piece.
    fn cut_up_rest(&self) {
        // Pieces and blocks are multiples of the smallest block.
        while let Some(largest) = (self.rest_bytes.get() / MIN_BLOCK_BYTES).checked_ilog2() {
            let size = (largest as usize).min(SIZES - 1);
            let block = self.cut_off(MIN_BLOCK_BYTES << size);
            // SAFETY: it was just cut to this size and is on no list yet.
            unsafe { self.put(size, block) };
        }
    }
}

// SAFETY: a block is handed out from where it was taken off its list, or cut off
// a piece, and nothing else knows it until it is given back; it has at least the
// bytes that were asked for, as its size is found from them, and as it comes
// back with the same layout it goes to the list of the same size. Nothing here
// panics but for a mistake of its own, in debug builds.
unsafe impl<L: GlobalAlloc> GlobalAlloc for BySize<L> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = size_of(layout) else {
            // SAFETY: passed on as it is.
            return unsafe { self.large.alloc(layout) };
        };
        let block = self.free[size].get();
        if block.is_null() {
            return self.cut(size);
        }
        // SAFETY: `put` has written the address of the next one there.
        self.free[size].set(unsafe { block.cast::<*mut u8>().read() });
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match size_of(layout) {
            // SAFETY: the caller has it from `alloc`, with this layout, and is
            // done with it.
            Some(size) => unsafe { self.put(size, block) },
            // SAFETY: passed on as it is.
            None => unsafe { self.large.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: the caller sees to it that the new size fits the alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_bytes, layout.align()) };
        match (size_of(layout), size_of(new_layout)) {
            (Some(old), Some(new)) if old == new => block,
            // SAFETY: passed on as it is.
            (None, None) => unsafe { self.large.realloc(block, layout, new_bytes) },
            _ => {
                // SAFETY: the new size is not zero, says the caller.
                let new_block = unsafe { self.alloc(new_layout) };
                if !new_block.is_null() {
                    let bytes = layout.size().min(new_bytes);
                    // SAFETY: both are at least as large, and not the same; the
                    // old one is the caller's until it is given back here.
                    unsafe {
                        ptr::copy_nonoverlapping(block, new_block, bytes);
                        self.dealloc(block, layout);
                    }
                }
                new_block
            }
        }
    }
}

// SAFETY: in wasm this module is there only without `atomics`, so with one thread.
#[cfg(target_arch = "wasm32")]
unsafe impl<L> Sync for BySize<L> {}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    /// What is behind: notes what was taken from it, and can be used up.
    struct Behind {
        bytes: Cell<usize>,
        limit_bytes: usize,
    }

    impl Behind {
        fn new() -> Self {
            Self { bytes: Cell::new(0), limit_bytes: usize::MAX }
        }
    }

    // SAFETY: all of it is the system's.
    unsafe impl GlobalAlloc for Behind {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if self.bytes.get() + layout.size() > self.limit_bytes {
                return ptr::null_mut();
            }
            self.bytes.set(self.bytes.get() + layout.size());
            // SAFETY: passed on as it is.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.bytes.set(self.bytes.get() - layout.size());
            // SAFETY: passed on as it is.
            unsafe { System.dealloc(block, layout) }
        }
    }

    /// Somebody's block, filled with a byte of its own.
    struct Held {
        block: *mut u8,
        layout: Layout,
        fill: u8,
    }

    impl Held {
        fn take(memory: &BySize<Behind>, bytes: usize, align: usize, fill: u8) -> Option<Self> {
            let layout = Layout::from_size_align(bytes, align).expect("a layout");
            // SAFETY: no test takes 0 bytes.
            let block = unsafe { memory.alloc(layout) };
            if block.is_null() {
                return None;
            }
            assert_eq!(block.addr() % align, 0, "{layout:?}");
            // SAFETY: that is what was asked for.
            unsafe { block.write_bytes(fill, bytes) };
            Some(Self { block, layout, fill })
        }

        /// That nobody else has written there.
        fn check(&self, bytes: usize) {
            // SAFETY: they were all filled.
            let there = unsafe { std::slice::from_raw_parts(self.block, bytes) };
            assert!(there.iter().all(|&byte| byte == self.fill), "{:?}", self.layout);
        }

        fn resize(self, memory: &BySize<Behind>, bytes: usize) -> Self {
            let Self { block, layout, fill } = self;
            // SAFETY: it is from there, with this layout, and not 0 bytes.
            let block = unsafe { memory.realloc(block, layout, bytes) };
            let layout = Layout::from_size_align(bytes, layout.align()).expect("a layout");
            let kept = Self { block, layout, fill };
            kept.check(bytes.min(self.layout.size()));
            // SAFETY: that is what was asked for.
            unsafe { block.write_bytes(fill, bytes) };
            kept
        }

        fn give_back(self, memory: &BySize<Behind>) {
            self.check(self.layout.size());
            // SAFETY: it is from there, with this layout.
            unsafe { memory.dealloc(self.block, self.layout) };
        }
    }

    fn take(memory: &BySize<Behind>, bytes: usize) -> Held {
        Held::take(memory, bytes, 8, 0xa5).expect("there is memory")
    }

    /// The same numbers each time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % end
        }
    }

    #[test]
    fn every_block_is_somebodys_alone() {
        let memory = BySize::new(Behind::new());
        let mut random = Random(1);
        let mut held: Vec<Held> = Vec::new();
        for step in 0..100_000 {
            // As many small ones as large ones, up to no blocks at all.
            let most_bytes = 16 << random.below(10);
            let bytes = 1 + random.below(most_bytes);
            match random.below(3) {
                0 if held.len() < 500 => {
                    let align = 1 << random.below(7);
                    held.extend(Held::take(&memory, bytes, align, step as u8));
                }
                1 if !held.is_empty() => {
                    let one = held.swap_remove(random.below(held.len()));
                    held.push(one.resize(&memory, bytes));
                }
                _ if !held.is_empty() => {
                    held.swap_remove(random.below(held.len())).give_back(&memory);
                }
                _ => {}
            }
        }
        held.into_iter().for_each(|one| one.give_back(&memory));
    }

    #[test]
    fn a_block_that_stays_within_its_size_stays_where_it_is() {
        let memory = BySize::new(Behind::new());
        for (from, to, stays) in [(33, 64, true), (64, 33, true), (64, 65, false), (33, 32, false)]
        {
            let held = take(&memory, from);
            let before = held.block;
            let held = held.resize(&memory, to);
            assert_eq!(held.block == before, stays, "{from} to {to} bytes");
            held.give_back(&memory);
        }
    }

    /// Does the same thing as often as a busy plugin's instance lives; each is
    /// what an allocator without joining is worst at.
    #[test]
    fn memory_does_not_grow_with_use() {
        type Work = fn(&BySize<Behind>);
        let cases: [(&str, Work); 4] = [
            ("a text that grows byte by byte", |memory| {
                let mut text = take(memory, 1);
                for bytes in 2..3000 {
                    text = text.resize(memory, bytes);
                }
                text.give_back(memory);
            }),
            ("100 KB in blocks of one size, then of the next", |memory| {
                for bytes in (4..13).map(|n| 1 << n) {
                    let held: Vec<_> = (0..100_000 / bytes).map(|_| take(memory, bytes)).collect();
                    held.into_iter().for_each(|one| one.give_back(memory));
                }
            }),
            ("every second block goes, and larger ones come", |memory| {
                let (mut gone, mut held) = (Vec::new(), Vec::new());
                for n in 0..1000 {
                    if n % 2 == 0 { &mut gone } else { &mut held }.push(take(memory, 100));
                }
                gone.into_iter().for_each(|one| one.give_back(memory));
                held.extend((0..500).map(|_| take(memory, 200)));
                held.into_iter().for_each(|one| one.give_back(memory));
            }),
            ("sizes by chance", |memory| {
                let mut random = Random(7);
                let held = |_| take(memory, 1 + random.below(4000));
                let held: Vec<_> = (0..50).map(held).collect();
                held.into_iter().for_each(|one| one.give_back(memory));
            }),
        ];
        for (name, work) in cases {
            let memory = BySize::new(Behind::new());
            work(&memory);
            let once = memory.large.bytes.get();
            (0..30).for_each(|_| work(&memory));
            assert_eq!(memory.large.bytes.get(), once, "{name}");
            assert!(once <= SIZES * 200_000 + PIECE.size(), "{name}: {once} bytes");
        }
    }

    #[test]
    fn what_is_left_of_a_piece_becomes_blocks() {
        let memory = BySize::new(Behind::new());
        let mut held = vec![take(&memory, 16)];
        // The piece has room for three of these beside it; the fourth is of the
        // next piece.
        held.extend((0..4).map(|_| take(&memory, MAX_BLOCK_BYTES)));
        assert_eq!(memory.large.bytes.get(), 2 * PIECE.size());
        held.extend((4..11).map(|n| take(&memory, 1 << n)));
        assert_eq!(memory.large.bytes.get(), 2 * PIECE.size(), "the rest was enough");
        assert_eq!(memory.rest_bytes.get(), PIECE.size() - MAX_BLOCK_BYTES);
        held.into_iter().for_each(|one| one.give_back(&memory));
    }

    #[test]
    fn without_memory_there_is_no_block_and_those_there_are_stay() {
        let mut behind = Behind::new();
        behind.limit_bytes = PIECE.size();
        let memory = BySize::new(behind);
        let mut held: Vec<_> = (0..4).map(|_| take(&memory, MAX_BLOCK_BYTES)).collect();
        for (bytes, align) in [(1, 1), (MAX_BLOCK_BYTES, 8), (MAX_BLOCK_BYTES + 1, 8), (8, 64)] {
            assert!(Held::take(&memory, bytes, align, 0).is_none(), "{bytes} bytes by {align}");
        }
        let last = held.pop().expect("there are four");
        // SAFETY: it is from there, with this layout.
        let moved = unsafe { memory.realloc(last.block, last.layout, MAX_BLOCK_BYTES + 1) };
        assert!(moved.is_null());
        last.give_back(&memory);
        held.push(take(&memory, MAX_BLOCK_BYTES));
        held.into_iter().for_each(|one| one.give_back(&memory));
    }
}
