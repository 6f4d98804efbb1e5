//! From a connection's input to a request, and from an answer to its output.

use crate::{
    Operation, Work,
    codec::{REPEAT, batch, repeat},
    world,
};
use cometbox::{
    config::HttpConfig,
    core::Answer,
    server::{
        front::head::{self, Framing},
        http1,
        reply::Wish,
        terms::Terms,
    },
    transport::Format,
};
use std::{hint::black_box, mem::MaybeUninit, net::IpAddr};

/// As Chromium sends it for a page of another origin.
const POLL: &str = "GET /chat/mailboxes/AAECAwQFBgcICQoLDA0ODw?cursor=123456&wait=25 HTTP/1.1\r\n\
    Host: push.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Authorization: Bearer AAECAwQFBgcICQoLDA0ODw\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    Accept: */*\r\n\
    Origin: https://www.example.com\r\n\
    Sec-Fetch-Site: same-site\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Referer: https://www.example.com/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\r\n";

/// As a backend's library sends it.
const PUBLISH: &str = "POST /chat/publish HTTP/1.1\r\n\
    Host: push.example.com\r\n\
    User-Agent: python-requests/2.32.5\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Accept: */*\r\n\
    Connection: keep-alive\r\n\
    Authorization: Bearer bench-only-key\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 14\r\n\r\n\
    {\"to\":\"nobody\"";

pub fn operations() -> Vec<Operation> {
    let guarded =
        |name, prepare| Operation { name, guarded: true, per_step: REPEAT, steps: 4, prepare };
    vec![
        guarded("front/request/poll", || request(POLL)),
        guarded("front/request/publish", || request(PUBLISH)),
        guarded("front/answer/json", || answer(Format::Json)),
        guarded("front/answer/msgpack", || answer(Format::MsgPack)),
    ]
}

fn request(bytes: &'static str) -> Box<dyn Work> {
    let http = HttpConfig::default();
    let peer = IpAddr::from([127, 0, 0, 1]);
    repeat(move || {
        let mut room = [const { MaybeUninit::uninit() }; head::MAX_HEADERS];
        let Framing::Request(request) = head::frame(black_box(bytes).as_bytes(), &http, &mut room)
        else {
            return false;
        };
        let headers = || request.all_headers();
        black_box(request.ask(&headers, peer)).authorization.is_some()
    })
}

/// A message to a reader that waited for it.
fn answer(format: Format) -> Box<dyn Work> {
    let answer = Answer::Batch(batch(&[world::message()]));
    let wish = Wish { format, grant: None, gzip: true };
    let terms = Terms::default();
    let (mut out, mut body) = (Vec::new(), Vec::new());
    repeat(move || {
        out.clear();
        http1::answer(&mut out, &mut body, black_box(&answer), wish, &terms, false);
        !black_box(&out).is_empty()
    })
}
