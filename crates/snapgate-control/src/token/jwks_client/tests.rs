use std::net::{Ipv4Addr, TcpListener};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::super::test_server::{Reply, TestServer, empty, ok};
use super::*;

/// Long enough for a busy machine.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(60),
    request: Duration::from_secs(60),
};

/// Returns a client with the time limits and no trusted certificate.
fn client(url: &str, timeouts: Timeouts) -> JwksClient {
    client_that_trusts(url, RootCertStore::empty(), timeouts)
}

fn client_that_trusts(url: &str, roots: RootCertStore, timeouts: Timeouts) -> JwksClient {
    let tls = tls_config().unwrap().with_root_certificates(roots);
    JwksClient::with_tls(url.parse().unwrap(), tls.with_no_client_auth(), timeouts)
}

/// Fetches a document from a server with one answer.
async fn fetch(
    answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> Result<Answer, FetchFault> {
    let server = TestServer::start(move |_, head| answer(head));
    client(&server.url(), PATIENT).fetch(None).await
}

#[tokio::test]
async fn a_document_is_fetched_with_its_tag_and_age() {
    let answer = fetch(|head| {
        assert!(head.starts_with("GET /jwks.json HTTP/1.1\r\n"), "{head}");
        let lower = head.to_lowercase();
        assert!(lower.contains("\r\nhost: 127.0.0.1:"), "{head}");
        assert!(lower.contains("\r\nuser-agent: snapgate/"), "{head}");
        assert!(!lower.contains("if-none-match"), "{head}");
        ok(
            "ETag: \"one\"\r\nCache-Control: public, Max-Age=90\r\n",
            "{}",
        )
    });
    let answer = answer.await.unwrap();
    assert_eq!(answer.max_age, Some(Duration::from_secs(90)));
    let document = answer.document.unwrap();
    assert_eq!(document.content, "{}");
    assert_eq!(document.etag.unwrap(), "\"one\"");
}

#[tokio::test]
async fn a_document_with_a_known_tag_is_not_fetched_again() {
    let server = TestServer::start(|_, head| {
        let is_known = head.to_lowercase().contains("if-none-match: \"one\"\r\n");
        if is_known {
            empty("304 Not Modified", "Cache-Control: max-age=60\r\n")
        } else {
            empty("500 Internal Server Error", "")
        }
    });
    let client = client(&server.url(), PATIENT);
    let known = HeaderValue::from_static("\"one\"");
    let answer = client.fetch(Some(&known)).await.unwrap();
    assert!(answer.document.is_none());
    assert_eq!(answer.max_age, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn other_statuses_are_faults() {
    for (status, location) in [
        ("301 Moved Permanently", "Location: /other\r\n"),
        ("302 Found", "Location: https://issuer.example/\r\n"),
        ("307 Temporary Redirect", "Location: /other\r\n"),
        // Without a tag in the request.
        ("304 Not Modified", ""),
    ] {
        let fault = fetch(move |_| empty(status, location)).await.unwrap_err();
        assert!(
            matches!(fault, FetchFault::Redirect(_)),
            "{status}: {fault}"
        );
    }
    for status in [
        "204 No Content",
        "206 Partial Content",
        "404 Not Found",
        "503 Unavailable",
    ] {
        let fault = fetch(move |_| empty(status, "")).await.unwrap_err();
        assert!(matches!(fault, FetchFault::Status(_)), "{status}: {fault}");
        assert!(fault.to_string().contains(&status[..3]), "{fault}");
    }
}

#[tokio::test]
async fn a_document_larger_than_1_mib_is_refused() {
    let answer = fetch(|_| ok("", &" ".repeat(DOCUMENT_BYTES_MAX))).await;
    let document = answer.unwrap().document.unwrap();
    assert_eq!(document.content.len(), DOCUMENT_BYTES_MAX);
    let answer = fetch(|_| ok("", &" ".repeat(DOCUMENT_BYTES_MAX + 1))).await;
    assert!(matches!(answer, Err(FetchFault::TooLarge)), "{answer:?}");
    // Without a length in advance.
    let endless = format!(
        "HTTP/1.1 200 OK\r\n\r\n{}",
        " ".repeat(2 * DOCUMENT_BYTES_MAX)
    );
    let answer = fetch(move |_| Reply::Hang(endless.clone())).await;
    assert!(matches!(answer, Err(FetchFault::TooLarge)), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_time_limit() {
    let limit = Duration::from_millis(200);
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let server = TestServer::start(move |_, _| Reply::Hang(text.to_owned()));
        let timeouts = Timeouts {
            request: limit,
            ..PATIENT
        };
        let fault = client(&server.url(), timeouts)
            .fetch(None)
            .await
            .unwrap_err();
        assert!(matches!(fault, FetchFault::Timeout(_)), "{text:?}: {fault}");
    }
}

#[tokio::test]
async fn broken_connections_are_faults() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", unused.local_addr().unwrap());
    drop(unused);
    let fault = client(&url, PATIENT).fetch(None).await.unwrap_err();
    assert!(matches!(fault, FetchFault::Unreachable(_)), "{fault}");
    for text in [
        "",
        "220 mail.example ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let fault = fetch(move |_| Reply::Close(text.to_owned()))
            .await
            .unwrap_err();
        assert!(
            matches!(fault, FetchFault::Unreachable(_)),
            "{text:?}: {fault}"
        );
    }
}

/// Starts a server with a certificate for localhost. Returns it and the certificate.
fn tls_server() -> (TestServer, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let server = TestServer::start_tls(Arc::new(config), |_, _| ok("", "{}"));
    (server, certificate)
}

#[tokio::test]
async fn a_server_with_a_trusted_certificate_for_its_name_is_used() {
    let (server, certificate) = tls_server();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let url = format!("https://localhost:{}/", server.port());
    let client = client_that_trusts(&url, roots.clone(), PATIENT);
    let answer = client.fetch(None).await.unwrap();
    assert_eq!(answer.document.unwrap().content, "{}");
    // The certificate is not for this name.
    let url = format!("https://127.0.0.1:{}/", server.port());
    let client = client_that_trusts(&url, roots, PATIENT);
    let fault = client.fetch(None).await.unwrap_err();
    assert!(matches!(fault, FetchFault::Unreachable(_)), "{fault}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_server_with_another_certificate_gets_no_request() {
    let (server, _) = tls_server();
    let (_, other) = tls_server();
    let mut roots = RootCertStore::empty();
    roots.add(other).unwrap();
    let url = format!("https://localhost:{}/", server.port());
    let client = client_that_trusts(&url, roots, PATIENT);
    let fault = client.fetch(None).await.unwrap_err();
    assert!(matches!(fault, FetchFault::Unreachable(_)), "{fault}");
    assert!(fault.to_string().contains("certificate"), "{fault}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn an_https_url_is_never_fetched_without_tls() {
    let server = TestServer::start(|_, _| ok("", "{}"));
    let url = format!("https://localhost:{}/", server.port());
    let timeouts = Timeouts {
        // A server without TLS waits for the end of what it takes for a request.
        request: Duration::from_millis(500),
        ..PATIENT
    };
    client(&url, timeouts).fetch(None).await.unwrap_err();
    assert_eq!(server.requests(), 0);
}

#[test]
fn the_age_is_read_from_any_of_the_directives() {
    let age = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        max_age(&headers).map(|age| age.as_secs())
    };
    assert_eq!(age(&[]), None);
    assert_eq!(age(&["no-cache"]), None);
    assert_eq!(age(&["max-age=60"]), Some(60));
    assert_eq!(age(&["public", "no-transform ,MAX-AGE=0"]), Some(0));
    assert_eq!(age(&["s-maxage=5, max-age=7"]), Some(7));
    for value in [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=1.5",
        "max-age=99999999999999999999",
    ] {
        assert_eq!(age(&[value]), None, "{value}");
    }
}
