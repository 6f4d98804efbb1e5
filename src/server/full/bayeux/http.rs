//! Bayeux by HTTP: long-polling, and callback-polling for pages that cannot
//! otherwise.

use super::{
    super::super::{
        ask::{self, Ask},
        browsers::{self, BAYEUX_COOKIE},
        gateway::Gateway,
        hosted::HostedApp,
        reply::Reply,
    },
    Caller, Waiting,
    connect::Connect,
    page::Page,
};
use crate::transport::{
    Code, ErrorBody,
    bayeux::{Replies, Said, decode_form, decode_messages, is_callback, jsonp},
};
use http::{HeaderValue, Version, header, request::Parts};
use std::{borrow::Cow, future::poll_fn, sync::Arc};

/// How far a request gets without waiting for messages.
pub(in super::super) enum Http {
    Reply(Reply),
    Held(Box<Held>),
}

/// A request whose connect waits.
pub(in super::super) struct Held {
    connect: Connect,
    form: AnswerForm,
}

/// How the answer is written.
struct AnswerForm {
    /// The callback; none: JSON alone.
    callback: Option<String>,
}

/// Does what a request says. `body` is that of a POST.
///
/// # Errors
/// If its page may not use the gateway, there are no messages in it, or it wants
/// to be called by a name that is none.
pub(in super::super) async fn answer(
    gateway: &Arc<Gateway>,
    app: &Arc<HostedApp>,
    ask: &Ask<'_>,
    parts: &Parts,
    body: &[u8],
) -> Result<Http, ErrorBody> {
    let page = Page::of(&gateway.terms().origins, parts);
    page.check(ask)?;
    let is_script = ask.method == "GET";
    let sent = if is_script { ask.query.unwrap_or_default().as_bytes() } else { body };
    // Whatever its type says: nothing else begins so, and clients say what they
    // like to avoid a preflight.
    let first = sent.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_json = matches!(first, Some(b'[' | b'{')) && !is_script;
    let (texts, callback) = if is_json {
        let text = std::str::from_utf8(sent)
            .map_err(|error| bad(format!("the body is not valid UTF-8: {error}")))?;
        (vec![Cow::Borrowed(text)], None)
    } else {
        let form = decode_form(sent);
        if form.messages.is_empty() {
            return Err(bad("there is no Bayeux message: it is the body, or the field `message`"));
        }
        (form.messages, is_script.then_some(form.jsonp))
    };
    if callback.as_deref().is_some_and(|name| !is_callback(name)) {
        return Err(bad("jsonp is no name of a function: letters, digits and any of _ $ ."));
    }
    let form = AnswerForm { callback: callback.map(Cow::into_owned) };
    let max = gateway.terms().http.max_batch_items;
    let mut said: Vec<Said<'_>> = Vec::new();
    for text in &texts {
        said.extend(decode_messages(text, max - said.len())?);
    }

    // Over HTTP/2 a browser has no shortage of connections.
    let is_counted = parts.version != Version::HTTP_2;
    let cookie = |value: &'_ HeaderValue| {
        let text = ask::text(value.as_bytes())?;
        browsers::cookie(BAYEUX_COOKIE, text).map(ToOwned::to_owned)
    };
    let browser = parts.headers.get_all(header::COOKIE).iter().find_map(cookie);
    let browser = browser.as_deref().filter(|_| is_counted);
    let (headers, peer) = (ask.headers, ask.peer);
    let caller = Caller { gateway, app, headers, peer, browser };
    // What came along with a connect is not to wait with it.
    let mut waiting = Waiting { connects: Vec::new(), max: usize::from(said.len() == 1) };
    let mut replies = Replies::default();
    caller.hear(&said, &mut waiting, &mut replies).await;
    if let Some(connect) = waiting.connects.pop() {
        return Ok(Http::Held(Box::new(Held { connect, form })));
    }
    let mut reply = form.reply(replies);
    let is_handshake = said.iter().any(Said::is_handshake);
    let origin = match page {
        Page::Guest(origin) => Some(origin), // also of a script, by its referer
        Page::Own | Page::Stranger => ask.origin,
    };
    if is_handshake
        && is_counted
        && browser.is_none()
        && let Some(cookie) = browsers::new_cookie(BAYEUX_COOKIE, &gateway.terms().origins, origin)
    {
        reply = reply.with("set-cookie", cookie);
    }
    Ok(Http::Reply(reply))
}

fn bad(message: impl Into<Cow<'static, str>>) -> ErrorBody {
    ErrorBody::new(Code::BadRequest, message)
}

impl Held {
    /// Its answer, made once there is `room` for it.
    pub async fn answer(self, room: impl Future<Output = ()>) -> Reply {
        let Self { mut connect, form } = self;
        let answer = poll_fn(|cx| connect.poll_answer(cx)).await;
        room.await;
        let mut replies = Replies::default();
        connect.answer(&answer, &mut replies);
        form.reply(replies)
    }
}

impl AnswerForm {
    fn reply(&self, replies: Replies) -> Reply {
        let json = replies.into_json();
        match &self.callback {
            None => Reply {
                content_type: Some("application/json"),
                body: json.into(),
                ..Reply::empty(200)
            },
            Some(callback) => Reply {
                content_type: Some("text/javascript; charset=utf-8"),
                body: jsonp(callback, &json).into(),
                // Nothing but a script is to be made of what a URL has asked for.
                ..Reply::empty(200).with("x-content-type-options", "nosniff")
            },
        }
    }
}
