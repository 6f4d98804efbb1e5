//! The `cometbox` program; see [`cometbox::cli`].

/// Gives memory back after a crowd has left; the system's keeps it. See
/// docs/decisions.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cometbox::cli::main()
}
