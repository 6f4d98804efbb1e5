//! Bayeux, as far as no real client gets there (those are in `tests/bayeux`):
//! what is malformed, what comes at an odd moment, and the fields of answers.

mod bounds;
mod connect;
mod http;
mod pages;
mod socket;

use crate::support::{Client, Gateway, component, lab};
use serde_json::{Value, json};

/// A gateway with the apps `open` (the plugin bayeux-open) and `lab`.
fn start(http: &str, limits: &str) -> Gateway {
    let plugin = component("plugins/bayeux-open").display().to_string();
    let limits = format!("limits = {{ {limits} }}");
    Gateway::start(&format!(
        "http = {{ {http} }}\n[[app]]\nname = \"open\"\nplugins = [{plugin:?}]\n\
         publish_keys = [\"secret\"]\n{limits}\n{}",
        lab(&limits)
    ))
}

/// A connection that speaks Bayeux to the app `open`.
struct Bayeux {
    client: Client,
    app: &'static str,
    id: String,
    /// More headers.
    headers: Vec<(&'static str, String)>,
}

impl Bayeux {
    /// Has shaken hands.
    fn join(gateway: &Gateway) -> Self {
        Self::with(gateway, &[])
    }

    fn with(gateway: &Gateway, headers: &[(&'static str, &str)]) -> Self {
        Self::shake(gateway, "open", headers, &json!({}))
    }

    /// One that acknowledges.
    fn acknowledging(gateway: &Gateway) -> Self {
        Self::shake(gateway, "open", &[], &json!({"ack": true}))
    }

    fn shake(
        gateway: &Gateway,
        app: &'static str,
        headers: &[(&'static str, &str)],
        ext: &Value,
    ) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut joined = Self { client: gateway.client(), app, id: String::new(), headers };
        let replies = joined.say(&json!([{"channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["long-polling"], "ext": ext}]));
        assert_eq!(replies[0]["successful"], true, "{replies}");
        joined.id = text(&replies[0]["clientId"]);
        joined
    }

    /// The same client on another connection.
    fn again(&self, gateway: &Gateway) -> Self {
        let (id, headers) = (self.id.clone(), self.headers.clone());
        Self { client: gateway.client(), app: self.app, id, headers }
    }

    /// A message of this client.
    fn message(&self, channel: &str, more: &Value) -> Value {
        let mut message = json!({"channel": channel, "clientId": self.id, "id": "i"});
        for (key, value) in more.as_object().expect("a map") {
            message[key] = value.clone();
        }
        message
    }

    fn connect(&self, more: &Value) -> Value {
        let mut message = self.message("/meta/connect", more);
        message["connectionType"] = "long-polling".into();
        message
    }

    /// Sends messages, and does not wait for the replies.
    fn send(&mut self, messages: &Value) {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let path = format!("/{}/bayeux", self.app);
        self.client.send("POST", &path, &headers, messages.to_string().as_bytes());
    }

    fn replies(&mut self) -> Value {
        let response = self.client.receive().expect("an answer");
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        response.json()
    }

    fn say(&mut self, messages: &Value) -> Value {
        self.send(messages);
        self.replies()
    }

    fn subscribe(&mut self, channel: &str) {
        let message = self.message("/meta/subscribe", &json!({"subscription": channel}));
        assert_eq!(self.say(&json!([message]))[0]["successful"], true);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Publishes to a group of the app `open`.
fn publish(gateway: &Gateway, group: &str, data: &Value) {
    let item = json!({"to": {"groups": [group]}, "data": data}).to_string();
    let key = [("authorization", "Bearer secret")];
    let response = gateway.client().request("POST", "/open/publish", &key, item.as_bytes());
    assert_eq!(response.status, 200, "{response:?}");
}
