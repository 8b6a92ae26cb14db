//! TLS: certificates, their reload, and handshakes that fail.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use snapgate_control::rpc::{ConnectionEnd, ControlPlane, Registrations, TlsSettings, Tokens};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::*;

/// A certificate for `snap.test`.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) chain: String,
    pub(crate) key: String,
}

pub(crate) fn pair(end: i32) -> Pair {
    let names = vec!["snap.test".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(end, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pair {
        certificate: certificate.der().clone(),
        chain: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// Files of a certificate.
struct Files(TempDir);

impl Files {
    fn new(pair: &Pair) -> Self {
        let files = Self(TempDir::new().unwrap());
        files.write(&pair.chain, &pair.key);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, chain: &str, key: &str) {
        fs::write(self.path("chain.pem"), chain).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
    }

    fn settings(&self) -> TlsSettings {
        let mut settings = TlsSettings::new(self.path("chain.pem"), self.path("key.pem"));
        settings.poll_interval = Duration::from_millis(10);
        settings
    }
}

fn start(files: &Files) -> Running {
    Running::with(|settings| settings.tls = Some(files.settings()))
}

/// Connects with a client that trusts this certificate and offers these protocols.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("snap.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn is_trusted(running: &Running, certificate: &CertificateDer<'static>) -> bool {
    block_on(async { connect(running.address(), certificate, &[]).await.is_ok() })
}

fn failed_reloads(running: &Running) -> u64 {
    let page = running.page();
    let name = r#"snapgate_control_certificate_reloads_total{result="failed"} "#;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse().unwrap()
}

#[test]
fn clients_choose_the_version_of_http_by_alpn() {
    let pair = pair(2100);
    let files = Files::new(&pair);
    let running = start(&files);
    block_on(async {
        let connect = |protocols| connect(running.address(), &pair.certificate, protocols);
        for protocols in [&["h2"][..], &["http/1.1", "h2"]] {
            let stream = connect(protocols).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let url = format!("https://snap.test{LIST_UNDERLAYS}");
            let request = rpc(&url).body(body_of(b"")).unwrap();
            assert_eq!(Http2::new(stream).await.send(request).await.status, 200);
        }
        for protocols in [&["http/1.1"][..], &[]] {
            let stream = connect(protocols).await.unwrap();
            let request = rpc(LIST_UNDERLAYS).body(body_of(b"")).unwrap();
            let answer = Http1::new(stream).await.send(request).await;
            assert_eq!(answer.status, 200);
        }
    });
}

#[test]
fn urls_and_metrics_know_of_the_certificate() {
    let pair = pair(2100);
    let files = Files::new(&pair);
    let running = start(&files);
    let answer = block_on(async {
        let stream = connect(running.address(), &pair.certificate, &[])
            .await
            .unwrap();
        let request = rpc(GET_DATA_PLANE).body(body_of(b"")).unwrap();
        Http1::new(stream).await.send(request).await
    });
    let url = format!("https://{}/", running.address());
    assert!(
        answer
            .body
            .windows(url.len())
            .any(|window| window == url.as_bytes())
    );
    let page = running.page();
    let line = "snapgate_control_certificate_expiry_timestamp_seconds 4102444800\n";
    assert!(page.contains(line), "{page}");
}

#[test]
fn a_changed_certificate_is_used_without_a_restart() {
    let [first, second] = [pair(2100), pair(2101)];
    let files = Files::new(&first);
    let running = start(&files);
    assert!(is_trusted(&running, &first.certificate));
    assert!(!is_trusted(&running, &second.certificate));
    files.write(&second.chain, &second.key);
    wait_until("the new certificate is used", || {
        is_trusted(&running, &second.certificate)
    });
    assert!(!is_trusted(&running, &first.certificate));
    let page = running.page();
    assert!(
        page.contains(r#"certificate_reloads_total{result="ok"} 1"#),
        "{page}"
    );
    assert!(
        page.contains("certificate_expiry_timestamp_seconds 4133980800\n"),
        "{page}"
    );
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing() {
    let [first, second] = [pair(2100), pair(2101)];
    let files = Files::new(&first);
    let running = start(&files);
    for (chain, key) in [
        (&second.chain, &first.key),
        (&first.chain, &second.key),
        (&"nonsense".to_owned(), &first.key),
        (&first.chain, &String::new()),
    ] {
        files.write(chain, key);
        let before = failed_reloads(&running);
        // The second one began after the files were complete.
        wait_until("the files are read", || {
            failed_reloads(&running) >= before + 2
        });
        assert!(is_trusted(&running, &first.certificate));
    }
    fs::remove_file(files.path("chain.pem")).unwrap();
    let before = failed_reloads(&running);
    wait_until("the files are read", || {
        failed_reloads(&running) >= before + 2
    });
    assert!(is_trusted(&running, &first.certificate));
    files.write(&second.chain, &second.key);
    wait_until("the new certificate is used", || {
        is_trusted(&running, &second.certificate)
    });
}

#[test]
fn an_expired_certificate_is_used_with_a_warning() {
    let pair = pair(2001);
    let files = Files::new(&pair);
    let running = start(&files);
    // The client refuses it.
    assert!(!is_trusted(&running, &pair.certificate));
    assert!(
        running
            .page()
            .contains("certificate_expiry_timestamp_seconds 978307200\n")
    );
}

#[test]
fn files_that_do_not_belong_together_are_refused_at_the_start() {
    let [first, second] = [pair(2100), pair(2101)];
    let files = Files::new(&first);
    files.write(&first.chain, &second.key);
    let mut settings = settings();
    settings.tls = Some(files.settings());
    let backend = Arc::new(Backend::default());
    let tokens = Arc::clone(&backend) as Arc<dyn Tokens>;
    let error = ControlPlane::start(&settings, tokens, backend as Arc<dyn Registrations>);
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("does not belong to the first certificate"),
        "{error}"
    );
}

#[test]
fn a_handshake_that_does_not_finish_is_ended() {
    let files = Files::new(&pair(2100));
    let running = Running::with(|settings| {
        settings.tls = Some(files.settings());
        settings.limits.header_time = Duration::from_millis(50);
    });
    let mut silent = running.connect();
    assert!(is_closed(&silent));
    // The first bytes of a handshake.
    silent = running.connect();
    silent.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    assert!(is_closed(&silent));
    let ended = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::HandshakeTime)
    };
    wait_until("connections are counted", || ended() == 2);
}

#[test]
fn plain_http_is_not_answered_where_tls_is_expected() {
    let pair = pair(2100);
    let files = Files::new(&pair);
    let running = start(&files);
    let request = Request::post(LIST_UNDERLAYS).body(body_of(b"")).unwrap();
    let answer = block_on(async {
        let stream = TcpStream::connect(running.address()).await.unwrap();
        Http1::new(stream).await.try_send(request).await
    });
    assert!(answer.is_err());
    let ended = || {
        running
            .plane
            .metrics()
            .ended_connections(ConnectionEnd::HandshakeFailed)
    };
    wait_until("the connection is counted", || ended() == 1);
    assert!(is_trusted(&running, &pair.certificate));
}
