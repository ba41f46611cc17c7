//! TLS for the MQTT client: it speaks to a Unix socket, and from there it goes on by TLS. Its own
//! TLS would bring a second, old set of TLS crates into the hub.

use std::{os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixListener, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    error::{Code, Error, Result},
    keys,
};

/// How long TLS may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The bridge.
pub(super) struct Bridge {
    listener: UnixListener,
    dir: PathBuf,
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // Without it nothing is left but an empty folder.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bridge {
    /// To this broker, whose certificate must be good for `host` by the machine's roots, or by
    /// those of `SSL_CERT_FILE`.
    pub fn open(host: &str, port: u16) -> Result<Self> {
        let unusable = |what: &str, cause: Box<dyn std::error::Error + Send + Sync>| Error {
            cause: Some(cause),
            ..Error::new(Code::Unavailable, format!("no TLS to the MQTT broker: {what}"))
        };
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "root certificates");
        }
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| unusable("its host is no name", e.into()))?;
        // A path of a socket has at most 107 bytes, so not in the data directory.
        let dir = std::env::temp_dir()
            .join(format!("cloudcore-mqtt-{}", keys::hex(&keys::random::<8>()?)));
        let listener = std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .and_then(|()| UnixListener::bind(dir.join("socket")))
            .map_err(|e| unusable("no Unix socket in the folder for temporary files", e.into()))?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { listener, dir, host: host.to_owned(), port, name, connector })
    }

    /// Where the client connects to.
    pub fn path(&self) -> String {
        self.dir.join("socket").display().to_string()
    }

    /// Carries the client's connections, one at a time.
    pub async fn run(self) {
        loop {
            let Ok((client, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if let Err(error) = self.carry(client).await {
                tracing::info!(host = self.host, %error, "TLS to the MQTT broker ended");
            }
        }
    }

    async fn carry(&self, mut client: UnixStream) -> std::io::Result<()> {
        let begun = timeout(HANDSHAKE, async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            self.connector.connect(self.name.clone(), stream).await
        });
        let mut broker = begun.await??;
        copy_bidirectional(&mut client, &mut broker).await.map(|_| ())
    }
}
