//! Settings of snapgate for measurements.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use snapload::DEFAULT_ISD_AS;

use super::error::BenchError;
use super::program::{Program, Setting};

/// Interface of the gateway's AS with the router.
pub(super) const INTERFACE: u16 = 1;

pub(super) fn common(
    listen: SocketAddr,
    private_key_file: &Path,
    metrics: SocketAddr,
) -> Vec<Setting> {
    vec![
        Setting::required("listen", &listen),
        Setting::required("private-key-file", &private_key_file.display()),
        Setting::optional("log", &"warn"),
        Setting::required("metrics", &metrics),
    ]
}

/// Admits every identity, without a limit of handshakes.
pub(super) fn any_identity() -> Vec<Setting> {
    [
        vec![Setting::required_switch("allow-any-identity")],
        any_rate_of_handshakes(),
    ]
    .concat()
}

/// Sets no limit of handshakes.
pub(super) fn any_rate_of_handshakes() -> Vec<Setting> {
    vec![
        Setting::optional("handshakes-per-ip-per-second", &1_000_000),
        Setting::optional("handshakes-per-second", &1_000_000),
    ]
}

pub(super) fn workers(workers: usize, cpus: &dyn Display) -> Vec<Setting> {
    vec![
        Setting::required("workers", &workers),
        Setting::required("cpus", cpus),
    ]
}

pub(super) fn echo() -> Vec<Setting> {
    vec![Setting::required("forward", &"echo")]
}

pub(super) fn forward(internal: SocketAddr, router: SocketAddr) -> Vec<Setting> {
    vec![
        Setting::required("forward", &"scion"),
        Setting::required("internal", &internal),
        Setting::required(
            "next-hop",
            &format!("{DEFAULT_ISD_AS}#{INTERFACE}={router}"),
        ),
    ]
}

/// Checks that `program` has all required flags, and returns the optional flags that it does not have.
///
/// Errors: [`BenchError::MissingFlag`].
pub(super) fn check_flags(program: &Program) -> Result<Vec<&'static str>, BenchError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = [
        common(any, Path::new(""), any),
        any_identity(),
        workers(1, &"none"),
        echo(),
        forward(any, any),
    ]
    .concat();
    program.command_line(&settings)?;
    Ok(program.missing(&settings).collect())
}
