//! The front and hyper are two readers of HTTP/1.1: they must not disagree
//! about where a request ends. Random input, mostly nearly right, goes to both.

use crate::support::number;
use bytes::Bytes;
use cometbox::{
    config::HttpConfig,
    server::front::head::{Framing, MAX_HEADERS, frame},
};
use fastrand::Rng;
use http_body_util::{BodyExt, Empty};
use hyper::{Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    mem::MaybeUninit,
    net::IpAddr,
    sync::{Arc, Mutex},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// So many that are the same in each run, and as many that are not.
const CASES: u64 = 100_000;

/// A request as a reader understood it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What the front takes from the beginning of `input`, which comes in pieces that
/// end at `cuts`, and whether hyper is to go on with the rest; else more input is
/// waited for.
fn by_front(config: &HttpConfig, input: &[u8], cuts: &[usize]) -> (Vec<Seen>, usize, bool) {
    let mut seen = Vec::new();
    let mut taken = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        let (requests, bytes, goes_on) = by_front_at_once(config, &input[taken..cut]);
        seen.extend(requests);
        taken += bytes;
        if goes_on {
            return (seen, taken, true);
        }
    }
    (seen, taken, false)
}

fn by_front_at_once(config: &HttpConfig, mut input: &[u8]) -> (Vec<Seen>, usize, bool) {
    let all = input.len();
    let mut seen = Vec::new();
    while !input.is_empty() {
        let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let request = match frame(input, config, &mut room) {
            Framing::Other => return (seen, all - input.len(), true),
            Framing::Request(request) if request.total_bytes() <= input.len() => request,
            Framing::Partial | Framing::Request(_) => break,
        };
        let headers = || request.all_headers();
        let ask = request.ask(&headers, IpAddr::from([127, 0, 0, 1]));
        let query = ask.query.map_or(String::new(), |query| format!("?{query}"));
        seen.push(Seen {
            method: ask.method.into(),
            target: format!("{}{query}", ask.path),
            headers: request.all_headers(),
            body: input[request.head_bytes..request.total_bytes()].into(),
        });
        input = &input[request.total_bytes()..];
    }
    (seen, all - input.len(), false)
}

