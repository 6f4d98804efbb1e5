//! Conversations with the real plugins, written down as they go.
//!
//! ```text
//! WHO opens JSON [with TOKEN]  → 201 [MAILBOX] [REPLY]
//! WHO sends JSON               → 204, or 200 REPLY
//! WHO reads                    → nothing, or [DATA, …] [seqs [N, …]]
//! WHO waits                    → the same
//! WHO listens                  (a read is held from here on …
//! WHO hears                    … to here) → as of a read
//! WHO closes                   → 204
//! WHO publishes JSON           → 200 [RESULT, …]
//! ```
//!
//! In place of an answer there may be an error: `404 not_found "expired"`, its
//! status, its code and a piece of its message.
//!
//! What comes is compared exactly, with these exceptions. The key and the
//! cursor of a mailbox are kept by the runner, which confirms with each read
//! what the one before brought. The name of a mailbox counts where it is
//! written. A result of a publish is without what is empty in it, and of its
//! error there is only the code. Only the `backend` has a publish key.
//!
//! `reads` takes what is there and is not held. `waits` is for what comes by
//! itself, after a while or in parts: it reads until as much is there as was
//! written down.

mod auth;
mod chat;
mod quotes;

use crate::support::{Client, Gateway, PATIENCE, Response};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// A gateway, and everybody who talks to it.
struct Talk {
    gateway: Gateway,
    app: &'static str,
    tokens: BTreeMap<&'static str, String>,
    people: BTreeMap<String, Person>,
}

/// Somebody who talks to the gateway, by two connections like a browser: one
/// for the reads, one for everything else.
struct Person {
    reader: Client,
    writer: Client,
    mailbox: String,
    key: String,
    cursor: u64,
}

/// What the gateway answered, or should.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    /// The code of an error, or the name of a mailbox that was opened.
    word: Option<String>,
    data: Option<Value>,
    seqs: Option<Value>,
}

impl Talk {
    /// Serves `app`, whose plugins and settings are this TOML.
    fn with(app: &'static str, config: &str) -> Self {
        let config = format!("[[app]]\nname = {app:?}\npublish_keys = [\"backend-key\"]\n{config}");
        // Compiling components takes all cores. Without optimization, several
        // gateways at a time would take longer over it than a start may.
        static STARTING: Mutex<()> = Mutex::new(());
        let one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let gateway = Gateway::start(&config);
        drop(one_at_a_time);
        Self { gateway, app, tokens: BTreeMap::new(), people: BTreeMap::new() }
    }

    /// Holds the conversation; panics at the first line that is not so.
    #[track_caller]
    fn goes(&mut self, transcript: &str) {
        for (number, line) in (1..).zip(transcript.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with("# ") {
                continue;
            }
            let (left, right) = line.split_once(" → ").unwrap_or((line, ""));
            let (who, rest) = left.trim().split_once(' ').expect("WHO does what");
            let (verb, what) = rest.split_once(' ').unwrap_or((rest, ""));
            if verb == "listens" {
                self.listen(who);
                continue;
            }
            let expected = Answer::parse(right.trim());
            let got = self.act(who, verb, what.trim(), &expected);
            assert!(
                expected.fits(&got),
                "line {number} of the transcript: {line}\n expected: {expected}\n      got: {got}",
            );
        }
    }

    fn act(&mut self, who: &str, verb: &str, what: &str, expected: &Answer) -> Answer {
        match verb {
            "opens" => self.open(who, what),
            "sends" => self.send(who, what),
            "reads" => self.person(who).read(0),
            "waits" => self.wait(who, expected),
            "hears" => self.person(who).hear(),
            "closes" => self.close(who),
            "publishes" => self.publish(who, what),
            other => panic!("what is {other:?}?"),
        }
    }

    fn person(&mut self, who: &str) -> &mut Person {
        let gateway = &self.gateway;
        self.people.entry(who.to_owned()).or_insert_with(|| Person {
            reader: gateway.client(),
            writer: gateway.client(),
            mailbox: String::new(),
            key: String::new(),
            cursor: 0,
        })
    }

