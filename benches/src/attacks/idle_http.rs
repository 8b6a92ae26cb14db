//! Idle connections to the metrics port, and a probe that measures how long `/livez` takes meanwhile.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use testkit::http_get;

use super::attacker::{Attacker, Tally};

/// Connections that are open at a time.
const CONNECTIONS: usize = 300;

/// How long one may take to be opened: the queue of the listener is full when it takes longer.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(20);

/// The time between probes.
const PROBE_EVERY: Duration = Duration::from_millis(200);

/// The time between looks at the connections: those that the gateway closed are opened again.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct IdleHttp {
    metrics: SocketAddr,
    connections: Vec<TcpStream>,
    probe_at: Instant,
}

impl IdleHttp {
    pub(crate) fn new(metrics: SocketAddr) -> Self {
        Self {
            metrics,
            connections: Vec::new(),
            probe_at: Instant::now(),
        }
    }
}

impl Attacker for IdleHttp {
    fn send_batch(&mut self, tally: &mut Tally) -> io::Result<()> {
        self.connections.retain_mut(is_open);
        while self.connections.len() < CONNECTIONS {
            let Ok(stream) = TcpStream::connect_timeout(&self.metrics, CONNECT_TIMEOUT) else {
                break;
            };
            stream.set_nonblocking(true)?;
            self.connections.push(stream);
            tally.sent += 1;
        }
        if Instant::now() >= self.probe_at {
            let asked = Instant::now();
            let answered = http_get(self.metrics, "/livez").is_some();
            let seconds = if answered {
                asked.elapsed().as_secs_f64()
            } else {
                f64::INFINITY
            };
            tally.probes += 1;
            tally.probes_answered += u64::from(answered);
            let slowest = tally.slowest_probe_seconds.unwrap_or_default();
            tally.slowest_probe_seconds = Some(slowest.max(seconds));
            self.probe_at = Instant::now() + PROBE_EVERY;
        }
        thread::sleep(PAUSE);
        Ok(())
    }
}

/// Whether the gateway has not closed it.
fn is_open(stream: &mut TcpStream) -> bool {
    let nothing = stream.read(&mut [0; 256]);
    nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
