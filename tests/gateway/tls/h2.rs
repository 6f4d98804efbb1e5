//! A real client of HTTP/2: hyper's.

use super::{NAME, World};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version, body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    future::Future,
    net::{Shutdown, TcpStream as StdTcpStream},
    sync::Arc,
};
use tokio::{net::TcpStream, runtime::Runtime, task::JoinHandle};
use tokio_rustls::TlsConnector;

use crate::support::{PATIENCE, Response};

/// Some megabytes are usual.
const WINDOW_BYTES: u32 = 4 << 20;

/// One connection of HTTP/2, which any number of requests share.
#[derive(Clone)]
pub struct H2 {
    requests: SendRequest<Full<Bytes>>,
    socket: Arc<StdTcpStream>,
}

pub fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

impl H2 {
    /// And the task that ends with the connection: well, or not.
    pub async fn connect(world: &World) -> (Self, JoinHandle<hyper::Result<()>>) {
        Self::connect_with(world, WINDOW_BYTES).await
    }

    /// The same, with room for so many bytes that nobody has read, on a stream and
    /// on the connection; at least 65 535.
    pub async fn connect_with(
        world: &World,
        window_bytes: u32,
    ) -> (Self, JoinHandle<hyper::Result<()>>) {
        let socket = StdTcpStream::connect(world.addr()).expect("the gateway listens");
        socket.set_nonblocking(true).expect("an open socket");
        let tcp = TcpStream::from_std(socket.try_clone().expect("an open socket"));
        let tcp = tcp.expect("a socket that does not block");
        let connector = TlsConnector::from(world.config(&["h2"]));
        let name = NAME.try_into().expect("a name");
        let tls = connector.connect(name, tcp).await.expect("a handshake");
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(window_bytes)
            .initial_connection_window_size(window_bytes);
        let (requests, connection) =
            builder.handshake(TokioIo::new(tls)).await.expect("it speaks HTTP/2");
        (Self { requests, socket: Arc::new(socket) }, tokio::spawn(connection))
    }

    /// Breaks the connection, without a word.
    pub fn cut(&self) {
        self.socket.shutdown(Shutdown::Both).expect("an open socket");
    }

    /// A request, on its way from now on. Dropped before its answer, its stream
    /// is reset.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> impl Future<Output = hyper::Result<Response>> + Send + use<> {
        let begun = self.begin(method, path, headers, body);
        async move {
            let (mut response, body) = begun.await?;
            response.body = body.collect().await?.to_bytes().into();
            Ok(response)
        }
    }

    /// The same with what follows the head as it comes.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> impl Future<Output = hyper::Result<(Response, Incoming)>> + Send + use<> {
        let mut request = Request::builder()
            .method(method)
            .version(Version::HTTP_2)
            .uri(format!("https://{NAME}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        let mut requests = self.requests.clone();
        async move {
            requests.ready().await?;
            let answer = tokio::time::timeout(PATIENCE, requests.send_request(request));
            let (head, body) = answer.await.expect("an answer in time")?.into_parts();
            assert_eq!(head.version, Version::HTTP_2);
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                (name.to_string(), value.to_str().expect("text").to_owned())
            };
            let headers = head.headers.iter().map(header).collect();
            Ok((Response { status: head.status.as_u16(), headers, body: Vec::new() }, body))
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], "").await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &str) -> Response {
        self.request("POST", path, &[], body).await.expect("an answer")
    }

    /// Opens a mailbox in the app `lab`; the path to read it.
    pub async fn open(&self, body: &str) -> String {
        let opened = self.post("/lab/mailboxes", body).await;
        assert_eq!(opened.status, 201, "{opened:?}");
        let opened = opened.json();
        let text = |field: &str| opened[field].as_str().expect("a text").to_owned();
        format!("/lab/mailboxes/{}?key={}", text("mailbox"), text("key"))
    }
}
