//! The gateway as its users meet it.

mod bayeux;
mod docs;
mod faults;
mod fire;
mod http;
mod hup;
mod ids;
mod kept;
mod late;
mod mend;
mod neighbour;
mod plugins;
mod sim;
mod streams;
mod support;
mod tidy;
mod tls;
mod transcripts;
mod upgrade;
mod vanish;