    fn open(&mut self, who: &str, what: &str) -> Answer {
        let (body, token) = match what.rsplit_once(" with ") {
            Some((body, token)) => (body, Some(format!("Bearer {}", self.tokens[token]))),
            None => (what, None),
        };
        let headers: Vec<_> = token.iter().map(|t| ("authorization", t.as_str())).collect();
        let path = format!("/{}/mailboxes", self.app);
        let person = self.person(who);
        let response = person.writer.request("POST", &path, &headers, body.as_bytes());
        if response.status != 201 {
            return Answer::plain(&response);
        }
        let mut opened = fields(&response);
        let (mailbox, key) = (text(&mut opened, "mailbox"), text(&mut opened, "key"));
        assert_eq!(key.len(), 22, "128 bits in base64url: {response:?}");
        person.cursor = number(&mut opened, "cursor");
        person.mailbox = format!("{path}/{mailbox}");
        person.key = key;
        let data = opened.remove("reply");
        assert!(opened.is_empty(), "more than the protocol says: {opened:?}");
        Answer { status: 201, word: Some(mailbox), data, seqs: None }
    }

    fn send(&mut self, who: &str, what: &str) -> Answer {
        let person = self.person(who);
        let response = person.request("POST", what);
        if response.status != 200 {
            return Answer::plain(&response);
        }
        let mut answer = fields(&response);
        let data = answer.remove("reply");
        assert!(answer.is_empty(), "more than the protocol says: {answer:?}");
        Answer { status: 200, data, ..Answer::default() }
    }

    fn close(&mut self, who: &str) -> Answer {
        Answer::plain(&self.person(who).request("DELETE", ""))
    }

    fn wait(&mut self, who: &str, expected: &Answer) -> Answer {
        let awaited = expected.count();
        let started = Instant::now();
        let mut all = Answer::default();
        loop {
            let more = self.person(who).read(1);
            let is_over = !matches!(more.status, 200 | 204);
            all.append(more);
            if is_over || all.count() >= awaited || started.elapsed() > PATIENCE {
                return all;
            }
        }
    }

    /// Returns when the gateway holds the read.
    fn listen(&mut self, who: &str) {
        let line = format!("cometbox_held_reads{{app={:?}}}", self.app);
        let held = self.gateway.metric(&line);
        self.person(who).ask(15);
        self.gateway.until(&line, held + 1);
    }

    fn publish(&mut self, who: &str, what: &str) -> Answer {
        let path = format!("/{}/publish", self.app);
        let headers: &[_] = match who {
            "backend" => &[("authorization", "Bearer backend-key")],
            _ => &[],
        };
        let writer = &mut self.person(who).writer;
        let response = writer.request("POST", &path, headers, what.as_bytes());
        if response.status != 200 {
            return Answer::plain(&response);
        }
        let Some(Value::Array(results)) = fields(&response).remove("results") else {
            panic!("no results in {response:?}")
        };
        let data = results.into_iter().map(brief).collect();
        Answer { status: 200, data: Some(data), ..Answer::default() }
    }
}

impl Person {
    fn request(&mut self, method: &str, body: &str) -> Response {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str())];
        self.writer.request(method, &self.mailbox, &headers, body.as_bytes())
    }

    fn read(&mut self, wait_s: u32) -> Answer {
        self.ask(wait_s);
        self.hear()
    }

    fn ask(&mut self, wait_s: u32) {
        let path = format!("{}?cursor={}&wait={wait_s}", self.mailbox, self.cursor);
        let bearer = format!("Bearer {}", self.key);
        self.reader.send("GET", &path, &[("authorization", &bearer)], b"");
    }

    fn hear(&mut self) -> Answer {
        let response = self.reader.receive().expect("a read is answered");
        if response.status != 200 {
            return Answer::plain(&response);
        }
        let mut answer = fields(&response);
        let Some(Value::Array(messages)) = answer.remove("messages") else {
            panic!("no messages in {response:?}")
        };
        let lost = number(&mut answer, "lost");
        let (mut data, mut seqs) = (Vec::new(), Vec::new());
        for message in messages {
            let Value::Object(mut message) = message else { panic!("{message} is no message") };
            let seq = number(&mut message, "seq");
            assert!(seq > self.cursor, "older than what was confirmed: {response:?}");
            self.cursor = seq;
            seqs.push(seq);
            data.push(message.remove("data").expect("a message has data"));
            assert!(message.is_empty(), "more than the protocol says: {response:?}");
        }
        assert_eq!(number(&mut answer, "cursor"), self.cursor, "{response:?}");
        // Nothing gets lost in any of these conversations.
        let word = (lost > 0).then(|| format!("lost {lost}"));
        Answer { status: 200, word, data: Some(data.into()), seqs: Some(seqs.into()) }
    }
}