/// What hyper makes of `input`, after which nothing comes.
async fn by_hyper(config: &HttpConfig, input: &[u8]) -> Vec<Seen> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            // A body that breaks off makes no request.
            if let Ok(body) = body.collect().await {
                let headers = parts.headers.iter().filter_map(|(name, value)| {
                    let value = std::str::from_utf8(value.as_bytes()).ok()?;
                    Some((name.as_str().to_owned(), value.to_owned()))
                });
                let mut headers: Vec<_> = headers.collect();
                headers.sort();
                seen.lock().expect("nobody panicked").push(Seen {
                    method: parts.method.to_string(),
                    target: parts.uri.path_and_query().map_or("", |target| target.as_str()).into(),
                    headers,
                    body: body.to_bytes().into(),
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    client.write_all(input).await.expect("there is room");
    client.shutdown().await.expect("it is open");
    let mut http = http1::Builder::new();
    http.max_buf_size(config.max_head_bytes).half_close(true);
    let answers = async {
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await
    };
    // It ends with an error for most of this.
    let _ = tokio::join!(http.serve_connection(TokioIo::new(server), service), answers);
    seen.lock().expect("nobody panicked").clone()
}

/// Mostly one of the plain ones.
fn pick<'a>(rng: &mut Rng, plain: &[&'a str], odd: &[&'a str]) -> &'a str {
    let from = if rng.u32(..5) > 0 { plain } else { odd };
    from[rng.usize(..from.len())]
}

/// A request that is right, or nearly.
fn request(rng: &mut Rng) -> Vec<u8> {
    let method = pick(rng, &["GET", "POST", "DELETE", "OPTIONS"], &["PUT", "get", "", "PRI"]);
    let target = pick(
        rng,
        &["/a/mailboxes/b?cursor=1", "/a/publish", "/", "/a%20b?x=%"],
        &["*", "http://h/a", "/a#b", "/\u{e4}", "/a b", "/a\\b", "/{}|^`\"<>"],
    );
    let version = pick(rng, &["HTTP/1.1"], &["HTTP/1.0", "HTTP/2.0", "HTTP/1.11", ""]);
    let bodies = ["0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "2\r\n{}\r\n0\r\n\r\n"];
    let body = if method == "POST" { pick(rng, &["", "{}"], &bodies) } else { "" };
    let length = body.len();
    let length = match rng.u32(..30) {
        0 => (length + 1).to_string(),
        1 => length.saturating_sub(1).to_string(),
        2 => format!("+{length}"),
        3 => format!("{length}, {length}"),
        4 => format!("0{length}"),
        5 => "99999999999999999999".into(),
        6 => format!("{length} "),
        _ => length.to_string(),
    };
    let end = pick(rng, &["\r\n"], &["\r\n", "\n", "\r\n", "\r"]);
    let mut head = format!("{method} {target} {version}{end}host: h{end}");
    let length = format!("Content-Length: {length}");
    if !body.is_empty() || rng.bool() {
        head += &format!("{length}{end}");
    }
    let plain =
        ["accept: application/json", "connection: keep-alive", "x:", "x-content-length: 7", "y: z"];
    let odd = [
        length.as_str(),
        "transfer-encoding: chunked",
        "Transfer-Encoding: identity",
        "transfer-encoding : chunked",
        "connection: close",
        "Connection: Upgrade",
        "upgrade: websocket",
        "expect: nothing",
        "x: y\r\n z",
        "content-length: ",
        "origin: \u{e4}",
    ];
    for _ in 0..rng.u32(..3) {
        head += &format!("{}{end}", pick(rng, &plain, &odd));
    }
    format!("{head}{end}{body}").into_bytes()
}

/// Some requests one after the other, sometimes with a few bytes changed.
fn input(rng: &mut Rng) -> Vec<u8> {
    let mut input: Vec<u8> = (0..rng.u32(1..4)).flat_map(|_| request(rng)).collect();
    if rng.u32(..3) == 0 {
        for _ in 0..rng.u32(1..3) {
            let at = rng.usize(..input.len());
            let byte = *b"\r\n :\0,;\t0x\xff".get(rng.usize(..11)).expect("one of them");
            match rng.u32(..4) {
                0 => drop(input.remove(at)),
                1 => input.insert(at, byte),
                2 => input.truncate(at.max(1)),
                _ => input[at] = byte,
            }
        }
    }
    input
}

/// Where reading stops to wait for more: nowhere, here and there, or everywhere.
fn cuts(rng: &mut Rng, bytes: usize) -> Vec<usize> {
    let one_in = [bytes + 1, 20, 1][rng.usize(..3)];
    (1..bytes).filter(|_| rng.usize(..one_in) == 0).collect()
}

/// Whatever it is that panics.
struct SaidIfItPanics(u64);

impl Drop for SaidIfItPanics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("COMETBOX_SEED={} does it again", self.0);
        }
    }
}

#[test]
fn the_two_readers_agree_about_every_request() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let config = HttpConfig { max_head_bytes: 8192, ..HttpConfig::default() };
    let only = number("COMETBOX_SEED");
    let (mut front_requests, mut handed_over) = (0, 0);
    let new = fastrand::u64(CASES..1 << 62);
    let all = || (0..CASES).chain(new..new + CASES).collect();
    for seed in only.map_or_else(all, |seed| vec![seed]) {
        let _said = SaidIfItPanics(seed);
        let mut rng = Rng::with_seed(seed);
        let input = input(&mut rng);
        let cuts = cuts(&mut rng, input.len());
        let (mut together, taken, goes_on) = by_front(&config, &input, &cuts);
        front_requests += together.len();
        if goes_on {
            handed_over += 1;
            together.extend(runtime.block_on(by_hyper(&config, &input[taken..])));
        }
        for seen in &mut together {
            seen.headers.sort();
        }
        let alone = runtime.block_on(by_hyper(&config, &input));
        let text = input.escape_ascii();
        assert_eq!(together, alone, "cut at {cuts:?}, for\n{text}");
    }
    if only.is_none() {
        // Both had to do: the test is about what lies between them.
        assert!(front_requests > 5_000, "{front_requests}");
        assert!(handed_over > 5_000, "{handed_over}");
    }
}
