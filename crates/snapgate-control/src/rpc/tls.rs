//! TLS of the server: loads certificate and key, and loads them again when their files change.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use zeroize::Zeroizing;

use super::certificate::{Validity, validity};
use super::metrics::ControlMetrics;
use super::settings::TlsSettings;
use super::start_error::TlsError;

/// Maximum size of a file with certificates or a key.
const FILE_BYTES: u64 = 1 << 20;

/// Minimum interval between two readings of the files.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Returns the cryptography of TLS. It is passed explicitly, because a process has only one default, which belongs to
/// its main program.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Certificate and key in use.
#[derive(Debug)]
pub(super) struct Certificate {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Reads certificate and key, as a server does when it starts.
///
/// # Errors
///
/// They cannot be used.
pub fn check_certificate(settings: &TlsSettings) -> Result<(), TlsError> {
    load(settings, &provider()).map(drop)
}

impl Certificate {
    /// Loads certificate and key.
    pub(super) fn load(
        settings: &TlsSettings,
        metrics: &ControlMetrics,
    ) -> Result<Arc<Self>, TlsError> {
        let provider = provider();
        let loaded = load(settings, &provider)?;
        loaded.announce(settings, metrics);
        Ok(Arc::new(Self {
            settings: settings.clone(),
            provider,
            current: ArcSwap::new(loaded.key),
        }))
    }

    /// Returns what accepts TLS connections with this certificate.
    pub(super) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError {
                file: self.settings.certificate_chain.clone(),
                reason: format!("no TLS version can be used: {error}"),
            })?;
        let mut config = config
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files at intervals, on a blocking thread. A certificate that cannot be used is logged once, and the
    /// previous one stays in use.
    pub(super) async fn follow(self: Arc<Self>, metrics: ControlMetrics) {
        let interval = self.settings.poll_interval.max(INTERVAL_MIN);
        let mut logged = None;
        loop {
            tokio::time::sleep(interval).await;
            let certificate = Arc::clone(&self);
            let load = move || load(&certificate.settings, &certificate.provider);
            let Ok(loaded) = tokio::task::spawn_blocking(load).await else {
                // Only a panic, or the end of the server, leads here.
                continue;
            };
            match loaded {
                Ok(loaded) => {
                    logged = None;
                    // The key belongs to the certificate, so it did not change either.
                    if loaded.key.cert != self.current.load().cert {
                        loaded.announce(&self.settings, &metrics);
                        metrics.reloaded(true);
                        self.current.store(loaded.key);
                    }
                }
                Err(error) => {
                    metrics.reloaded(false);
                    let text = error.to_string();
                    if logged.as_ref() != Some(&text) {
                        tracing::error!(
                            error = text,
                            "cannot reload certificate, the previous one stays in use"
                        );
                        logged = Some(text);
                    }
                }
            }
        }
    }
}

struct Loaded {
    key: Arc<CertifiedKey>,
    validity: Option<Validity>,
}

impl Loaded {
    /// Logs the certificate, with a warning if it is not valid now.
    fn announce(&self, settings: &TlsSettings, metrics: &ControlMetrics) {
        let file = settings.certificate_chain.display();
        let Some(Validity {
            not_before,
            not_after,
        }) = self.validity
        else {
            tracing::warn!(%file, "certificate loaded, its validity cannot be read");
            return;
        };
        metrics.set_certificate_expiry(not_after);
        let now = Timestamp::now();
        if now > not_after {
            tracing::warn!(%file, %not_after, "certificate has expired, clients will refuse it");
        } else if now < not_before {
            tracing::warn!(%file, %not_before, "certificate is not valid yet, clients will refuse it");
        } else {
            tracing::info!(%file, %not_after, "certificate loaded");
        }
    }
}

fn load(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
    let chain_file = &settings.certificate_chain;
    let chain = read_certificates(chain_file)?;
    let fail = |file: &Path, reason: String| TlsError {
        file: file.to_owned(),
        reason,
    };
    let key_file = &settings.private_key;
    // Errors of the PEM parser may quote lines, so they are not shown for keys.
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound => {
                "the file contains no private key (PKCS #8, PKCS #1 or SEC 1 in PEM)"
            }
            _ => "the file is not valid PEM",
        };
        fail(key_file, reason.to_owned())
    })?;
    let validity = chain.first().and_then(|certificate| validity(certificate));
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => fail(
            key_file,
            format!(
                "the private key does not belong to the first certificate in {}",
                chain_file.display()
            ),
        ),
        Error::InvalidCertificate(error) => fail(
            chain_file,
            format!("the first certificate cannot be used: {error:?}"),
        ),
        error => fail(key_file, format!("the private key cannot be used: {error}")),
    })?;
    Ok(Loaded {
        key: Arc::new(key),
        validity,
    })
}

