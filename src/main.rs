//! The `cometbox` program; see [`cometbox::cli`].

fn main() -> std::process::ExitCode {
    cometbox::cli::main()
}
