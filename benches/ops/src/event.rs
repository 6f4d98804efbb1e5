//! Events, the whole way from the call into the app to the answers: with a
//! native plugin, which costs nothing itself, and with real components.

use crate::{Operation, Work, world};
use cometbox::{
    app::{Answers, App, AppLimits, Now},
    build,
    core::{Address, Answer, ConnId, Message, Payload, PluginName, Polled, ReadFrom},
    plugin::{
        Accept, Context, Event, Failure, OpenRequest, Outcome, Plugin, PluginLimits, Reads, Wants,
        wasm::Engine,
    },
};
use std::{hint::black_box, path::Path, sync::Arc};

pub fn operations() -> Vec<Operation> {
    let guarded = |name, per_step, steps, prepare| Operation {
        name,
        guarded: true,
        per_step,
        steps,
        prepare,
    };
    vec![
        guarded("app/poll/held", 100, 10, || hold(native())),
        guarded("app/message/native", 100, 10, || messages(native(), bench_hello, "null")),
        guarded("app/message/wasm", 10, 10, || messages(wasm(BENCH), bench_hello, "null")),
        guarded("app/message/chat", 10, 10, || messages(wasm(CHAT), chat_hello, CHAT_LINE)),
        guarded("app/publish/native/1", 100, 10, || publish(native(), 100, 1)),
        guarded("app/publish/native/100", 1, 10, || publish(native(), 1, 100)),
        guarded("app/publish/wasm/1", 10, 10, || publish(wasm(BENCH), 10, 1)),
        guarded("app/publish/wasm/100", 1, 10, || publish(wasm(BENCH), 1, 100)),
        guarded("plugin/call/message", 10, 10, || Box::new(Call::new())),
    ]
}

const BENCH: &str = "benches/plugin";
const CHAT: &str = "plugins/chat";
const CHAT_LINE: &str = r#"{"say":"a line of some fifty characters, as people write"}"#;

/// Bounds that nothing here reaches, also when it runs fifty times slower.
const PLUGIN: PluginLimits = PluginLimits {
    call_ms: 5_000,
    load_ms: 60_000,
    memory_bytes: 16 << 20,
    actions: 1000,
    output_bytes: 1 << 20,
    host_calls: 1000,
    read_bytes: 4 << 20,
};

const LIMITS: AppLimits = AppLimits {
    core: world::CORE,
    mailbox: world::MAILBOX,
    max_mailbox: world::MAILBOX,
    linger_ms: 60_000,
    max_linger_ms: 60_000,
    plugin: PLUGIN,
};

const NOW: Now = Now { mono: 1_000, unix_ms: 1_700_000_000_000 };

/// What `benches/plugin` does: lets everything pass.
struct Pass(PluginName);

impl Plugin for Pass {
    fn name(&self) -> &PluginName {
        &self.0
    }

    fn wants(&self) -> Wants {
        Wants { message: true, publish: true, ..Wants::default() }
    }

    fn call(&self, _: Context, event: Event<'_>, _: &mut Reads) -> Result<Outcome, Failure> {
        let accept = match event {
            Event::Open { request, .. } => {
                let body = std::str::from_utf8(&request.body.bytes).expect("JSON");
                let words: Vec<_> = body.split('"').collect();
                let (mailbox, group) = (world::name(words[3]), world::name(words[7]));
                let groups = vec![group];
                Some(Accept { mailbox: Some(mailbox), groups, ..Accept::default() }.into())
            }
            _ => None,
        };
        Ok(Outcome { accept, deliver: true, ..Outcome::default() })
    }
}

fn native() -> Arc<dyn Plugin> {
    Arc::new(Pass(PluginName("pass".into())))
}

/// A component that `cometbox build` has left in its folder.
fn wasm(folder: &str) -> Arc<dyn Plugin> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let path = build::component_of(&folder).unwrap_or_else(|error| panic!("{error}"));
    let component = std::fs::read(path).expect("it was found there");
    let engine = Engine::new().expect("this machine runs plugins");
    let loaded = engine.load(PluginName("wasm".into()), &component, "{}", PLUGIN);
    Arc::new(loaded.unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
}

/// The body that opens a mailbox in a group, or a seat in a room.
type Hello = fn(&str, &str) -> String;

