//! SCION applications.

use std::error::Error;
use std::sync::Arc;

use scion_stack::reqwest_connect_rpc::token_source::mock::MockTokenSource;
use scion_stack::sciparse::address::ip_socket_addr::ScionSocketIpAddr;
use scion_stack::stack::builder::SnapUnderlayConfig;
use scion_stack::url::Url;
use scion_stack::x25519_dalek::{PublicKey, StaticSecret};
use scion_stack::{ScionStack, ScionStackBuilder, UdpScionSocket};

use crate::{Token, in_time};

/// A SCION stack with one UDP socket.
pub struct Application {
    /// The socket.
    pub socket: Arc<UdpScionSocket>,
    /// The stack. Without it, the application does not register again when its token is renewed.
    pub stack: ScionStack,
    /// Key of its tunnels.
    pub identity: PublicKey,
    /// Source of its tokens; empty in an AS without a SNAP.
    tokens: MockTokenSource,
}

impl Application {
    /// Builds a stack with the endhost API at `url` and binds a socket to a free port.
    ///
    /// # Errors
    ///
    /// The error of the stack and its causes.
    pub async fn connect(url: &Url, token: &Token) -> Result<Self, String> {
        let tokens = MockTokenSource::new(token.text.clone());
        let identity = StaticSecret::random();
        let public = PublicKey::from(&identity);
        let stack = ScionStackBuilder::new()
            .with_endhost_api(url.clone())
            .with_auth_token_source(tokens.clone())
            .with_snap_underlay_config(SnapUnderlayConfig::default().with_static_identity(identity))
            .build()
            .await
            .map_err(|error| error_chain(&error))?;
        let socket = stack
            .bind(None)
            .await
            .map_err(|error| error_chain(&error))?;
        Ok(Self {
            socket: Arc::new(socket),
            stack,
            identity: public,
            tokens,
        })
    }

    /// Builds a stack for an AS whose applications send to the router over UDP, and binds a socket to a free port.
    pub async fn without_snap(url: &Url) -> Self {
        let builder = ScionStackBuilder::new().with_endhost_api(url.clone());
        let connect = async {
            let stack = builder.build().await.expect("a stack");
            let socket = stack.bind(None).await.expect("a socket");
            Self {
                socket: Arc::new(socket),
                stack,
                identity: PublicKey::from([0; 32]),
                tokens: MockTokenSource::new(String::new()),
            }
        };
        in_time("an application without a SNAP", connect).await
    }

    /// Returns the SCION address of the socket.
    #[must_use]
    pub fn address(&self) -> ScionSocketIpAddr {
        self.socket.local_addr()
    }

    /// Replaces the token, which makes the stack register again.
    pub fn renew(&self, token: &Token) {
        self.tokens.update_token(token.text.clone());
    }
}

/// Returns an error and those of its causes whose text it does not contain, separated by colons.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
