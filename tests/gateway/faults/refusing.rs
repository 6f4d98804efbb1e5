//! While a disk fails, nothing new is taken, by whichever way it comes.

use super::config;
use crate::{
    streams::Socket,
    support::{Client, Faults, Gateway, Response, component, eventually},
};
use serde_json::{Value, json};

/// Where Bayeux clients go: its plugin lets them subscribe and publish.
fn open_app() -> String {
    let plugin = component("plugins/bayeux-open").display().to_string();
    format!("[[app]]\nname = \"open\"\nplugins = [{plugin:?}]\n")
}

/// Who asks for something new, by each way there is.
struct World {
    gateway: Gateway,
    client: Client,
    /// Where ann sends to, and where she does so by a WebSocket.
    path: String,
    socket: Socket,
    /// Of a client of Bayeux that is subscribed to `/x`.
    id: Value,
    count: usize,
}

/// Why it was refused, if it was.
type Asked = Result<(), String>;

impl World {
    fn new(gateway: Gateway) -> Self {
        let mut client = gateway.client();
        let path = format!("/lab/mailboxes/ann?key={}", client.open("ann"));
        client.open("bob");
        let shaken = client.post("/open/bayeux", &json!([handshake()]).to_string()).json();
        let socket = Socket::open(&gateway, &path, Some("cometbox.v1.json"));
        let mut socket = socket.expect("a handshake");
        socket.json().expect("where it is");
        let id = shaken[0]["clientId"].clone();
        let mut world = Self { gateway, client, path, socket, id, count: 0 };
        world.subscribe_to("/x").expect("the disk works");
        world
    }

    /// Plugins that were called for something new.
    fn calls(&self) -> u64 {
        let calls = |app: &str| {
            let metric =
                |event| format!("cometbox_plugin_calls_total{{app={app:?},event={event:?}}}");
            let calls = |event| self.gateway.metric(&metric(event));
            ["open", "message", "publish", "subscribe"].map(calls).iter().sum::<u64>()
        };
        calls("lab") + calls("open")
    }

    /// A name that is nobody's.
    fn name(&mut self) -> String {
        self.count += 1;
        format!("new-{}", self.count)
    }

    fn open(&mut self) -> Asked {
        let body = json!({ "name": self.name() }).to_string();
        by_http(&self.client.post("/lab/mailboxes", &body))
    }

    fn send(&mut self) -> Asked {
        by_http(&self.client.post(&self.path, "1"))
    }

    fn publish(&mut self) -> Asked {
        by_http(&self.client.publish(r#"{"to":{"mailboxes":["bob"]},"data":1}"#))
    }

    fn send_by_websocket(&mut self) -> Asked {
        self.count += 1;
        self.socket.send(&json!({ "id": self.count, "send": 1 }));
        let answer = loop {
            let came = self.socket.json().expect("it stays open");
            if came["id"] == self.count {
                break came;
            }
        };
        match (&answer["status"], &answer["error"]["code"]) {
            (Value::Null, Value::Null) => Ok(()),
            (status, code) if *status == 507 && code == "not_kept" => Err(text(&answer["error"])),
            _ => panic!("{answer}"),
        }
    }

    fn shake_hands(&mut self) -> Asked {
        self.by_bayeux(handshake())
    }

    fn subscribe(&mut self) -> Asked {
        let channel = format!("/{}", self.name());
        self.subscribe_to(&channel)
    }

    fn subscribe_to(&mut self, channel: &str) -> Asked {
        self.by_bayeux(json!({ "channel": "/meta/subscribe", "subscription": channel }))
    }

    fn publish_by_bayeux(&mut self) -> Asked {
        self.by_bayeux(json!({ "channel": "/x", "data": 1 }))
    }

    fn by_bayeux(&mut self, mut message: Value) -> Asked {
        message["clientId"] = self.id.clone();
        let replies = self.client.post("/open/bayeux", &json!([message]).to_string()).json();
        let mut all = replies.as_array().expect("replies").iter();
        let reply = all.find(|it| it["channel"] == message["channel"]);
        let reply = reply.unwrap_or_else(|| panic!("no reply in {replies}"));
        match reply["error"].as_str() {
            None if reply["successful"] == true => Ok(()),
            Some(error) if error.starts_with("507:") => Err(error.to_owned()),
            _ => panic!("{reply}"),
        }
    }
}

fn handshake() -> Value {
    json!({ "channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["long-polling"] })
}

fn by_http(answer: &Response) -> Asked {
    match answer.status {
        200 | 201 => Ok(()),
        507 if answer.code() == "not_kept" => Err(text(&answer.json()["error"])),
        _ => panic!("{answer:?}"),
    }
}

fn text(error: &Value) -> String {
    error["message"].as_str().unwrap_or_else(|| panic!("no message: {error}")).to_owned()
}

#[test]
fn while_writes_fail_opens_sends_and_publishes_are_refused() {
    let (faults, store) = (Faults::new(), tempfile::tempdir().expect("a temporary folder"));
    let mut world = World::new(Gateway::start_with(&faults, &(config(store.path()) + &open_app())));
    type Ask = fn(&mut World) -> Asked;
    let ways: [(&str, Ask); 7] = [
        ("an open", World::open),
        ("a send", World::send),
        ("a publish", World::publish),
        ("a send by WebSocket", World::send_by_websocket),
        ("a Bayeux handshake", World::shake_hands),
        ("a Bayeux subscription", World::subscribe),
        ("a Bayeux publish", World::publish_by_bayeux),
    ];
    for (case, ask) in ways {
        faults.fail_writes(true);
        let why = ask(&mut world).expect_err(case);
        assert!(why.contains("disk I/O error"), "{case}: who finds out is told: {why}");
        let calls = world.calls();
        let why = ask(&mut world).expect_err(case);
        assert!(why.contains("disk I/O error"), "{case}: {why}");
        assert_eq!(world.calls(), calls, "{case}: nothing has begun");
        faults.fail_writes(false);
        eventually(|| ask(&mut world).is_ok(), case);
    }
}
