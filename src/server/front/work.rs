//! Working on a connection's requests: from its input to answers, reads that
//! are held, tasks for what is slow, and hyper for what is not plain.

use super::{
    super::{
        ask::{self, Plan},
        compress,
        cors::{self, Grant},
        full,
        gateway::Gateway,
        http1,
        reply::{Reply, Wish},
        routes::{self, Outcome},
        terms::Terms,
    },
    Front, Scratch,
    conn::{Conn, Held, Next, Parked, Unread},
    head::{self, Framing},
    wire::{self, Received},
};
use crate::core::Answer;
use futures_util::FutureExt;
use std::{mem::MaybeUninit, panic::AssertUnwindSafe, sync::Arc};

/// Reads once, and works on what came. If that was not all, the event comes
/// again: other connections have their turn before.
pub(super) fn read(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    mut unread: Unread,
    buffer: &mut [u8],
) {
    let received = match wire::receive(conn.socket(), buffer) {
        Received::Bytes(count) => &buffer[..count],
        Received::Nothing => &[],
        Received::Ended => {
            conn.close();
            return gateway.front().remove(conn);
        }
    };
    // A short receive has emptied the socket; asking again would be a system
    // call for nothing.
    if received.len() == buffer.len() {
        conn.leave_more();
    }
    let left = if unread.bytes.is_empty() {
        work(gateway, conn, received, None)
    } else {
        unread.bytes.extend_from_slice(received);
        if unread.bytes.len() < unread.needs_bytes {
            Some(unread)
        } else {
            work(gateway, conn, &unread.bytes, Some(&unread))
        }
    };
    if let Some(left) = left {
        let next = conn.let_go(left, gateway.clock().coarse_ms());
        gateway.front().follow(conn, next);
    }
}

/// How a request was dealt with.
enum Done {
    Reply(Reply, Option<Grant>),
    /// Of a read.
    Answer(Answer, Wish),
    /// A read is held, or is to be.
    Held(Held),
}

/// Why a request is not dealt with where it was read.
enum Elsewhere {
    /// It has to wait, or can take long: a task's.
    Slow,
    /// It is hyper's.
    Other,
}

/// Works on the requests in `input`, which is new or (with what came since)
/// `unread`. Returns what is no whole request; none if somebody else goes on
/// with the connection.
fn work(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    mut input: &[u8],
    mut unread: Option<&Unread>,
) -> Option<Unread> {
    let (front, terms) = (gateway.front(), gateway.terms());
    let incomplete = |input: &[u8], needs_bytes: usize, unread: Option<&Unread>| {
        // A body's time starts when its head has come.
        let before = unread.filter(|_| needs_bytes == 0);
        let since_ms = before.map_or_else(|| gateway.clock().coarse_ms(), |unread| unread.since_ms);
        // Room for the rest, but at most as much again, whatever the head says.
        let mut bytes = Vec::with_capacity(needs_bytes.clamp(input.len(), 2 * input.len()));
        bytes.extend_from_slice(input);
        Some(Unread { bytes, needs_bytes, since_ms })
    };
    while !input.is_empty() {
        let mut room = [const { MaybeUninit::uninit() }; head::MAX_HEADERS];
        let request = match head::frame(input, &terms.http, &mut room) {
            Framing::Partial => return incomplete(input, 0, unread),
            // On the way down there is no waiting for a body that would come
            // in vain.
            Framing::Request(request)
                if input.len() < request.total_bytes() && !gateway.is_closing() =>
            {
                return incomplete(input, request.total_bytes(), unread);
            }
            Framing::Request(request) => request,
            Framing::Other => return hand_over(gateway, conn, input),
        };
        let (whole, rest) = input.split_at(request.total_bytes().min(input.len()));
        let body = &whole[request.head_bytes..];
        let has_begun = unread.is_some_and(|unread| unread.needs_bytes > 0);
        let next = match serve(gateway, &terms, conn, &request, has_begun, body) {
            Ok(done) => answer(gateway, &terms, conn, done, rest),
            Err(Elsewhere::Slow) => {
                let (whole, rest) = (whole.to_vec(), rest.to_vec());
                tokio::spawn(run_slowly(gateway.clone(), conn.clone(), whole, rest));
                return None;
            }
            Err(Elsewhere::Other) => return hand_over(gateway, conn, input),
        };
        if let Some(next) = next {
            front.follow(conn, next);
            return None;
        }
        input = rest;
        unread = None;
    }
    Some(Unread::default())
}

fn serve(
    gateway: &Gateway,
    terms: &Terms,
    conn: &Conn,
    request: &head::Request<'_, '_>,
    has_begun: bool,
    body: &[u8],
) -> Result<Done, Elsewhere> {
    let headers = || request.all_headers();
    let ask = ask::Ask { has_begun, ..request.ask(&headers, conn.peer) };
    let grant = cors::grant(&terms.origins, ask.origin);
    let route = match ask::plan(gateway, terms, &ask) {
        Plan::Route(route) => route,
        Plan::Page | Plan::Bayeux(_) => return Err(Elsewhere::Other),
        Plan::Reply(route, reply) => {
            gateway.metrics.request(route, reply.status);
            return Ok(Done::Reply(compressed(terms, &ask, reply), grant));
        }
    };
    if route.stream(&ask).is_some() {
        return Err(Elsewhere::Other);
    }
    if route.is_slow(body) {
        return Err(Elsewhere::Slow);
    }
    let id = conn.start(gateway.front().shard(conn).number());
    let outcome = routes::run_now(gateway, &route, &ask, body, id);
    Ok(finish(terms, &route, &ask, outcome, grant))
}

