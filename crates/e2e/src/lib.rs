//! End-to-end tests of a SNAP: a `snapgate run` process with a control plane, PocketSCION as the SCION network, and
//! applications that use `scion-stack`, unmodified.
//!
//! The tests are in `tests/it`. This library has what they share:
//!
//! | item | purpose |
//! | --- | --- |
//! | [`Network`] | three ASes simulated by PocketSCION, with the SNAP in one of them |
//! | [`SnapSetup`], [`Snap`] | the gateway process, its control plane and its metrics |
//! | [`Issuer`], [`Token`] | the authority that signs tokens |
//! | [`Application`] | a SCION stack with one socket, behind the SNAP or in the other AS |
//! | [`EchoServer`], [`exchange`], [`Stream`] | traffic |
//! | [`Record`] | what was sent and what came back: loss, gaps, round trips |
//! | [`Relay`] | the connection from the gateway to the endhost API, which tests interrupt |
//!
//! [`Network`] and the SCION stack use the async runtime of the test, which must have several threads. Helpers panic on
//! failure, and after [`testkit::PATIENCE`].
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a failing helper fails its test"
)]

mod application;
mod issuer;
mod network;
mod patience;
mod record;
mod relay;
mod snap;
mod traffic;

pub use self::application::{Application, error_chain};
pub use self::issuer::{Issuer, Subscriber, Token};
pub use self::network::{Network, NetworkAddresses, SNAP_AS, SNAP_INTERFACES, UDP_AS};
pub use self::patience::{in_time, until};
pub use self::record::{Reception, Record};
pub use self::relay::{Relay, RelayMode};
pub use self::snap::{Snap, SnapSetup, snapgate};
pub use self::traffic::{EchoServer, SEND_INTERVAL, Stream, exchange};