impl Answer {
    /// An error, or something without a body.
    fn plain(response: &Response) -> Self {
        let status = response.status;
        if response.body.is_empty() {
            return Self { status, ..Self::default() };
        }
        let message = response.json()["error"]["message"].clone();
        Self { status, word: Some(response.code()), data: Some(message), seqs: None }
    }

    fn parse(text: &str) -> Self {
        if text == "nothing" {
            return Self { status: 204, ..Self::default() };
        }
        let (status, rest) = match text.split_once(' ') {
            _ if text.starts_with('[') => ("200", text),
            Some(parts) => parts,
            None => (text, ""),
        };
        let status = status.parse().unwrap_or_else(|e| panic!("{status:?} is no status: {e}"));
        let (word, rest) = match rest.split_once(' ') {
            _ if !rest.starts_with(char::is_alphabetic) => (None, rest),
            Some((word, rest)) => (Some(word.to_owned()), rest),
            None => (Some(rest.to_owned()), ""),
        };
        let (data, seqs) = rest.split_once(" seqs ").unwrap_or((rest, ""));
        let value = |text: &str| {
            let parsed =
                |text| serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            (!text.is_empty()).then(|| parsed(text))
        };
        Self { status, word, data: value(data), seqs: value(seqs) }
    }

    /// Whether an answer is as this one, which was written down, says.
    fn fits(&self, got: &Self) -> bool {
        let data = match (&self.data, &got.data) {
            (None, Some(_)) => got.is_error(),
            (Some(Value::String(piece)), Some(Value::String(message))) if got.is_error() => {
                message.contains(piece)
            }
            (expected, got) => expected == got,
        };
        let word = match self.word {
            None => got.status == 201 || got.word.is_none(),
            Some(_) => self.word == got.word,
        };
        let seqs = self.seqs.is_none() || self.seqs == got.seqs;
        self.status == got.status && word && data && seqs
    }

    fn is_error(&self) -> bool {
        self.status >= 400
    }

    /// How many messages there are.
    fn count(&self) -> usize {
        self.data.as_ref().and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// What a further read brought. One that brought nothing changes nothing.
    fn append(&mut self, mut more: Self) {
        if self.count() == 0 || more.status > 204 || more.word.is_some() {
            *self = more;
            return;
        }
        for (all, more) in [(&mut self.data, &mut more.data), (&mut self.seqs, &mut more.seqs)] {
            if let (Some(Value::Array(all)), Some(Value::Array(more))) = (all, more) {
                all.append(more);
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(word) = &self.word {
            write!(f, " {word}")?;
        }
        if let Some(data) = &self.data {
            write!(f, " {data}")?;
        }
        self.seqs.as_ref().map_or(Ok(()), |seqs| write!(f, " seqs {seqs}"))
    }
}

fn fields(response: &Response) -> Map<String, Value> {
    match response.json() {
        Value::Object(fields) => fields,
        other => panic!("an object was expected: {other}"),
    }
}

fn text(fields: &mut Map<String, Value>, name: &str) -> String {
    let value = fields.remove(name);
    value.as_ref().and_then(Value::as_str).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

fn number(fields: &mut Map<String, Value>, name: &str) -> u64 {
    fields.remove(name).and_then(|value| value.as_u64()).unwrap_or_else(|| panic!("no {name}"))
}

/// The result of a publish without what is empty in it.
fn brief(mut result: Value) -> Value {
    if let Some(error) = result.get("error") {
        return json!({"error": error["code"]});
    }
    let fields = result.as_object_mut().expect("a result is an object");
    fields.retain(|name, value| name == "queued" || !(*value == json!([]) || *value == json!(0)));
    result
}

/// What a test says when it fails: which line, and both sides.
#[test]
#[should_panic(expected = "line 3 of the transcript: bob reads → [{\"joined\":\"cid\"}]\n \
                           expected: 200 [{\"joined\":\"cid\"}]\n      \
                           got: 200 [{\"joined\":\"ann\"}] seqs [1]")]
fn a_line_that_is_not_so_is_shown_with_both_sides() {
    chat::talk("").goes(
        r#"bob opens {"nick":"bob"} → 201 bob {"room":"lobby","nick":"bob","members":[]}
           ann opens {"nick":"ann"} → 201 ann {"room":"lobby","nick":"ann","members":["bob"]}
           bob reads → [{"joined":"cid"}]"#,
    );
}
