//! A gateway that promises too early, as publishers would see it.

use super::link::receive;
use std::{
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n{\"results\":[{\"queued\":1}]}";

/// Takes so many connections, and passes on what comes by them. It answers for
/// the gateway before that has read anything.
pub fn start(gateway: SocketAddr, connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().take(connections).flatten() {
            thread::spawn(move || pass_on(stream, gateway));
        }
    });
    addr
}

/// None: one of the two is gone, and then the other.
fn pass_on(client: TcpStream, gateway: SocketAddr) -> Option<()> {
    let mut to = TcpStream::connect(gateway).ok()?;
    let mut answers = to.try_clone().ok()?;
    thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
    let mut client = BufReader::new(client);
    loop {
        let (head, body) = receive(&mut client)?;
        to.write_all(&[head.as_bytes(), &body].concat()).ok()?;
        client.get_mut().write_all(ANSWER).ok()?;
    }
}
