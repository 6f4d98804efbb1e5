//! An allocator that counts, for everything in this binary.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

thread_local! {
    // `const` and without a destructor: using it allocates nothing.
    static OF_THIS_THREAD: Cell<u64> = const { Cell::new(0) };
}

fn note(bytes: i64) {
    if bytes > 0 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // A thread that ends may free after its locals are gone.
        let _ = OF_THIS_THREAD.try_with(|count| count.set(count.get() + 1));
    }
    LIVE_BYTES.fetch_add(bytes, Relaxed);
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("no allocation is that large")
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(signed(layout.size()));
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        note(-signed(layout.size()));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(place, layout) }
    }

    /// Counts like a new allocation and a release: that is what it may be.
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(signed(size));
        note(-signed(layout.size()));
        // SAFETY: the caller's promise is the same.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// How many allocations this thread makes meanwhile.
pub fn on_this_thread(run: impl FnOnce()) -> u64 {
    let before = OF_THIS_THREAD.get();
    run();
    OF_THIS_THREAD.get() - before
}

/// How many allocations all threads make meanwhile: for what runs on threads
/// of its own, as a server does. Those of the test's own client and of the test
/// runner are in it, too, so divide by many rounds. To be [`alone`].
pub fn on_all_threads(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Relaxed);
    run();
    ALLOCATIONS.load(Relaxed) - before
}

/// How many bytes more are allocated afterwards, as long as what this returns
/// lives. To be [`alone`].
pub fn live_bytes<T>(make: impl FnOnce() -> T) -> (T, u64) {
    let before = LIVE_BYTES.load(Relaxed);
    let made = make();
    let bytes = LIVE_BYTES.load(Relaxed) - before;
    (made, u64::try_from(bytes).expect("it allocates more than it frees"))
}

/// To be held by every test of this binary that counts for all threads, or
/// disturbs those that do: nothing else of them runs meanwhile.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed while it held it has changed nothing.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn it_counts() {
    let _alone = alone();
    let boxes = || drop(std::hint::black_box((Box::new(1), vec![0_u8; 100])));
    assert_eq!(on_this_thread(boxes), 2);
    assert_eq!(on_this_thread(|| drop(std::hint::black_box(Vec::<u8>::new()))), 0);
    assert!(on_all_threads(|| std::thread::scope(|scope| drop(scope.spawn(boxes)))) >= 2);
    // So much that what the test runner's threads free meanwhile is nothing.
    let (_large, bytes) = live_bytes(|| std::hint::black_box(Vec::<u8>::with_capacity(1 << 30)));
    assert!((900 << 20..1100 << 20).contains(&bytes), "{bytes}");
}
