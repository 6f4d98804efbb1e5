//! The command line.

use crate::{dialect::Dialect, marker};
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use std::net::SocketAddrV4;

/// Loads a gateway with long-poll clients and tells what each delivery costs
/// the server.
///
/// Every payload has a number and the time of its sending; a run in which one
/// is lost, doubled, reordered or goes astray, an answer is wrong or a
/// connection is closed has failed: it says so and ends with status 1.
///
/// The report is one JSON object on stdout and a line for people on stderr.
#[derive(Parser, Debug)]
#[command(version, after_long_help = EXAMPLES)]
pub struct Args {
    /// Where the server listens; a loopback address.
    #[arg(long, global = true, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    pub server: SocketAddrV4,
    /// What it speaks.
    #[arg(long, global = true, value_enum, default_value = "cometbox")]
    pub dialect: Dialect,
    /// The app to load; it runs benches/plugin, for `chat` plugins/chat, over
    /// Bayeux plugins/bayeux-open.
    #[arg(long, global = true, default_value = "bench")]
    pub app: String,
    /// One of the app's `publish_keys`.
    #[arg(long, global = true, default_value = "bench-only-key")]
    pub publish_key: String,
    /// The server's process: its CPU time and memory, and those of all that it
    /// started, are in the report.
    #[arg(long, global = true, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Bytes of a payload.
    #[arg(long, global = true, default_value_t = 100, value_name = "BYTES",
          value_parser = clap::value_parser!(u32).range(marker::LEN as i64..=65_536))]
    pub payload: u32,
    /// How long is measured.
    #[arg(long, global = true, default_value_t = 5, value_name = "S",
          value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// How long the load runs before that.
    #[arg(long, global = true, default_value_t = 1, value_name = "S",
          value_parser = clap::value_parser!(u32).range(0..=60))]
    pub warmup: u32,
    /// How long a read may be held (cometbox).
    #[arg(long, global = true, default_value_t = 25, value_name = "S",
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub wait: u32,
    /// Compares with another app, by turns: what an event costs more (direct,
    /// events). With one whose plugin sleeps, benches/plugin-open, that is the
    /// plugin's share.
    #[arg(long, global = true, value_name = "APP")]
    pub against: Option<String>,
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// Of a group where there are many.
pub const MEMBERS: u32 = 10;

/// The most clients: a process may not open many more files here.
const CLIENTS: std::ops::RangeInclusive<i64> = 1..=60_000;

#[derive(Subcommand, Debug, Clone)]
pub enum Scenario {
    /// Memory: N polls, each on a mailbox of its own; then each gets a message
    /// and polls again; then all close their mailboxes and connections.
    ///
    /// A client opens its mailbox over the connection that it polls on, so what
    /// is counted for it is connection, mailbox, name, key, and what an open
    /// leaves behind.
    Park {
        #[arg(value_parser = clap::value_parser!(u32).range(CLIENTS))]
        clients: u32,
        /// So long the server must have given no memory back before it is at
        /// rest: some allocators wait ten seconds.
        #[arg(long, default_value_t = 10, value_name = "S",
              value_parser = clap::value_parser!(u32).range(0..=60))]
        settle: u32,
    },
    /// One group: a message to all members, who poll again at once; then the
    /// next one.
    Broadcast {
        #[arg(value_parser = clap::value_parser!(u32).range(CLIENTS))]
        members: u32,
    },
    /// Mailboxes in turn, a message to one at a time.
    Direct {
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(CLIENTS))]
        mailboxes: u32,
        /// How many publishers, each with one message in flight.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
        window: u32,
        /// Messages a second, whether the last ones arrived or not: for
        /// latencies, which count from when a message was due.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: Option<u32>,
        /// Further mailboxes that nobody reads (cometbox).
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=900_000))]
        idle: u32,
    },
    /// One group whose members do not poll while messages to it pile up; then
    /// all poll until they have them; then the next ones.
    Waiting {
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(CLIENTS))]
        members: u32,
        /// Messages for each poll. nchan keeps no more than 10 by default, and
        /// hands out one at a time.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        each: u32,
    },
    /// Publishers that send their next message when the last one is answered:
    /// what an answer takes and what is written for it, where the app has a
    /// store (cometbox).
    Publish {
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
        publishers: u32,
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(CLIENTS))]
        mailboxes: u32,
        /// A mailbox is read, and what was read before confirmed, each time so
        /// many messages came, and not in between; with 0 it always has a read.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=50))]
        behind: u32,
        /// Messages a second over all publishers, whether the last ones were
        /// answered or not: answers count from when a message was due.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: Option<u32>,
    },
    /// Many groups of ten, a message to one at a time, 64 in flight: groups and
    /// memberships grow, a message's audience does not.
    Groups {
        #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
        groups: u32,
        /// Each is in groups × 10 / mailboxes groups; nchan knows no more than
        /// one.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(CLIENTS))]
        mailboxes: u32,
    },
    /// Events without deliveries: batches to a group without members. What an
    /// event costs, and, with one app against another, a plugin's share.
    Events {
        /// Messages in a request.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        batch: u32,
    },
    /// Rooms: members speak in turn through their mailboxes and the chat
    /// plugin, the others hear it. With nchan a room is a channel that members
    /// publish to, and hear themselves, too.
    Chat {
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rooms: u32,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=1000))]
        members: u32,
    },
}