fn finish(
    terms: &Terms,
    route: &routes::Route<'_>,
    ask: &ask::Ask<'_>,
    outcome: Outcome,
    grant: Option<Grant>,
) -> Done {
    let wish = || Wish {
        format: ask.accepted.format(),
        grant,
        gzip: compress::is_accepted(ask.accept_encoding),
    };
    match outcome {
        Outcome::Reply(reply) => {
            route.app.requests().reply(&route.endpoint, reply.status);
            Done::Reply(compressed(terms, ask, reply), grant)
        }
        Outcome::Answer(answer) => {
            route.app.requests().read(&answer);
            Done::Answer(answer, wish())
        }
        Outcome::Held(mailbox, counted) => {
            let app = route.app.clone();
            Done::Held(Held { app, mailbox, wish: wish(), rest: Box::default(), counted })
        }
    }
}

fn compressed(terms: &Terms, ask: &ask::Ask<'_>, mut reply: Reply) -> Reply {
    if reply.body.len() >= terms.compress_bytes {
        let is_accepted = compress::is_accepted(ask.accept_encoding);
        compress::reply(&mut reply, is_accepted, &terms.http);
    }
    reply
}

/// Sends the answer, or holds the read. None: the caller goes on.
fn answer(gateway: &Gateway, terms: &Terms, conn: &Conn, done: Done, rest: &[u8]) -> Option<Next> {
    let (close, now_ms) = (gateway.is_closing(), gateway.clock().coarse_ms());
    // Not before now: what ran may have written answers of others there.
    Scratch::with(|Scratch { out, body }| match done {
        Done::Reply(mut reply, grant) => {
            reply.close |= close;
            http1::reply(out, &reply, &terms.origins, grant);
            conn.reply(out, rest, reply.close, now_ms)
        }
        Done::Answer(answer, wish) => {
            http1::answer(out, body, &answer, wish, terms, close);
            conn.reply(out, rest, close, now_ms)
        }
        Done::Held(mut held) => {
            held.rest = rest.into();
            match conn.park(held, now_ms) {
                Parked::Held => Some(Next::Nothing),
                Parked::HungUp(held) => {
                    conn.close();
                    Some(Next::End(Some((held.app, held.mailbox, conn.id()))))
                }
                Parked::Answered(answer, mut held) => {
                    held.counted = None;
                    held.app.requests().read(&answer);
                    http1::answer(out, body, &answer, held.wish, terms, close);
                    conn.reply(out, rest, close, now_ms)
                }
            }
        }
    })
}

/// Runs a request that has to wait or can take long, in a task of its own.
async fn run_slowly(gateway: Arc<Gateway>, conn: Arc<Conn>, whole: Vec<u8>, rest: Vec<u8>) {
    let front = gateway.front();
    let work = async {
        let terms = Arc::clone(&gateway.terms());
        let next = match serve_slowly(&gateway, &terms, &conn, &whole).await {
            Some(done) => answer(&gateway, &terms, &conn, done, &rest),
            None => {
                conn.close();
                Some(Next::End(None))
            }
        };
        let next = next.unwrap_or_else(|| {
            // The shard's loop goes on with what lies behind the request.
            let is_rest = !rest.is_empty();
            let now_ms = gateway.clock().coarse_ms();
            match conn.let_go(Unread::behind(rest, now_ms), now_ms) {
                Next::Nothing if is_rest => Next::Kick,
                next => next,
            }
        });
        front.follow(&conn, next);
    };
    // As `Front::guard`, for what waits.
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        front.panicked(&conn);
    }
}

/// None: it is no request of this reader, though it was one before.
async fn serve_slowly(gateway: &Gateway, terms: &Terms, conn: &Conn, whole: &[u8]) -> Option<Done> {
    let mut room = [const { MaybeUninit::uninit() }; head::MAX_HEADERS];
    let Framing::Request(request) = head::frame(whole, &terms.http, &mut room) else {
        return None;
    };
    let headers = || request.all_headers();
    let ask = request.ask(&headers, conn.peer);
    let grant = cors::grant(&terms.origins, ask.origin);
    let route = routes::find(gateway, ask.method, ask.path).ok()?;
    let id = conn.start(gateway.front().shard(conn).number());
    let body = &whole[request.head_bytes..];
    let outcome = routes::run(gateway, &route, &ask, body, id).await;
    Some(finish(terms, &route, &ask, outcome, grant))
}

/// Gives a connection to hyper, with the input that has come.
fn hand_over(gateway: &Arc<Gateway>, conn: &Arc<Conn>, input: &[u8]) -> Option<Unread> {
    let front: &Front = gateway.front();
    conn.close();
    match front.shard(conn).release(conn) {
        Ok(socket) => full::take_over(gateway, socket, input, conn.peer),
        Err(error) => tracing::debug!(%error, "a connection went away at once"),
    }
    front.remove(conn);
    None
}
