//! Mailboxes and groups: a request in, bytes to connections out.

use crate::request::Request;
use std::{collections::HashMap, io::Write as _, rc::Rc};

/// Sends bytes to a connection.
type Send<'a> = &'a mut dyn FnMut(usize, &[u8]);

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const PUBLISHED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"results\":[]}";
const GONE: &[u8] = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n";

/// The length is put in when the body is written behind it.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 00000000\r\n\r\n";
const OPENED: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 00000000\r\n\r\n";

#[derive(Default)]
struct Mailbox {
    /// What no cursor confirmed: the payload of `last`, and those before it.
    queue: Vec<Rc<[u8]>>,
    last: u64,
    /// The connection whose read waits.
    held: Option<usize>,
    group: Option<usize>,
    closed: bool,
}

#[derive(Default)]
pub struct State {
    names: HashMap<Box<[u8]>, usize>,
    mailboxes: Vec<Mailbox>,
    group_names: HashMap<Box<[u8]>, usize>,
    groups: Vec<Vec<usize>>,
    /// The mailbox that a connection read last.
    read_by: Vec<usize>,
    /// Answers are written here.
    out: Vec<u8>,
}

impl State {
    /// Does what `conn` asks for.
    pub fn serve(&mut self, conn: usize, request: &Request<'_>, send: Send<'_>) {
        match *request {
            Request::Open { name, group } => {
                self.open(name, group);
                // A key as long as a real one; nobody looks at it.
                let (name, key) = (String::from_utf8_lossy(name), "A".repeat(22));
                begin(&mut self.out, OPENED);
                let body = format!(r#"{{"mailbox":"{name}","key":"{key}","cursor":0}}"#);
                self.out.extend_from_slice(body.as_bytes());
                finish(&mut self.out, OPENED);
                send(conn, &self.out);
            }
            Request::Read { name, cursor } => match self.names.get(name) {
                Some(&mailbox) => self.read(mailbox, cursor, conn, send),
                None => send(conn, GONE),
            },
            Request::Close { name } => {
                if let Some(&mailbox) = self.names.get(name) {
                    self.mailboxes[mailbox].closed = true;
                    if let Some(reader) = self.mailboxes[mailbox].held.take() {
                        send(reader, GONE);
                    }
                    self.names.remove(name);
                }
                send(conn, NO_CONTENT);
            }
            Request::Send { name, data } => {
                let sender = self.names.get(name).copied();
                let group = sender.and_then(|sender| self.mailboxes[sender].group);
                self.deliver_to_group(group, sender, data, send);
                send(conn, NO_CONTENT);
            }
            Request::PublishMailbox { name, data } => {
                if let Some(&mailbox) = self.names.get(name) {
                    deliver(&mut self.mailboxes[mailbox], data.into(), &mut self.out, send);
                }
                send(conn, PUBLISHED);
            }
            Request::PublishGroup { group, data } => {
                let group = self.group_names.get(group).copied();
                self.deliver_to_group(group, None, data, send);
                send(conn, PUBLISHED);
            }
        }
    }

    /// A connection ended: nobody waits there.
    pub fn left(&mut self, conn: usize) {
        let mailbox = self.read_by.get(conn).and_then(|&read| self.mailboxes.get_mut(read));
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.held == Some(conn)) {
            mailbox.held = None;
        }
    }

    fn open(&mut self, name: &[u8], group: Option<&[u8]>) {
        let mailbox = self.mailboxes.len();
        let group = group.map(|group| {
            let next = self.groups.len();
            let group = *self.group_names.entry(group.into()).or_insert(next);
            self.groups.resize_with(self.groups.len().max(group + 1), Vec::new);
            self.groups[group].push(mailbox);
            group
        });
        self.names.insert(name.into(), mailbox);
        self.mailboxes.push(Mailbox { group, ..Mailbox::default() });
    }

    fn read(&mut self, mailbox: usize, cursor: u64, conn: usize, send: Send<'_>) {
        let it = &mut self.mailboxes[mailbox];
        let confirmed = it.last - it.queue.len() as u64;
        let behind = cursor.saturating_sub(confirmed).min(it.queue.len() as u64);
        it.queue.drain(..behind as usize);
        if it.queue.is_empty() {
            it.held = Some(conn);
            self.read_by.resize(self.read_by.len().max(conn + 1), usize::MAX);
            self.read_by[conn] = mailbox;
        } else {
            batch(&mut self.out, it);
            send(conn, &self.out);
        }
    }

