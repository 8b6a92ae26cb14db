//! Notifications to the service manager (sd_notify(3)), at the socket in the environment variable `NOTIFY_SOCKET`.
//!
//! A thread sends them, because a send blocks while the manager's socket is full. The crate `sd-notify` sends from the
//! calling thread and does not support abstract sockets.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};
use std::{env, io, process};

use rustix::time::{ClockId, clock_gettime};

use crate::outbox::Outbox;

/// The service manager, if there is one.
#[derive(Clone)]
pub(crate) struct ServiceManager(Option<Outbox>);

impl ServiceManager {
    /// Returns the manager that started this process.
    pub(crate) fn of_this_process() -> Self {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
            return Self(None);
        };
        let outbox = address_of(&socket).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            let send = move |message: &[u8]| socket.send_to_addr(message, &address).map(drop);
            Outbox::start("notify", send, |messages| {
                tracing::warn!(
                    dropped = messages,
                    "notifications to service manager dropped"
                );
            })
        });
        Self(match outbox {
            Ok(outbox) => Some(outbox),
            Err(error) => {
                tracing::warn!(socket = %socket.display(), %error, "cannot notify service manager");
                None
            }
        })
    }

    /// Reports that the gateway serves.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\n");
    }

    /// Reports that the identities are read again. To be followed by [`reloaded`](Self::reloaded).
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"));
    }

    /// Reports the end of a reload, with its result as a sentence.
    pub(crate) fn reloaded(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// Reports a sentence about the gateway's state.
    pub(crate) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}\n"));
    }

    /// Reports that the gateway is about to stop.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    /// Reports that all workers take turns.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    /// Waits until all notifications have been sent, at most until `deadline`.
    pub(crate) fn flush(&self, deadline: Instant) {
        if let Some(outbox) = &self.0 {
            outbox.flush(deadline);
        }
    }

    fn tell(&self, message: &str) {
        if let Some(outbox) = &self.0 {
            outbox.put(message.as_bytes());
        }
    }
}

/// Parses a path, or the name of an abstract socket after `@` (unix(7)).
fn address_of(socket: &OsString) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(socket),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "neither a path nor the name of an abstract socket",
        )),
    }
}

/// Returns the interval at which the manager expects [`ServiceManager::alive`] (`WatchdogSec=` of the service).
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    // Other processes may inherit the variables (sd_watchdog_enabled(3)).
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(process::id())) {
        return None;
    }
    let interval = number("WATCHDOG_USEC").filter(|microseconds| *microseconds > 0)?;
    Some(Duration::from_micros(interval))
}
