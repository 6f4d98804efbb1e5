//! `cometbox-load`: long-poll clients by the thousand, and what they cost the
//! server.
//!
//! | module | |
//! |---|---|
//! | `args` | the command line |
//! | `scenario` | who reads, who publishes, what is measured |
//! | `engine` | the loop over all connections |
//! | `parts` | readers, targets, lanes |
//! | `net` | sockets and epoll |
//! | `http` | reads answers |
//! | `dialect` | requests and answers: Cometbox's, nchan's, and Bayeux |
//! | `marker` | a payload's number and time, in the payload |
//! | `check` | lost, doubled, reordered |
//! | `histogram` | latencies |
//! | `process` | CPU and memory of the server, from /proc |
//! | `report` | the result |

mod args;
mod check;
mod dialect;
mod engine;
mod histogram;
mod http;
mod marker;
mod net;
mod parts;
mod process;
mod report;
mod scenario;

use args::Args;
use clap::Parser;
use std::{num::NonZeroU64, process::ExitCode};

fn main() -> ExitCode {
    let args = Args::parse();
    // The kernel may otherwise be 50 µs late with a timer, which would be in
    // every latency at a fixed rate. Without it the figures are a bit worse.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let report = args.check().and_then(|()| scenario::run(&args));
    match report {
        Ok(report) => {
            eprintln!("{report}");
            match serde_json::to_string(&report) {
                Ok(json) => println!("{json}"),
                Err(error) => eprintln!("the report cannot be written as JSON: {error}"),
            }
            if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
