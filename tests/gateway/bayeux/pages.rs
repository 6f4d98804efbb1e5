//! Which pages may speak Bayeux where no browser asks before: with the user's
//! cookies and address, a stranger's page could else be the user.

use super::{Bayeux, http::encoded};
use crate::support::{Gateway, Response, component};
use serde_json::json;

const SHAKE: &str = r#"[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket","long-polling","callback-polling"]}]"#;

const FRIEND: &str = "https://friend.example";

/// The host of all requests here.
const OWN: &str = "http://test";

fn start(origins: &[&str]) -> Gateway {
    let plugin = component("plugins/bayeux-open").display().to_string();
    Gateway::start(&format!(
        "cors = {{ origins = {origins:?} }}\n[[app]]\nname = \"open\"\nplugins = [{plugin:?}]\n"
    ))
}

/// The ways to come without being asked, and JSON, for which a browser asks.
const WAYS: [&str; 6] = ["script", "websocket", "form", "text", "untyped", "json"];

fn come(gateway: &Gateway, way: &str, headers: &[(&str, &str)]) -> Response {
    let websocket = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let form = format!("message={}", encoded(SHAKE));
    let script = format!("/open/bayeux?{form}");
    let (method, path, more, body) = match way {
        "script" => ("GET", &*script, &[][..], ""),
        "websocket" => ("GET", "/open/bayeux", &websocket[..], ""),
        "form" => {
            let kind = &[("content-type", "application/x-www-form-urlencoded")];
            ("POST", "/open/bayeux", &kind[..], &*form)
        }
        "text" => ("POST", "/open/bayeux", &[("content-type", "text/plain;a=json")][..], SHAKE),
        "untyped" => ("POST", "/open/bayeux", &[][..], SHAKE),
        "json" => {
            let kind = &[("content-type", "application/json;charset=UTF-8")];
            ("POST", "/open/bayeux", &kind[..], SHAKE)
        }
        other => panic!("what is {other}?"),
    };
    gateway.client().request(method, path, &[headers, more].concat(), body.as_bytes())
}

#[test]
fn a_strangers_page_is_refused_where_no_browser_asks() {
    let origin = |origin| [("origin", origin)];
    for (case, origins, headers, is_refused) in [
        ("no page", &[][..], &[][..], false),
        ("its own", &[], &origin(OWN), false),
        ("its own by referer", &[], &[("referer", "http://test/page")], false),
        (
            "its own behind a proxy",
            &[],
            &[("origin", FRIEND), ("sec-fetch-site", "same-origin")],
            false,
        ),
        ("another", &[], &origin(FRIEND), true),
        ("another by referer", &[], &[("referer", "https://friend.example/page")], true),
        ("another that hides", &[], &[("sec-fetch-site", "cross-site")], true),
        ("a sister", &[], &[("sec-fetch-site", "same-site"), ("origin", "http://test:81")], true),
        ("none that it would name", &[FRIEND], &origin("null"), true),
        (
            "not the one that is allowed",
            &[FRIEND],
            &origin("https://friend.example.evil.example"),
            true,
        ),
        ("allowed", &[FRIEND], &[("origin", FRIEND), ("sec-fetch-site", "cross-site")], false),
        ("allowed by referer", &[FRIEND], &[("referer", "https://friend.example/page")], false),
        ("any is allowed", &["*"], &[("sec-fetch-site", "cross-site")], false),
    ] {
        let gateway = start(origins);
        for way in WAYS {
            let response = come(&gateway, way, headers);
            if is_refused && way != "json" {
                let got = (response.status, response.code());
                assert_eq!(got, (403, "forbidden".into()), "{case} by {way}");
            } else {
                let expected = if way == "websocket" { 101 } else { 200 };
                assert_eq!(response.status, expected, "{case} by {way}: {response:?}");
            }
        }
    }
}

#[test]
fn what_a_stranger_says_has_no_effect() {
    let gateway = start(&[]);
    let mut ann = Bayeux::join(&gateway);
    ann.subscribe("/a");
    let form = format!(
        "message={}",
        encoded(&json!([ann.message("/a", &json!({"data": 1}))]).to_string())
    );
    for (origin, queued) in [(FRIEND, 0), (OWN, 1)] {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let headers = [("origin", origin), kind];
        gateway.client().request("POST", "/open/bayeux", &headers, form.as_bytes());
        assert_eq!(gateway.metric("cometbox_queued_messages{app=\"open\"}"), queued, "{origin}");
    }
}

#[test]
fn the_cookie_of_a_browser_comes_back_from_the_page_that_got_it() {
    let gateway = start(&[FRIEND, "http://plain.example"]);
    for (origin, expected) in [
        (OWN, "Lax"),
        (FRIEND, "None; Secure"),
        // A browser would not keep it so.
        ("http://plain.example", "Lax"),
    ] {
        let response = come(&gateway, "json", &[("origin", origin)]);
        let cookie = response.header("set-cookie").expect("a cookie");
        let (_, same_site) = cookie.split_once("; Path=/; HttpOnly; SameSite=").expect("it is so");
        assert_eq!(same_site, expected, "{origin}");
    }
    let referer = [("referer", "https://friend.example/page"), ("sec-fetch-site", "cross-site")];
    let script = come(&gateway, "script", &referer);
    assert!(script.header("set-cookie").is_some_and(|cookie| cookie.ends_with("None; Secure")));
}
