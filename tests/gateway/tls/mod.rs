//! TLS and what comes with it: certificates, HTTP/2 and its floods.

mod certificates;
mod floods;
mod frames;
mod h2;
mod http2;
mod many;
mod mistakes;
mod unread;

pub use h2::{H2, runtime};

use crate::support::{Client, Gateway, PATIENCE, lab};
use rcgen::{CertifiedKey, KeyPair};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
    pki_types::CertificateDer,
};

/// What clients call the gateway.
const NAME: &str = "gateway.example";

/// A certificate for [`NAME`], made for this test, and its key.
pub struct Pair {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    pub fn new() -> Self {
        let CertifiedKey::<KeyPair> { cert, signing_key } =
            rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        Self {
            certificate: cert.pem(),
            key: signing_key.serialize_pem(),
            der: cert.der().clone().into_owned(),
        }
    }

    /// Writes both into a folder, over what is there.
    pub fn write(&self, folder: &Path) {
        fs::write(folder.join("chain.pem"), &self.certificate).expect("a folder of ours");
        fs::write(folder.join("key.pem"), &self.key).expect("a folder of ours");
    }
}

/// Of the configuration.
pub fn table(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "tls = {{ listen = \"127.0.0.1:0\", certificate = {:?}, key = {:?} }}\n",
        path("chain.pem"),
        path("key.pem")
    )
}

/// A gateway with TLS and the app `lab`.
pub struct World {
    pub gateway: Gateway,
    pair: Pair,
    folder: TempDir,
}

impl World {
    /// `more` stands before the apps, `limits` are the app's.
    pub fn start(more: &str, limits: &str) -> Self {
        let (pair, folder) = (Pair::new(), tempfile::tempdir().expect("a temporary folder"));
        pair.write(folder.path());
        let comma = if limits.is_empty() { "" } else { ", " };
        let app = lab(&format!("limits = {{ call_ms = 1000{comma}{limits} }}"));
        let gateway = Gateway::start(&format!("{}{more}{app}", table(folder.path())));
        Self { gateway, pair, folder }
    }

    fn addr(&self) -> SocketAddr {
        self.gateway.tls.expect("it listens over TLS")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that trusts the gateway's first certificate and offers this.
    fn config(&self, offers: &[&str]) -> Arc<ClientConfig> {
        trusting(&[&self.pair], offers)
    }

    /// A connection, to be spoken on as one likes.
    pub fn connect(&self) -> Tls {
        connect(self.addr(), self.config(&[]))
    }

    fn client(&self) -> Client<Tls> {
        Client::over(self.connect())
    }
}

/// A client's side of TLS over a socket.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

pub fn trusting(pairs: &[&Pair], offers: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(pair.der.clone()).expect("a certificate");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider's own")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offers.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The handshake takes place with the first bytes, or before.
pub fn connect(addr: SocketAddr, config: Arc<ClientConfig>) -> Tls {
    let socket = TcpStream::connect(addr).expect("the gateway listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    socket.set_nodelay(true).expect("an open socket");
    let name = NAME.try_into().expect("a name");
    StreamOwned::new(ClientConnection::new(config, name).expect("a configuration"), socket)
}

/// Shakes hands; an error is the gateway's.
fn shake(tls: &mut Tls) -> std::io::Result<()> {
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(())
}
