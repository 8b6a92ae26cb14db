//! Revocation of tokens, subscribers and identities.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use snapgate_e2e::{Application, EchoServer, Snap, Stream, Subscriber, Token};

const HOUR: Duration = Duration::from_secs(3600);

/// A revocation is in force within this time.
const IN_FORCE: Duration = Duration::from_secs(1);

/// Packets after a revocation: 3 s of a stream.
const DROPS: u64 = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_cut_off_and_cannot_register_again() {
    let snap = Snap::start().await;
    let revoked = Revoked::connect(&snap).await;
    let jti = revoked.token.jti.clone();
    let revoked = revoked.revoke(&snap, "token", &["--jti", &jti]).await;

    refused(&snap, &revoked.token, "the same token").await;
    // Nor by renewal in the same stack, nor later.
    revoked.application.renew(&revoked.token);
    refused(&snap, &revoked.token, "the same token again").await;
    // The subscriber may come back with another token.
    let token = snap.issuer().token(revoked.subscriber, HOUR);
    snap.application_with(&token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_subscriber_is_cut_off_and_cannot_register_with_its_tokens() {
    let snap = Snap::start().await;
    let revoked = Revoked::connect(&snap).await;
    let pssid = revoked.subscriber.pssid();
    let issued_before = snap.issuer().token(revoked.subscriber, HOUR);
    let revoked = revoked
        .revoke(&snap, "subscriber", &["--pssid", &pssid])
        .await;
    refused(&snap, &revoked.token, "the same token").await;
    refused(&snap, &issued_before, "another token of the subscriber").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_is_cut_off_and_cannot_register_again() {
    let snap = Snap::start().await;
    let revoked = Revoked::connect(&snap).await;
    let identity = BASE64_STANDARD.encode(revoked.application.identity);
    let revoked = revoked
        .revoke(&snap, "identity", &["--identity", &identity])
        .await;
    // The stack registers the identity again, with another token of the subscriber.
    let before = unauthorized(&snap);
    let renewed = snap.issuer().token(revoked.subscriber, HOUR);
    revoked.application.renew(&renewed);
    let stream = Stream::start(&revoked.application.socket, revoked.server.address());
    snap.wait_for_metrics("packets after the renewal dropped", |metrics| {
        metrics.dropped("tunnel", "unauthorized") + metrics.dropped("tunnel", "no_tunnel")
            >= before + DROPS
    });
    let record = stream.finish().await;
    assert!(record.received.is_empty(), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_survives_a_kill() {
    let mut snap = Snap::start().await;
    let revoked = Revoked::connect(&snap).await;
    let jti = revoked.token.jti.clone();
    let revoked = revoked.revoke(&snap, "token", &["--jti", &jti]).await;
    snap.kill_gateway();
    snap.start_gateway();
    refused(&snap, &revoked.token, "the same token after a restart").await;
    snap.application().await;
}

/// A client that sends until it is revoked, and after that.
struct Revoked {
    subscriber: Subscriber,
    token: Token,
    application: Application,
    stream: Option<Stream>,
    server: EchoServer,
}

impl Revoked {
    async fn connect(snap: &Snap) -> Self {
        let remote = snap.remote_application().await;
        let server = EchoServer::start(&remote.socket);
        let subscriber = Subscriber::new();
        let token = snap.issuer().token(subscriber, HOUR);
        let application = snap.application_with(&token).await;
        let mut stream = Stream::start(&application.socket, server.address());
        stream.more(10).await;
        Self {
            subscriber,
            token,
            application,
            stream: Some(stream),
            server,
        }
    }

    /// Revokes the client, and checks that it is no longer served while another one is.
    async fn revoke(mut self, snap: &Snap, what: &str, selection: &[&str]) -> Self {
        let other = snap.application().await;
        let other_stream = Stream::start(&other.socket, self.server.address());

        let start = Instant::now();
        let output = snap.registrations(&[&["revoke"], selection].concat());
        let answered = Instant::now();
        println!(
            "{what} revoked in {:.1?}: {}",
            answered - start,
            output.trim()
        );
        snap.wait_for_metrics("packets of the revoked client dropped", |metrics| {
            metrics.dropped("tunnel", "unauthorized") + metrics.dropped("tunnel", "no_tunnel")
                >= DROPS
        });
        let record = self.stream.take().unwrap().finish().await;
        let last = record.last_served().unwrap();
        println!(
            "served for {:.1?} after the command began; {record}",
            last - start
        );
        assert!(last < answered + IN_FORCE, "{:?}", last - answered);
        assert_eq!(record.gaps().len(), 1, "{record}");

        let record = other_stream.finish().await;
        println!("other client: {record}");
        record.assert_complete();
        self
    }
}

/// Checks that no application can connect with `token`.
async fn refused(snap: &Snap, token: &Token, what: &str) {
    let start = Instant::now();
    let Err(error) = snap.try_application(token).await else {
        panic!("{what} is accepted");
    };
    println!("{what}: refused in {:.1?}: {error}", start.elapsed());
    assert!(error.contains("revoked"), "{error}");
}

fn unauthorized(snap: &Snap) -> u64 {
    let metrics = snap.metrics();
    metrics.dropped("tunnel", "unauthorized") + metrics.dropped("tunnel", "no_tunnel")
}
