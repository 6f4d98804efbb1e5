//! Publishing, one by one and in batches.

use super::start;
use crate::support::{Gateway, lab};

#[test]
fn only_publish_keys_publish() {
    let mute = lab("").replace("\"lab\"", "\"mute\"");
    let mute = mute.replace("publish_keys = [\"secret\", \"other\"]", "");
    let gateway = Gateway::start(&format!("{}{mute}", lab("")));
    let mut client = gateway.client();
    for (app, key, status) in [
        ("lab", "Bearer secret", 200),
        ("lab", "Bearer other", 200),
        ("lab", "bearer secret", 200),
        ("lab", "Bearer secre", 401),
        ("lab", "Bearer secrets", 401),
        ("lab", "Bearer ", 401),
        ("lab", "secret", 401),
        ("mute", "Bearer secret", 403),
        ("mute", "Bearer ", 403),
    ] {
        let headers = [("authorization", key)];
        let response =
            client.request("POST", &format!("/{app}/publish"), &headers, b"{\"data\":1}");
        assert_eq!(response.status, status, "{app} {key:?}");
    }
    let response = client.post("/lab/publish", "{\"data\":1}");
    assert_eq!((response.status, response.code().as_str()), (401, "unauthorized"));
    let response = client.post("/mute/publish", "{\"data\":1}");
    assert_eq!((response.status, response.code().as_str()), (403, "forbidden"));
}

#[test]
fn each_receiver_gets_a_message_once_and_the_publisher_is_told() {
    let gateway = start("mailbox_messages = 2");
    let mut client = gateway.client();
    let key = client.open_with("{\"name\":\"ann\",\"groups\":[\"g\",\"h\"]}");
    client.open_with("{\"name\":\"bob\",\"groups\":[\"g\"]}");
    let report = client.publish(
        "{\"to\":{\"mailboxes\":[\"ann\",\"cid\"],\"groups\":[\"g\",\"h\",\"nobody\"],\
         \"except\":[\"bob\"]},\"data\":1}",
    );
    assert_eq!(
        report.text(),
        "{\"results\":[{\"queued\":1,\"missing\":[\"cid\"],\"full\":[],\"dropped\":0}]}"
    );
    let item = "{\"to\":{\"groups\":[\"g\"]},\"data\":2}";
    let report = client.publish(&format!("[{item},{item}]"));
    assert_eq!(
        report.text(),
        "{\"results\":[{\"queued\":2,\"missing\":[],\"full\":[],\"dropped\":0},\
         {\"queued\":2,\"missing\":[],\"full\":[],\"dropped\":1}]}"
    );
    let read = client.get(&format!("/lab/mailboxes/ann?key={key}"));
    assert_eq!((&read.json()["lost"], &read.json()["cursor"]), (&1.into(), &3.into()));
}

#[test]
fn a_full_mailbox_can_refuse() {
    let gateway = start("mailbox_messages = 2, full = \"reject\"");
    let mut client = gateway.client();
    client.open("ann");
    let item = "{\"to\":{\"mailboxes\":[\"ann\"]},\"data\":1}";
    let report = client.publish(&format!("[{item},{item},{item}]")).json();
    assert_eq!(report["results"][1]["queued"], 1);
    assert_eq!(report["results"][2]["queued"], 0);
    assert_eq!(report["results"][2]["full"][0], "ann");
}

#[test]
fn messages_collapse_and_expire() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let to = "\"to\":{\"mailboxes\":[\"ann\"]}";
    client.publish(&format!(
        "[{{{to},\"data\":\"IBM 1\",\"collapse\":\"IBM\"}},{{{to},\"data\":\"short\",\"ttl_ms\":1}},\
         {{{to},\"data\":\"IBM 2\",\"collapse\":\"IBM\"}},{{{to},\"data\":\"last\"}}]"
    ));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let read = client.get(&format!("/lab/mailboxes/ann?key={key}")).json();
    let data: Vec<_> =
        read["messages"].as_array().expect("an array").iter().map(|m| m["data"].clone()).collect();
    assert_eq!(data, ["IBM 2", "last"]);
    assert_eq!(read["lost"], 0);
}

#[test]
fn a_malformed_batch_changes_nothing_and_names_the_item() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let good = "{\"to\":{\"mailboxes\":[\"ann\"]},\"data\":1}";
    for (bad, code) in [
        ("{}", "bad_request"),
        ("7", "bad_request"),
        ("[]", "bad_request"),
        ("{\"data\":}", "bad_request"),
        ("{\"data\":1,\"dato\":1}", "bad_request"),
        ("{\"data\":1,\"ttl_ms\":\"1\"}", "bad_request"),
        ("{\"data\":1,\"collapse\":\"\"}", "bad_request"),
        ("{\"data\":1,\"to\":{\"mailbox\":[]}}", "bad_request"),
        ("{\"data\":1,\"to\":{\"mailboxes\":[\"\"]}}", "bad_name"),
        ("{\"data\":1,\"to\":{\"groups\":[\".\"]}}", "bad_name"),
        ("{\"data\":1,\"to\":{\"groups\":[\"a\\u0000\"]}}", "bad_name"),
        ("{\"data\":1,\"to\":{\"groups\":[\"a\",\"b/*\"]}}", "bad_name"),
        ("{\"data\":1,\"to\":{\"groups\":[\"**\"]}}", "bad_name"),
    ] {
        let response = client.publish(&format!("[{good},{good},{bad}]"));
        assert_eq!((response.status, response.code().as_str()), (400, code), "{bad}");
        assert_eq!(response.json()["error"]["index"], 2, "{bad}");
    }
    for bad in ["", "x", &format!("[{good},{good}"), &format!("{good} {good}")] {
        let response = client.publish(bad);
        assert_eq!((response.status, response.code().as_str()), (400, "bad_request"), "{bad}");
    }
    let read = client.get(&format!("/lab/mailboxes/ann?wait=0&key={key}"));
    assert_eq!(read.status, 204, "nothing of all that arrived");
}

#[test]
fn where_a_plugin_fails_at_an_item_the_others_stand() {
    let gateway = start("");
    let mut client = gateway.client();
    let key = client.open("ann");
    let good = "{\"to\":{\"mailboxes\":[\"ann\"]},\"data\":1}";
    let fails = "{\"to\":{\"mailboxes\":[\"ann\"]},\"data\":{\"do\":\"panic\"}}";
    let rejects = "{\"to\":{\"mailboxes\":[\"ann\"]},\"data\":{\"do\":\"reject\"}}";
    let report = client.publish(&format!("[{good},{fails},{rejects},{good}]"));
    assert_eq!(report.status, 200);
    let results = report.json()["results"].clone();
    assert_eq!((&results[0]["queued"], &results[3]["queued"]), (&1.into(), &1.into()));
    assert_eq!(results[1]["error"]["code"], "plugin_failed");
    assert!(results[1]["error"]["id"].is_string());
    assert_eq!(results[2]["error"]["code"], "rejected");
    let read = client.get(&format!("/lab/mailboxes/ann?key={key}")).json();
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(2));
}
