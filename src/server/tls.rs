//! TLS: the certificate that new connections get, and how it stays fresh.
//!
//! The files are looked at, not watched: certbot replaces symlinks, Kubernetes
//! swaps a folder above them, and a look once a second sees either.

use crate::config::TlsConfig;
use parking_lot::{Mutex, RwLock};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        Error as RustlsError, InconsistentKeys, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// How ALPN calls HTTP/2.
pub(super) const H2: &[u8] = b"h2";

/// Between two looks at the files. What changed is loaded once it was the same
/// in two of them, since a certificate and its key are not written at once.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate or its key cannot be used. Says what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("tls: {0}")]
pub struct TlsError(String);

/// Accepts TLS connections, with the certificate that the files hold now.
pub struct Tls {
    source: Mutex<Source>,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

struct Source {
    files: Files,
    /// What the files looked like before they were last read.
    loaded: Stamps,
}

/// A certificate with its key out of other files, for [`Tls::renew`].
pub struct RenewedTls {
    source: Source,
    pair: Arc<CertifiedKey>,
}

/// What new connections get.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Tells two versions of the files apart: for each its device, inode, size and
/// time of change in seconds and nanoseconds; none if it cannot be looked at.
type Stamps = [Option<[i64; 5]>; 2];

impl Tls {
    /// Reads certificate and key. Warns of a key that everybody may read.
    ///
    /// # Errors
    /// If they cannot be read, are not what they should be, or are no pair.
    pub fn load(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let RenewedTls { source, pair } = RenewedTls::read(config, &provider)?;
        let current = Arc::new(Current(RwLock::new(pair)));
        let mut rustls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        rustls.alpn_protocols = vec![H2.into(), b"http/1.1".into()];
        let acceptor = TlsAcceptor::from(Arc::new(rustls));
        Ok(Arc::new(Self { source: Mutex::new(source), current, acceptor }))
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads a certificate and its key. Blocks for a moment.
    ///
    /// # Errors
    /// As for [`Tls::load`].
    pub fn read(&self, config: &TlsConfig) -> Result<RenewedTls, TlsError> {
        RenewedTls::read(config, self.acceptor.config().crypto_provider())
    }

    /// Connections from now on get this one, and its files are those to look at.
    pub fn renew(&self, renewed: RenewedTls) {
        let mut source = self.source.lock();
        *source = renewed.source;
        self.show(&source.files, renewed.pair);
    }

    fn show(&self, files: &Files, pair: Arc<CertifiedKey>) {
        *self.current.0.write() = pair;
        tracing::info!("new connections get the certificate in {}", files.certificate.display());
    }

    /// Reads the files again, for connections from now on. If they are no good,
    /// the log says why and the pair before stays. Blocks for a moment.
    pub fn reload(&self) {
        // Before reading: what changes meanwhile is a change still.
        let mut source = self.source.lock();
        source.loaded = source.files.stamps();
        match source.files.pair(self.acceptor.config().crypto_provider()) {
            Ok(pair) => self.show(&source.files, pair),
            Err(error) => tracing::error!("{error}; the certificate before stays"),
        }
    }

    /// Reloads the files whenever they change, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut last = self.source.lock().loaded;
        loop {
            tokio::time::sleep(LOOK).await;
            let me = self.clone();
            // A file system can take its time.
            let look = tokio::task::spawn_blocking(move || {
                let source = me.source.lock();
                let (now, loaded) = (source.files.stamps(), source.loaded);
                drop(source);
                if now == last && now != loaded {
                    me.reload();
                }
                now
            });
            match look.await {
                Ok(now) => last = now,
                Err(error) => tracing::error!(%error, "cannot look at the certificate"),
            }
        }
    }
}

impl RenewedTls {
    fn read(config: &TlsConfig, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let files = Files { certificate: config.certificate.clone(), key: config.key.clone() };
        // Before reading: what changes meanwhile is a change still.
        let loaded = files.stamps();
        let pair = files.pair(provider)?;
        Ok(Self { source: Source { files, loaded }, pair })
    }
}

impl Files {
    fn stamps(&self) -> Stamps {
        let stamp = |path: &Path| {
            let file = fs::metadata(path).ok()?;
            let numbers = [file.dev(), file.ino(), file.len()].map(u64::cast_signed);
            let [device, inode, size] = numbers;
            Some([device, inode, size, file.ctime(), file.ctime_nsec()])
        };
        [stamp(&self.certificate), stamp(&self.key)]
    }

    fn pair(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain = self.chain()?;
        let pair = CertifiedKey::from_der(chain, self.private_key()?, provider);
        let pair = pair.map_err(|error| {
            TlsError(match error {
                RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                    "the private key in {key} does not belong to the first certificate in \
                     {certificate}; they must be a pair, and the server's own certificate the \
                     first of its chain"
                ),
                RustlsError::InvalidCertificate(error) => {
                    format!("the first certificate in {certificate} is not valid: {error}")
                }
                error => format!(
                    "the private key in {key} cannot be used ({error}); RSA of 2048 bits or more, \
                     ECDSA (P-256, P-384) and Ed25519 can"
                ),
            })
        })?;
        Ok(Arc::new(pair))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let file = self.certificate.display();
        let pem = read("certificate", &self.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| TlsError(format!("{file} is no valid PEM: {error}")))?;
        if chain.is_empty() {
            return Err(TlsError(format!(
                "there is no certificate in {file}; it must hold the chain as PEM, the server's \
                 own certificate first (certbot: fullchain.pem)"
            )));
        }
        Ok(chain)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let file = self.key.display();
        let pem = read("key", &self.key)?;
        if fs::metadata(&self.key).is_ok_and(|file| file.mode() & 0o004 != 0) {
            tracing::warn!("tls: everybody on this machine may read the private key in {file}");
        }
        // The library's error may quote the file, which is nothing for a log.
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            TlsError(match pem.windows(9).any(|part| part == b"ENCRYPTED") {
                true => format!("the private key in {file} is encrypted; store it without"),
                false => format!(
                    "there is no private key in {file}; it must hold one as PEM \
                     (certbot: privkey.pem)"
                ),
            })
        })
    }
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let file = path.display();
    fs::read(path).map_err(|error| {
        TlsError(match error.kind() {
            io::ErrorKind::NotFound => format!("{key}: there is no file {file}"),
            io::ErrorKind::PermissionDenied => {
                format!("{key}: the user that runs the gateway may not read {file}")
            }
            _ => format!("{key}: {file} cannot be read: {error}"),
        })
    })
}
