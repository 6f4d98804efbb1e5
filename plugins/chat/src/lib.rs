//! Chat rooms with nicknames, history, presence and private messages.
//!
//! A mailbox is a seat: its name is the nick, and it is a member of one group,
//! its room. Who is there is told by open and closed, not by attached and
//! detached: somebody whose train is in a tunnel has not left the room.

use cometbox_guest::prelude::*;

/// With these two, the longest history fits into what a call may return. One
/// that does not would make every call in its room fail.
const MAX_SAY_BYTES: usize = 4000;
const MAX_HISTORY: usize = 40;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many lines a newcomer gets to see, at most 40.
    pub history: usize,
    /// How long a seat is kept for somebody who is away.
    pub linger_s: u64,
    /// How long an empty room keeps its history.
    pub forget_after_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { history: 20, linger_s: 30, forget_after_s: 600 }
    }
}

/// What is kept with a mailbox.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub struct Seat {
    pub room: String,
}

/// The last lines of a room as one text, since every message writes it anew:
/// who and what with a separator between them, and one behind. Nobody says
/// these two characters. How many there are is written down, not counted.
#[derive(Serialize, Deserialize, Default, Debug, PartialEq)]
pub struct History {
    lines: usize,
    text: String,
}

const UNIT: char = '\u{1f}';
const RECORD: char = '\u{1e}';

impl History {
    /// Adds a line, and forgets those that come before the last `keep`.
    pub fn add(&mut self, from: &str, say: &str, keep: usize) {
        let Self { lines, text } = self;
        text.push_str(from);
        text.push(UNIT);
        say.split([UNIT, RECORD]).for_each(|part| text.push_str(part));
        text.push(RECORD);
        *lines += 1;
        while *lines > keep
            && let Some(end) = text.find(RECORD)
        {
            text.drain(..end + RECORD.len_utf8());
            *lines -= 1;
        }
    }

    /// Who said what, in order.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split_terminator(RECORD).filter_map(|line| line.split_once(UNIT))
    }
}

#[derive(Deserialize)]
struct Hello {
    nick: Option<String>,
    room: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = r#"{"say":…}, {"to":…,"say":…} or {"who":true}"#)]
enum Request {
    /// To the room, or to one alone.
    Say {
        to: Option<String>,
        say: String,
    },
    Who {
        who: bool,
    },
}

pub struct Chat {
    settings: Settings,
}

impl Plugin for Chat {
    type Settings = Settings;
    type State = Seat;
    const EVENTS: Events = Events::MESSAGE.and(Events::CLOSED).and(Events::TIMER);

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.history > MAX_HISTORY {
            return Err(format!("history is at most {MAX_HISTORY}"));
        }
        Ok(Self { settings })
    }

    fn on_open(&self, cx: &Context, open: &Open) -> Result<Accept<Seat>> {
        let hello: Hello = open.json()?;
        // Where a plugin in front has established who this is, nobody speaks
        // under another name.
        let Some(nick) = open.identity.clone().or(hello.nick) else {
            return Err(reject(400, "a nick is needed: {\"nick\":\"ann\"}"));
        };
        let room = hello.room.unwrap_or_else(|| "lobby".into());
        check("nick", &nick)?;
        check("room", &room)?;

        let mut others = cx.members(&room);
        others.sort();
        let mut accept = Accept::named(&nick)
            .join(&room)
            .linger_ms(self.settings.linger_s.saturating_mul(1000))
            .reply(json!({"room": room, "nick": nick, "members": others}))
            .then(send_group(&room, json!({"joined": nick})).except(&nick));
        for (from, say) in history(cx, &history_key(&room)).lines() {
            accept = accept.first(json!({"from": from, "say": say, "room": room, "history": true}));
        }
        Ok(accept.state(Seat { room }))
    }

    fn on_message(&self, cx: &Context, from: &Session<Seat>, data: Payload) -> Result<Outcome> {
        let (nick, room) = (&from.mailbox, &from.state()?.room);
        match data.json()? {
            Request::Say { say, .. } if say.len() > MAX_SAY_BYTES => {
                let reason = format!("a line is at most {MAX_SAY_BYTES} bytes");
                Err(reject(400, reason))
            }
            Request::Say { to: None, say } => {
                let message = json!({"from": nick, "say": say, "room": room});
                let key = history_key(room);
                let mut history = history(cx, &key);
                history.add(nick, &say, self.settings.history);
                Ok(Outcome::from([send_group(room, message).except(nick), put(key, &history)]))
            }
            Request::Say { to: Some(to), say } => {
                if cx.mailbox(&to).is_none() {
                    return Err(reject(404, format!("{to} is not here")));
                }
                let message = json!({"from": nick, "to": to, "say": say});
                Ok(send(to, message).into())
            }
            Request::Who { who: true } => {
                let mut members = cx.members(room);
                members.sort();
                Ok(Outcome::reply(json!({"members": members})))
            }
            Request::Who { who: false } => Ok(Outcome::default()),
        }
    }

    fn on_closed(&self, cx: &Context, who: &Session<Seat>, _: CloseCause) -> Result<Vec<Action>> {
        let Seat { room } = who.state()?;
        let mut actions = vec![send_group(room, json!({"left": who.mailbox}))];
        if cx.member_count(room) == 0 {
            // Rooms cost nothing to make up, so an empty one must not cost
            // memory for ever. The timer's name says which room.
            actions.push(set_timer(room, self.settings.forget_after_s.saturating_mul(1000)));
        }
        Ok(actions)
    }

    fn on_timer(&self, cx: &Context, room: &str, _: Option<&Session<Seat>>) -> Result<Vec<Action>> {
        if cx.member_count(room) > 0 {
            return Ok(vec![]);
        }
        Ok(vec![delete(history_key(room))])
    }
}

/// One that another version of this plugin wrote is forgotten: a room without
/// it is better than one in which nobody can speak.
fn history(cx: &Context, key: &str) -> History {
    cx.get(key).ok().flatten().unwrap_or_default()
}

fn history_key(room: &str) -> String {
    ["chat/history/", room].concat()
}

/// Nicks and rooms are names of mailboxes and groups, and shown to others.
fn check(what: &str, name: &str) -> Result<()> {
    let fine = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let is_said = !matches!(name, "." | ".."); // browsers take these out of URLs
    if is_said && (1..=32).contains(&name.chars().count()) && name.chars().all(fine) {
        return Ok(());
    }
    Err(reject(400, format!("a {what} is 1 to 32 letters, digits, or any of - _ .")))
}

cometbox_guest::export!(Chat);

#[cfg(test)]
mod tests;
