//! The misdeeds.

use std::hint::black_box;

use cometbox_guest::prelude::*;

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Never come back.
    Loop,
    /// Take memory until there is none.
    Memory,
    /// Call itself until the stack ends.
    Recursion,
    Panic,
    /// Fail.
    #[serde(alias = "fail")]
    Error,
    /// Say no, with a 403.
    Reject,
    /// Say no, with a status that is none.
    BadStatus,
    /// Look things up without end.
    HostCalls,
    /// Look up the value of `store` without end.
    Reads,
    /// Put a value of `count` bytes under `hostile/big`.
    Store,
    /// Put `count` small values under different keys.
    Keys,
    /// Log without end.
    LogFlood,
    /// Log one line of `count` bytes.
    LogGiant,
    /// `count` actions.
    Actions,
    /// One action with `count` bytes.
    Output,
    /// A message that says it is JSON, and is not.
    BadJson,
    /// A group whose name is no name.
    BadName,
    /// Store a state (an error where the event is about no mailbox).
    SetState,
    /// Set `count` timers.
    Timers,
    /// Set a timer of the mailbox, or else the app, that rings in `count` ms.
    Timer,
    /// Set a timer of the app that rings in `count` ms.
    AppTimer,
    /// Close the mailbox.
    Close,
    /// In open and message: a reply of `count` bytes.
    BigReply,
    /// In open and message: a reply that says it is JSON, and is not.
    BadReply,
    /// In open: limits out of range.
    BadLimits,
    /// In open: `count` first messages.
    First,
    /// In open: reply the address and the headers that came with it.
    ShowRequest,
    /// In message: reply the state.
    ShowState,
    /// In message: store a state that does not read as one, so that migrate is
    /// called before the next event. In migrate: give such a state.
    CorruptState,
    /// Nothing. In migrate: give no state.
    Nothing,
}

#[derive(Deserialize)]
pub struct Order {
    #[serde(rename = "do")]
    pub deed: Deed,
    pub count: Option<usize>,
}

impl Order {
    /// The order in a payload, if there is one. One that is not understood is
    /// an error, so that no test passes because of a slip of the pen.
    pub fn within(data: &Payload) -> Result<Option<Self>> {
        match data.json::<Value>() {
            Ok(value) if value.get("do").is_some() => data.json().map(Some),
            _ => Ok(None),
        }
    }

    /// A text of `count` bytes.
    pub fn text(&self) -> Payload {
        Payload::text("x".repeat(self.count.unwrap_or(4 << 20)))
    }

    pub fn carry_out(&self, cx: &Context, mailbox: Option<&str>) -> Result<Vec<Action>> {
        let me = mailbox.unwrap_or("nobody");
        let count = self.count.unwrap_or(10_000);
        let ms = self.count.unwrap_or(10) as u64;
        Ok(match self.deed {
            Deed::Error => return Err(fail("hostile was told to fail")),
            Deed::Reject => return Err(reject(403, "hostile was told to reject")),
            Deed::BadStatus => {
                return Err(Error::Rejected { status: 200, reason: "fine".into() });
            }
            Deed::HostCalls => loop {
                black_box(cx.member_count("all"));
            },
            Deed::Reads => loop {
                black_box(cx.get::<String>("hostile/big")?);
            },
            Deed::LogFlood => loop {
                cx.log(Level::Info, "hostile floods the log");
            },
            Deed::LogGiant => {
                cx.log(Level::Info, "x".repeat(self.count.unwrap_or(4 << 20)));
                vec![]
            }
            Deed::Store => vec![put("hostile/big", &"x".repeat(count))],
            Deed::Keys => (0..count).map(|n| put(format!("hostile/{n}"), &n)).collect(),
            Deed::Actions => vec![send(me, json!(1)); count],
            Deed::Output => vec![send(me, self.text())],
            Deed::BadJson => vec![send(me, no_json())],
            Deed::BadName => vec![join(me, "a\nb")],
            Deed::SetState => vec![set_state(&json!({"seen": 0, "migrated": false}))],
            Deed::Timers => (0..count).map(|n| set_timer(format!("hostile/{n}"), 60_000)).collect(),
            Deed::Timer => vec![match mailbox {
                Some(mailbox) => set_timer_of(mailbox, "hostile", ms),
                None => set_timer("hostile", ms),
            }],
            Deed::AppTimer => vec![set_timer("hostile", ms)],
            Deed::Close => vec![close(me, "hostile was told to close")],
            deed => {
                in_init(deed).map_err(fail)?;
                vec![]
            }
        })
    }
}

/// The deeds that need no event.
pub fn in_init(deed: Deed) -> Result<(), String> {
    match deed {
        Deed::Loop => loop {
            std::hint::spin_loop();
        },
        Deed::Memory => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        Deed::Recursion => {
            black_box(recurse(0));
            Ok(())
        }
        Deed::Panic => panic!("hostile was told to panic"),
        Deed::Error => Err("hostile was told to fail".into()),
        Deed::Nothing => Ok(()),
        other => Err(format!("hostile cannot do {other:?} here")),
    }
}

/// A payload that says it is JSON, and is not.
pub fn no_json() -> Payload {
    Payload::Json("{oops".into())
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    // A condition that always holds, and that no compiler may know to hold.
    if black_box(true) {
        return recurse(depth + 1) + frame[0];
    }
    depth
}
