//! Registrations of identities that belong to another client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scion_stack::reqwest_connect_rpc::client::CrpcClientError;
use scion_stack::reqwest_connect_rpc::error::CrpcErrorCode;
use scion_stack::reqwest_connect_rpc::token_source::static_token::StaticTokenSource;
use scion_stack::x25519_dalek::{PublicKey, StaticSecret};
use snap_control::client::{ControlPlaneApi as _, CrpcSnapControlClient};
use snapgate_e2e::{EchoServer, Snap, Stream, Subscriber, Token, error_chain};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn another_subscriber_cannot_take_over_a_registered_identity() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let subscriber = Subscriber::new();
    let first = snap.issuer().token(subscriber, HOUR);
    let victim = snap.application_with(&first).await;
    let mut stream = Stream::start(&victim.socket, server.address());
    stream.more(10).await;

    // With a fresh token, with one that has registered another identity, and again.
    let attacker = snap.token();
    for own in [None, Some(own_identity()), None] {
        if let Some(own) = own {
            register(&snap, &attacker, own).await.unwrap();
        }
        let start = Instant::now();
        let error = register(&snap, &attacker, victim.identity)
            .await
            .unwrap_err();
        println!(
            "refused in {:.1?}: {}",
            start.elapsed(),
            error_chain(&error)
        );
        let CrpcClientError::CrpcError(error) = error else {
            panic!("not an answer of the control plane: {error}");
        };
        assert_eq!(error.code, CrpcErrorCode::PermissionDenied, "{error}");
        stream.more(10).await;
    }
    // The victim renews, and its first token can no longer be used for another identity.
    victim.renew(&snap.issuer().token(subscriber, HOUR));
    stream.more(50).await;

    let record = stream.finish().await;
    println!("victim: {record}");
    record.assert_complete();
    snap.assert_no_drops();
    assert_eq!(answered(&snap), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_subscriber_keeps_the_tunnel() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let subscriber = Subscriber::new();
    let application = snap
        .application_with(&snap.issuer().token(subscriber, HOUR))
        .await;
    let mut stream = Stream::start(&application.socket, server.address());
    stream.more(10).await;
    for _ in 0..10 {
        let token = snap.issuer().token(subscriber, HOUR);
        register(&snap, &token, application.identity).await.unwrap();
        stream.more(5).await;
    }
    let record = stream.finish().await;
    println!("10 other tokens: {record}");
    record.assert_complete();
    snap.assert_no_drops();
    assert_eq!(answered(&snap), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_registers_one_identity_only() {
    let snap = Snap::start().await;
    let remote = snap.remote_application().await;
    let server = EchoServer::start(&remote.socket);
    let token = snap.token();
    let first = snap.application_with(&token).await;
    let mut stream = Stream::start(&first.socket, server.address());
    stream.more(10).await;
    let Err(error) = snap.try_application(&token).await else {
        panic!("the token registers a second identity");
    };
    println!("{error}");
    assert!(
        error.contains("the token has registered another identity"),
        "{error}"
    );
    stream.more(10).await;
    let record = stream.finish().await;
    println!("first identity: {record}");
    record.assert_complete();
    snap.assert_no_drops();
}

/// Registers an identity with a token, as an application does.
async fn register(snap: &Snap, token: &Token, identity: PublicKey) -> Result<(), CrpcClientError> {
    let mut client = CrpcSnapControlClient::new(snap.url()).unwrap();
    client.use_token_source(Arc::new(StaticTokenSource::from(token.text.clone())));
    client.register_snaptun_identity(identity, None).await?;
    Ok(())
}

fn own_identity() -> PublicKey {
    PublicKey::from(&StaticSecret::random())
}

/// Handshakes that the gateway answered.
fn answered(snap: &Snap) -> u64 {
    let metrics = snap.metrics();
    metrics.sum_where("snapgate_handshakes_total", &[("result", "answered")])
}
