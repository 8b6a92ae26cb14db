//! The control plane over TLS. Applications trust the certification authorities of the host, so they are processes with
//! another list of them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use snapgate_e2e::{EchoServer, Snap, SnapSetup, until};
use tokio::task::block_in_place;

#[tokio::test(flavor = "multi_thread")]
async fn an_application_connects_over_tls_if_its_host_trusts_the_authority() {
    let setup = SnapSetup::new().tls("certificate.pem", "key.pem");
    let authority = Authority::new("trusted");
    fs::write(setup.path("ca.pem"), &authority.certificate).unwrap();
    fs::write(
        setup.path("other-ca.pem"),
        Authority::new("other").certificate,
    )
    .unwrap();
    let ip = setup.ip().to_string();
    authority.certify(&ip, &setup.path("certificate.pem"), &setup.path("key.pem"));
    let snap = setup.start().await;
    assert_eq!(snap.url().scheme(), "https");
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);

    let start = Instant::now();
    let output = echo(&snap, &server, "ca.pem");
    let text = String::from_utf8_lossy(&output.stdout);
    println!(
        "application over TLS, started and ended in {:.1?}:\n{text}",
        start.elapsed()
    );
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("10 of 10"), "{text}");

    let output = echo(&snap, &server, "other-ca.pem");
    let error = String::from_utf8_lossy(&output.stderr);
    println!("with another authority: {error}");
    assert!(!output.status.success());
    assert!(error.contains("UnknownIssuer"), "{error}");
    snap.assert_no_drops();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_used_without_a_restart() {
    let setup = SnapSetup::new().tls("certificate.pem", "key.pem");
    let [old, new] = [Authority::new("old"), Authority::new("new")];
    fs::write(setup.path("old-ca.pem"), &old.certificate).unwrap();
    fs::write(setup.path("new-ca.pem"), &new.certificate).unwrap();
    let ip = setup.ip().to_string();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| setup.path(name));
    old.certify(&ip, &certificate, &key);
    let snap = setup.start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    assert!(echo(&snap, &server, "old-ca.pem").status.success());

    new.certify(&ip, &certificate, &key);
    let start = Instant::now();
    until("the new certificate", async || {
        let output = echo(&snap, &server, "new-ca.pem");
        output.status.success().then_some(())
    })
    .await;
    println!("new certificate used after {:.1?}", start.elapsed());
    assert!(!echo(&snap, &server, "old-ca.pem").status.success());
}

/// A certification authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::default()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Writes a certificate for `name` and its private key, the key first.
    fn certify(&self, name: &str, certificate: &Path, key: &Path) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let pair = KeyPair::generate().unwrap();
        let text = params.signed_by(&pair, &self.issuer).unwrap().pem();
        fs::write(key, pair.serialize_pem()).unwrap();
        fs::write(certificate, text).unwrap();
    }
}

/// Runs `scion-echo` with ten round trips, on a host that trusts the authority in the file `ca` only.
fn echo(snap: &Snap, server: &EchoServer, ca: &str) -> Output {
    let token = snap.path("token");
    fs::write(&token, snap.token().text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scion-echo"));
    command
        .arg("send")
        .args(["--endhost-api", snap.url().as_str()])
        .arg("--token-file")
        .arg(token)
        .args(["--count", "10"])
        .arg(server.address().to_string())
        .env("SSL_CERT_FILE", snap.path(ca))
        .env_remove("SSL_CERT_DIR");
    block_in_place(|| command.output()).unwrap()
}
