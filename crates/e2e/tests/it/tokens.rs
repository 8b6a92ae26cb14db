//! Tokens: renewal, refusal, and the withdrawal of keys.

use std::time::{Duration, Instant, SystemTime};

use scion_stack::sciparse::address::ip_socket_addr::ScionSocketIpAddr;
use snapgate_e2e::{
    Application, EchoServer, Issuer, Snap, SnapSetup, Stream, Subscriber, Token, exchange, until,
};
use tokio::time::interval;

const HOUR: Duration = Duration::from_secs(3600);

/// Interval between renewals.
const RENEWAL: Duration = Duration::from_secs(4);

/// Time for which tokens are renewed.
const RENEWED_FOR: Duration = Duration::from_secs(60);

/// Lifetime of a token that ends during a test.
const SHORT: Duration = Duration::from_secs(3);

/// Limit for service after a late renewal. A client whose tunnel was removed detects that after 15 s.
const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn renewals_every_four_seconds_for_a_minute_lose_nothing() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let subscriber = Subscriber::new();
    // Without the next renewal, a token ends during the test.
    let token = || snap.issuer().token(subscriber, 2 * RENEWAL);
    let application = snap.application_with(&token()).await;
    let stream = Stream::start(&application.socket, server.address());

    let mut ticks = interval(RENEWAL);
    ticks.tick().await;
    let start = Instant::now();
    let mut renewals = 0;
    while start.elapsed() < RENEWED_FOR {
        ticks.tick().await;
        application.renew(&token());
        renewals += 1;
    }
    let record = stream.finish().await;
    println!("{renewals} renewals: {record}");
    record.assert_complete();
    snap.assert_no_drops();
    // The tunnel is the first one, in its first session.
    let metrics = snap.metrics();
    assert_eq!(
        metrics.sum_where("snapgate_handshakes_total", &[("result", "answered")]),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_token_is_renewed_late_is_served_at_once() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let subscriber = Subscriber::new();
    let application = snap
        .application_with(&snap.issuer().token(subscriber, SHORT))
        .await;
    let mut stream = Stream::start(&application.socket, server.address());
    snap.wait_for_metrics("packets after the end of the token", |metrics| {
        // The first one is `unauthorized`, later ones have no tunnel.
        metrics.dropped("tunnel", "unauthorized") + metrics.dropped("tunnel", "no_tunnel") >= 50
    });

    let renewed = Instant::now();
    application.renew(&snap.issuer().token(subscriber, HOUR));
    let took = stream.served_after(renewed).await - renewed;
    stream.more(50).await;
    let record = stream.finish().await;
    println!("late renewal: served again after {took:.1?}; {record}");
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(record.gaps().len(), 1, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_first_version_is_accepted() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let token = snap.issuer().token_v0(Subscriber::new(), HOUR);
    let application = snap.application_with(&token).await;
    exchange(&application.socket, server.address(), 10)
        .await
        .assert_complete();
    snap.assert_no_drops();
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tokens_are_refused_with_a_reason() {
    let snap = Snap::start().await;
    let now = SystemTime::now();
    let of = |issuer: &Issuer, from, until| issuer.token_between(Subscriber::new(), from, until);
    let text = |text: &str| Token {
        text: text.to_owned(),
        jti: String::new(),
    };
    let valid = of(snap.issuer(), now, now + HOUR);
    let other = of(snap.issuer(), now, now + 2 * HOUR);
    let (signed, _) = other.text.rsplit_once('.').unwrap();
    let (_, signature) = valid.text.rsplit_once('.').unwrap();
    for (what, token, reason) in [
        (
            "expired",
            of(snap.issuer(), now - 2 * HOUR, now - HOUR),
            "has expired",
        ),
        (
            "not valid yet",
            of(snap.issuer(), now + HOUR, now + 2 * HOUR),
            "clock error",
        ),
        (
            "of another issuer",
            of(&Issuer::new(), now, now + HOUR),
            "signature",
        ),
        (
            "changed",
            text(&format!("{signed}.{signature}")),
            "signature",
        ),
        ("cut", text(signed), "not a signed JWT"),
        ("not a token", text("nonsense"), "not a signed JWT"),
    ] {
        let start = Instant::now();
        let Err(error) = snap.try_application(&token).await else {
            panic!("a token that is {what} is accepted");
        };
        println!("{what}: refused in {:.1?}: {error}", start.elapsed());
        for part in ["Unauthenticated", "SNAP Token validation failed", reason] {
            assert!(error.contains(part), "{what}: no {part:?} in {error}");
        }
        // The token is a secret.
        assert!(!error.contains(&token.text), "{what}: {error}");
    }
    assert_eq!(snap.metrics().sum("snapgate_tunnels"), 0);
    snap.application_with(&valid).await;
    snap.assert_no_drops();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_withdrawn_from_the_jwk_set_is_refused() {
    let setup = SnapSetup::new().jwk_set("jwks.json");
    let [kept, withdrawn] = [Issuer::new(), Issuer::new()];
    let file = setup.path("jwks.json");
    std::fs::write(&file, Issuer::jwk_set(&[&kept, &withdrawn])).unwrap();
    let snap = setup.start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let before = connect(&snap, &withdrawn).await.unwrap();
    serves(&before, server.address()).await;
    let unaffected = connect(&snap, &kept).await.unwrap();
    let stream = Stream::start(&unaffected.socket, server.address());

    let new = snap.path("jwks.new");
    std::fs::write(&new, Issuer::jwk_set(&[&kept])).unwrap();
    std::fs::rename(new, file).unwrap();
    let start = Instant::now();
    let error = until("a token of the withdrawn key refused", async || {
        connect(&snap, &withdrawn).await.err()
    })
    .await;
    println!(
        "key withdrawn: refused after {:.1?}: {error}",
        start.elapsed()
    );
    assert!(error.contains("SNAP Token validation failed"), "{error}");
    connect(&snap, &kept).await.unwrap();
    let record = stream.finish().await;
    println!("client of the other key: {record}");
    record.assert_complete();
}

async fn connect(snap: &Snap, issuer: &Issuer) -> Result<Application, String> {
    snap.try_application(&issuer.token(Subscriber::new(), HOUR))
        .await
}

async fn serves(application: &Application, server: ScionSocketIpAddr) {
    exchange(&application.socket, server, 10)
        .await
        .assert_complete();
}