fn bench_hello(mailbox: &str, group: &str) -> String {
    format!(r#"{{"name":"{mailbox}","groups":["{group}"]}}"#)
}

fn chat_hello(nick: &str, room: &str) -> String {
    format!(r#"{{"nick":"{nick}","room":"{room}"}}"#)
}

/// An app, its clients and their groups.
struct Serving {
    app: Arc<App>,
    out: Answers,
    clients: Vec<(String, u64)>,
}

impl Serving {
    fn new(plugin: Arc<dyn Plugin>) -> Self {
        let app = App::new("ops", LIMITS, 1, Box::new(|| {}));
        let mut out = Answers::new();
        app.swap(NOW, vec![plugin], &mut out).expect("it loads");
        Self { app, out, clients: Vec::new() }
    }

    fn open(&mut self, hello: Hello, group: &str) {
        let client = format!("client-{}", self.clients.len());
        let body = Payload::json(hello(&client, group));
        let request = OpenRequest { body, headers: Vec::new(), peer: "127.0.0.1".into() };
        self.app.open(NOW, world::KEY, &request, &mut self.out).expect("it is let in");
        self.clients.push((client, 0));
    }

    fn poll(&mut self, client: usize) -> Polled {
        let (mailbox, cursor) = &self.clients[client];
        let conn = ConnId(client as u64);
        let (from, out) = (ReadFrom::Cursor(Some(*cursor)), &mut self.out);
        let wait_ms = world::WAIT_MS;
        self.app.poll(NOW, mailbox, world::KEY, from, wait_ms, conn, out).expect("it is there")
    }

    /// All clients wait for something: first they take what is there.
    fn hold_all(&mut self) {
        for client in 0..self.clients.len() {
            while let Polled::Ready(batch) = self.poll(client) {
                self.clients[client].1 = batch.cursor;
            }
        }
    }

    fn answered_poll_again(&mut self) {
        let mut answers = std::mem::take(&mut self.out);
        for (conn, answer) in answers.drain(..) {
            let Answer::Batch(batch) = answer else { unreachable!("nobody is away that long") };
            let client = usize::try_from(conn.0).expect("numbered so");
            self.clients[client].1 = batch.cursor;
            self.poll(client);
        }
        self.out = answers;
    }
}

struct Hold(Serving);

fn hold(plugin: Arc<dyn Plugin>) -> Box<dyn Work> {
    let mut serving = Serving::new(plugin);
    (0..100).for_each(|_| serving.open(bench_hello, "all"));
    Box::new(Hold(serving))
}

impl Work for Hold {
    fn step(&mut self) {
        for client in 0..self.0.clients.len() {
            black_box(self.0.poll(client));
        }
    }

    fn reset(&mut self) {
        self.0.app.release_held(NOW, &mut self.0.out);
        assert_eq!(self.0.out.len(), self.0.clients.len(), "everybody was held");
        self.0.out.clear();
    }
}

/// The first client says something; in a chat nine others are in the room.
struct Messages {
    serving: Serving,
    data: Payload,
    repeat: usize,
}

fn messages(plugin: Arc<dyn Plugin>, hello: Hello, data: &'static str) -> Box<dyn Work> {
    let is_native = plugin.name().0.as_ref() == "pass";
    let mut serving = Serving::new(plugin);
    (0..10).for_each(|_| serving.open(hello, "lobby"));
    serving.out.clear();
    let repeat = if is_native { 100 } else { 10 };
    Box::new(Messages { serving, data: Payload::json(data), repeat })
}

impl Work for Messages {
    fn step(&mut self) {
        let Serving { app, out, clients } = &mut self.serving;
        for _ in 0..self.repeat {
            let said = app.message(NOW, &clients[0].0, world::KEY, None, &self.data, out);
            black_box(said).expect("the plugin takes it");
        }
    }

    fn reset(&mut self) {
        self.serving.answered_poll_again();
        self.serving.hold_all();
        self.serving.out.clear();
    }
}

/// A backend publishes to each of some groups, all of whose readers are held.
struct Publish {
    serving: Serving,
    to: Vec<Address>,
    message: Arc<Message>,
}

fn publish(plugin: Arc<dyn Plugin>, groups: usize, members: usize) -> Box<dyn Work> {
    let mut serving = Serving::new(plugin);
    let names: Vec<String> = (0..groups).map(|n| format!("group-{n}")).collect();
    for group in &names {
        (0..members).for_each(|_| serving.open(bench_hello, group));
    }
    serving.hold_all();
    let to = names.iter().map(|name| world::to_group(name)).collect();
    Box::new(Publish { serving, to, message: world::message() })
}

impl Work for Publish {
    fn step(&mut self) {
        for to in &self.to {
            let Serving { app, out, .. } = &mut self.serving;
            black_box(app.publish(NOW, to, &self.message, out)).expect("the plugin delivers it");
        }
    }

    fn reset(&mut self) {
        let (answers, clients) = (self.serving.out.len(), self.serving.clients.len());
        assert_eq!(answers, clients, "everybody was answered");
        self.serving.answered_poll_again();
    }
}

/// A warm call of the component alone.
struct Call {
    plugin: Arc<dyn Plugin>,
    data: Payload,
}

impl Call {
    fn new() -> Self {
        Self { plugin: wasm(BENCH), data: Payload::json(world::JSON) }
    }
}

impl Work for Call {
    fn step(&mut self) {
        use cometbox::plugin::SessionView;
        for _ in 0..10 {
            let context = Context { now_ms: NOW.unix_ms, seed: 7 };
            let session = SessionView { mailbox: "ann", identity: None, state: None };
            let event = Event::Message { session, channel: None, data: &self.data };
            let outcome = self.plugin.call(context, event, &mut Reads::default());
            black_box(outcome).expect("it lets everything pass");
        }
    }
}
