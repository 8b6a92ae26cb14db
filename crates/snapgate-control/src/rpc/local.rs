//! Local interface for commands of the operator: HTTP with JSON on a Unix socket.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /registrations?after=IDENTITY&limit=N&pssid=PSSID&token=ID` | [`RegistrationPage`]; all parameters are optional |
//! | `GET /revocations` | [`RevocationList`] |
//! | `POST /revocations` with [`RevocationRequest`] | [`RevocationAnswer`] |
//! | `DELETE /revocations?token=ID`, `?pssid=PSSID` or `?identity=IDENTITY` | [`RemovalAnswer`] |
//!
//! Identities are in base64, times in RFC 3339. Errors are [`Problem`]s. The socket has mode 0600, and only processes
//! of the server's user and of root are answered. [`Client`] sends these requests.

mod api;
mod client;
mod handler;
mod socket;

pub use api::{
    Problem, RegistrationEntry, RegistrationPage, RemovalAnswer, RevocationAnswer, RevocationEntry,
    RevocationList, RevocationRequest,
};
pub use client::{Client, ClientError};
pub(super) use handler::{BLOCKING_CALLS, LocalApi};
pub(super) use socket::{LocalSocket, accept};
pub use socket::{SOCKET_NAME, check_directory, check_directory_of_any_user};
