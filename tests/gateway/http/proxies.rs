//! Whose address a plugin sees.

use crate::support::{Client, Gateway, lab};

/// The peer that a plugin is told, by each way in which HTTP/1.1 is read, and by
/// Bayeux.
fn peers(client: &mut Client, headers: &[(&str, &str)]) -> [String; 3] {
    let handshake = br#"{"channel":"/meta/handshake","version":"1.0",
        "supportedConnectionTypes":["long-polling"],"ext":{"do":"show_request"}}"#;
    let shaken = client.request("POST", "/lab/bayeux", headers, handshake).json();
    let by_bayeux = shaken[0]["ext"]["reply"]["peer"].as_str().expect("an address").to_owned();
    // The front does not take a request that expects anything.
    let [by_front, by_hyper] = [&[][..], &[("expect", "100-continue")]].map(|more| {
        let headers = [headers, more].concat();
        client.send("POST", "/lab/mailboxes", &headers, br#"{"do":"show_request"}"#);
        let mut opened = client.receive().expect("an answer");
        if opened.status == 100 {
            opened = client.receive().expect("the answer itself");
        }
        assert_eq!(opened.status, 201, "{opened:?}");
        opened.json()["reply"]["peer"].as_str().expect("an address").to_owned()
    });
    [by_front, by_hyper, by_bayeux]
}

#[test]
fn a_trusted_proxy_is_believed_and_nobody_else() {
    const FORWARDED: &str = "forwarded_header = \"forwarded\"";
    for (trusted, more, headers, expected) in [
        (r#"["127.0.0.0/8"]"#, "", &[("x-forwarded-for", "192.0.2.1")][..], "192.0.2.1"),
        (r#"["::1", "127.0.0.1"]"#, "", &[("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
        (
            r#"["127.0.0.1"]"#,
            FORWARDED,
            &[("Forwarded", "for=\"[3fff::1]:80\";proto=https")],
            "3fff::1",
        ),
        (
            r#"["127.0.0.1", "10.0.0.0/8"]"#,
            "",
            &[("X-Forwarded-For", "1.1.1.1, 192.0.2.1"), ("X-Forwarded-For", "10.0.0.7")],
            "192.0.2.1",
        ),
        // The proxy writes one of them, its client the other.
        (
            r#"["127.0.0.1"]"#,
            "",
            &[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.1")],
            "192.0.2.1",
        ),
        (
            r#"["127.0.0.1"]"#,
            FORWARDED,
            &[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "1.1.1.1")],
            "192.0.2.1",
        ),
        (r#"["127.0.0.1"]"#, "", &[("forwarded", "for=1.1.1.1")], "127.0.0.1"),
        (r#"["127.0.0.1"]"#, "", &[("x-forwarded-for", "unknown")], "127.0.0.1"),
        (r#"["127.0.0.1"]"#, "", &[("x-forwarded-for", "\u{e4}")], "127.0.0.1"),
        (r#"["127.0.0.1"]"#, "", &[], "127.0.0.1"),
        (r#"["10.0.0.0/8"]"#, "", &[("x-forwarded-for", "192.0.2.1")], "127.0.0.1"),
        (
            "[]",
            "",
            &[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")],
            "127.0.0.1",
        ),
    ] {
        let comma = if more.is_empty() { "" } else { ", " };
        let http = format!("http = {{ trusted_proxies = {trusted}{comma}{more} }}\n");
        let gateway = Gateway::start(&format!("{http}{}", lab("limits = { call_ms = 1000 }")));
        let peers = peers(&mut gateway.client(), headers);
        assert_eq!(peers, [expected; 3], "{trusted} {more} {headers:?}");
    }
}
