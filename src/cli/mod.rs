//! The command line.

mod banner;
mod children;
mod life;
mod log;
mod plugins;
mod reload;
mod serve;
mod service;
mod sockets;
mod store;
mod upgrade;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Named mailboxes for browsers, with WebAssembly plugins that decide who gets
/// what
///
/// Clients open a mailbox and read it by long-poll, server-sent events,
/// WebSocket or Bayeux; backends publish into mailboxes and groups; plugins see
/// every event and answer with actions.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Start here:
  cometbox dev                 build and serve what ./cometbox.toml names, and
                               rebuild and swap a plugin whenever you save it
  cometbox new hello           scaffold a plugin of your own
  cometbox build plugins/chat  build one plugin
  cometbox serve               serve in production what was built";

#[derive(Subcommand)]
enum Command {
    /// Serve built plugins: for production
    ///
    /// A plugin that is named by its folder must have been built by `cometbox
    /// build FOLDER` before. Components are watched, and swapped without
    /// closing a connection; SIGHUP reloads the configuration, all plugins and
    /// the certificate, and opens the log file anew; it says what needs a
    /// restart. SIGTERM answers every held request and ends. SIGUSR2 has a new
    /// process take over, as `cometbox upgrade` does.
    Serve {
        #[command(flatten)]
        run: Run,
        /// Take over from the process at the other end of standard input
        #[arg(long, hide = true)]
        take_over: bool,
    },
    /// Build, serve, watch: for development
    ///
    /// Builds the plugins (and installs the wasm target for that, if it is
    /// missing), serves them and the pages of [dev], runs the commands of
    /// [[dev.run]], and on every save rebuilds and swaps. While a build is
    /// broken the version before goes on serving, and the error is shown here
    /// and on open pages.
    Dev(Run),
    /// Replace the running gateway by a new process: for a new version, or for
    /// settings that change at a start only
    ///
    /// The gateway that uses the [store] of this configuration starts the file
    /// that it was started from once more, which is the new version if you have
    /// replaced it (or a link to it). The new process reads the configuration
    /// and loads the plugins while the old one serves; then it takes over the
    /// sockets, the connections and the store. Clients see a reconnect at most.
    /// If anything fails, the old process goes on, and the error is shown here.
    ///
    /// The same by a signal: kill -USR2 PID. It needs a [store].
    Upgrade {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Build the plugin in a folder to a component: FOLDER/build/NAME.wasm
    Build {
        /// The plugin's crate
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Scaffold a plugin: a crate that builds and passes its tests
    New {
        /// The folder to make, named like the plugin
        name: PathBuf,
    },
    /// Check or repair what [store] keeps
    #[command(subcommand)]
    Store(store::Command),
    /// Check a configuration file, its certificate, and the plugins that are built
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration; paths in it are relative to it
    #[arg(long = "config", short = 'c', value_name = "FILE", default_value = "cometbox.toml")]
    path: PathBuf,
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// Listen here and not where the configuration says; port 0 takes a free
    /// one
    #[arg(long, short, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Runs the program; errors are shown in one line.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(run(args.command));
        // Nothing that still runs is worth waiting for.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { run, take_over } => {
            serve::serve(&run.config.path, run.listen, take_over).await
        }
        Command::Dev(args) => serve::dev(&args.config.path, args.listen).await,
        Command::Upgrade { config } => upgrade::upgrade(&config.path).await,
        Command::Build { dir } => plugins::build(&dir).await,
        Command::New { name } => plugins::scaffold(&name),
        Command::Store(command) => store::run(&command),
        Command::Check { config } => plugins::check(&config.path),
    }
}