    fn deliver_to_group(
        &mut self,
        group: Option<usize>,
        except: Option<usize>,
        data: &[u8],
        send: Send<'_>,
    ) {
        let data: Rc<[u8]> = data.into();
        for &member in group.map_or(&[][..], |group| &self.groups[group]) {
            if Some(member) != except {
                deliver(&mut self.mailboxes[member], data.clone(), &mut self.out, send);
            }
        }
    }
}

fn deliver(it: &mut Mailbox, data: Rc<[u8]>, out: &mut Vec<u8>, send: Send<'_>) {
    if it.closed {
        return;
    }
    it.last += 1;
    it.queue.push(data);
    if let Some(conn) = it.held.take() {
        batch(out, it);
        send(conn, out);
    }
}

/// The answer with all that waits.
fn batch(out: &mut Vec<u8>, it: &Mailbox) {
    begin(out, ANSWER);
    // Writing into a Vec does not fail.
    let _ = write!(out, r#"{{"cursor":{},"lost":0,"messages":["#, it.last);
    let first = it.last + 1 - it.queue.len() as u64;
    for (seq, data) in (first..).zip(&it.queue) {
        let comma = if seq == first { "" } else { "," };
        let _ = write!(out, r#"{comma}{{"seq":{seq},"data":"#);
        out.extend_from_slice(data);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    finish(out, ANSWER);
}

fn begin(out: &mut Vec<u8>, head: &[u8]) {
    out.clear();
    out.extend_from_slice(head);
}

/// Writes the length of the body into the head before it.
fn finish(out: &mut [u8], head: &[u8]) {
    let mut length = out.len() - head.len();
    for digit in out[..head.len() - 4].iter_mut().rev().take(8) {
        *digit = b'0' + (length % 10) as u8;
        length /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each connection is sent for a request.
    fn sent(state: &mut State, conn: usize, request: &Request<'_>) -> Vec<(usize, String)> {
        let mut sent = Vec::new();
        state.serve(conn, request, &mut |conn, bytes| {
            sent.push((conn, String::from_utf8(bytes.to_vec()).expect("text")));
        });
        sent
    }

    #[test]
    fn a_message_goes_to_the_read_that_waits_or_to_the_next_until_it_is_confirmed() {
        let (mut state, name, data) = (State::default(), &b"m"[..], &b"1"[..]);
        sent(&mut state, 0, &Request::Open { name, group: None });
        assert_eq!(sent(&mut state, 0, &Request::Read { name, cursor: 0 }), []);
        let one = r#"{"cursor":1,"lost":0,"messages":[{"seq":1,"data":1}]}"#;
        let one = format!("HTTP/1.1 200 OK\r\ncontent-length: {:08}\r\n\r\n{one}", one.len());
        let published = sent(&mut state, 9, &Request::PublishMailbox { name, data });
        assert_eq!(published[0], (0, one.clone()));
        assert_eq!(sent(&mut state, 0, &Request::Read { name, cursor: 0 }), [(0, one)]);
        assert_eq!(sent(&mut state, 0, &Request::Read { name, cursor: 1 }), []);
        let closed = sent(&mut state, 9, &Request::Close { name });
        assert_eq!(closed[0].0, 0, "a held read is told");
    }

    #[test]
    fn a_member_that_sends_does_not_hear_itself() {
        let (mut state, group, data) = (State::default(), Some(&b"g"[..]), &b"1"[..]);
        for (conn, name) in [b"a", b"b"].into_iter().enumerate() {
            sent(&mut state, conn, &Request::Open { name, group });
            sent(&mut state, conn, &Request::Read { name, cursor: 0 });
        }
        let heard = sent(&mut state, 9, &Request::Send { name: b"a", data });
        assert_eq!(heard.iter().map(|(conn, _)| *conn).collect::<Vec<_>>(), [1, 9]);
        state.left(0);
        let heard = sent(&mut state, 9, &Request::PublishGroup { group: b"g", data });
        assert_eq!(heard.len(), 1, "one left, the other has not read again");
    }
}