const EXAMPLES: &str = "\
Sizing a machine:
  for plugin in benches/plugin plugins/chat plugins/bayeux-open; do cometbox build $plugin; done
  taskset -c 0 cometbox serve --config bench.toml &
  taskset -c 1 cometbox-load --server-pid $! park 10000
  taskset -c 1 cometbox-load --server-pid $! broadcast 1000
  taskset -c 1 cometbox-load --server-pid $! direct --rate 2000
  taskset -c 1 cometbox-load --server-pid $! --app chat chat

  taskset -c 1 cometbox-load --server-pid $! --app bayeux --dialect bayeux direct

with this bench.toml:
  [[app]]
  name = \"bench\"
  plugins = [\"benches/plugin\"]
  publish_keys = [\"bench-only-key\"]
  [[app]]
  name = \"chat\"
  plugins = [\"plugins/chat\"]
  [[app]]
  name = \"bayeux\"
  plugins = [\"plugins/bayeux-open\"]

The generator is one thread. At a CPU share above 0.9 it is the limit itself,
and the rate says nothing about the server; its CPU per delivery still does.
Both sides need `ulimit -n` above the number of clients.";

impl Args {
    /// What clap cannot see.
    pub fn check(&self) -> Result<()> {
        if !self.server.ip().is_loopback() {
            bail!("{} is no loopback address: other machines are not loaded", self.server);
        }
        let plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !self.against.iter().chain([&self.app]).all(|app| plain(app))
            || !plain(&self.publish_key)
        {
            bail!("app and publish key: letters, digits, and - _ .");
        }
        let nchan = self.dialect == Dialect::Nchan;
        let turns =
            matches!(self.scenario, Scenario::Direct { rate: None, .. } | Scenario::Events { .. });
        if self.against.is_some() && (self.dialect != Dialect::Cometbox || !turns) {
            bail!("--against: direct without a rate, and events, in cometbox");
        }
        if self.against.is_some() && self.server_pid.is_none() {
            bail!("--against is about the server's CPU: it needs --server-pid");
        }
        let over_bayeux = matches!(
            self.scenario,
            Scenario::Park { .. } | Scenario::Broadcast { .. } | Scenario::Direct { idle: 0, .. }
        );
        if self.dialect == Dialect::Bayeux && !over_bayeux {
            bail!("over Bayeux: park, broadcast and direct, the latter without --idle");
        }
        match self.scenario {
            Scenario::Direct { idle: 1.., .. } if nchan => {
                bail!("--idle: nchan has no channels without readers and messages")
            }
            Scenario::Publish { .. } if nchan => bail!("publish is about what Cometbox keeps"),
            Scenario::Events { .. } if nchan => bail!("nchan takes one message a request"),
            Scenario::Groups { groups, mailboxes } => {
                let members = MEMBERS.min(mailboxes);
                if mailboxes % members != 0 || groups % (mailboxes / members) != 0 {
                    bail!("groups: a multiple of mailboxes / 10, which is a whole number");
                }
                if nchan && groups * members > mailboxes {
                    bail!("with nchan nobody is in more than one group");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn other_machines_are_not_loaded() {
        let args = |server| Args::parse_from(["cometbox-load", "--server", server, "park", "1"]);
        assert!(args("127.0.0.1:8080").check().is_ok());
        assert!(args("192.0.2.1:8080").check().is_err());
    }

    #[test]
    fn what_cannot_be_done_is_said_before_it_is_tried() {
        for (words, ok) in [
            ("--server-pid 1 events --against open", true),
            ("--server-pid 1 direct --against open", true),
            ("direct --against open", false),
            ("--server-pid 1 direct --against open --rate 7", false),
            ("--server-pid 1 chat --against open", false),
            ("--dialect nchan events", false),
            ("--dialect nchan direct --idle 1", false),
            ("--dialect nchan publish", false),
            ("publish --rate 7", true),
            ("groups 100", true),
            ("groups 10000", true),
            ("groups 1 --mailboxes 10", true),
            ("groups 150", false),
            ("groups 100 --mailboxes 999", false),
            ("--dialect nchan groups 100", true),
            ("--dialect nchan groups 200", false),
            ("--dialect bayeux park 1", true),
            ("--dialect bayeux broadcast 1", true),
            ("--dialect bayeux direct --rate 7", true),
            ("--dialect bayeux direct --idle 1", false),
            ("--server-pid 1 --dialect bayeux direct --against open", false),
            ("--dialect bayeux events", false),
            ("--dialect bayeux publish", false),
            ("--dialect bayeux waiting", false),
            ("--dialect bayeux chat", false),
        ] {
            let words = ["cometbox-load"].into_iter().chain(words.split(' '));
            assert_eq!(Args::parse_from(words.clone()).check().is_ok(), ok, "{words:?}");
        }
    }
}