/// Reads all certificates of a PEM file; at least one.
pub(super) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let reason = match certificates {
        Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
        Ok(_) => "the file contains no certificate (PEM)".to_owned(),
        Err(error) => format!("the file is not valid PEM: {error}"),
    };
    Err(TlsError {
        file: file.to_owned(),
        reason,
    })
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let fail = |reason| TlsError {
        file: file.to_owned(),
        reason,
    };
    let read = || {
        let opened = File::open(file)?;
        // The whole size at once, so that no copy of a key is left behind by a growing vector.
        let size = opened.metadata()?.len().min(FILE_BYTES) + 1;
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0)));
        opened.take(FILE_BYTES + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error: std::io::Error| fail(format!("cannot be read: {error}")))?;
    if text.len() as u64 > FILE_BYTES {
        return Err(fail(format!("the file has more than {FILE_BYTES} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};
    use tempfile::TempDir;

    use super::*;

    struct Files {
        directory: TempDir,
        settings: TlsSettings,
    }

    impl Files {
        fn new() -> (Self, [Generated<rcgen::KeyPair>; 2]) {
            let directory = TempDir::new().unwrap();
            let path = |name| directory.path().join(name);
            let settings = TlsSettings::new(path("chain.pem"), path("key.pem"));
            let generated =
                ["a", "b"].map(|name| generate_simple_self_signed([name.to_owned()]).unwrap());
            let files = Self {
                settings,
                directory,
            };
            files.write(
                &generated[0].cert.pem(),
                &generated[0].signing_key.serialize_pem(),
            );
            (files, generated)
        }

        fn write(&self, chain: &str, key: &str) {
            assert!(self.directory.path().exists());
            fs::write(&self.settings.certificate_chain, chain).unwrap();
            fs::write(&self.settings.private_key, key).unwrap();
        }

        fn error(&self) -> String {
            match load(&self.settings, &provider()) {
                Ok(_) => panic!("loaded"),
                Err(error) => error.to_string(),
            }
        }
    }

    #[test]
    fn certificate_and_key_are_loaded() {
        let (files, [generated, _]) = Files::new();
        let loaded = load(&files.settings, &provider()).unwrap();
        assert_eq!(loaded.key.cert, [generated.cert.der().clone()]);
        assert!(loaded.validity.is_some());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (files, [first, second]) = Files::new();
        files.write(&first.cert.pem(), &second.signing_key.serialize_pem());
        let error = files.error();
        assert!(
            error.contains("key.pem: the private key does not belong to"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_the_file_and_show_nothing_of_the_key() {
        let (files, [generated, _]) = Files::new();
        let chain = generated.cert.pem();
        let key = generated.signing_key.serialize_pem();
        let secret = key.lines().nth(1).unwrap();
        let damaged_key = key.replace("-----END", "----END");
        for (chain, key, expected) in [
            ("", &key[..], "chain.pem: the file contains no certificate"),
            (
                &chain[..40],
                &key[..],
                "chain.pem: the file is not valid PEM",
            ),
            (&chain, "", "key.pem: the file contains no private key"),
            (&chain, &chain, "key.pem: the file contains no private key"),
            (&chain, &damaged_key, "key.pem: the file is not valid PEM"),
        ] {
            files.write(chain, key);
            let error = files.error();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
        fs::remove_file(&files.settings.private_key).unwrap();
        files.write(&chain, "");
        fs::remove_file(&files.settings.private_key).unwrap();
        assert!(files.error().contains("key.pem: cannot be read"));
    }

    #[test]
    fn a_large_file_is_refused() {
        let (files, _) = Files::new();
        let size = usize::try_from(FILE_BYTES).unwrap() + 1;
        files.write(&"x".repeat(size), "");
        assert!(files.error().contains("has more than"));
    }
}
