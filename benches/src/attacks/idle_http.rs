//! Idle connections to the metrics port, and a probe that measures the response time of `/livez`.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use testkit::http_get;

use super::attacker::{Attacker, Tally};

/// Number of open connections.
const CONNECTIONS: usize = 300;

/// Time limit for connecting. It is exceeded if the queue of the listener is full.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(20);

/// Interval between probes.
const PROBE_EVERY: Duration = Duration::from_millis(200);

/// Interval at which closed connections are replaced.
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

/// Returns true unless the gateway has closed the connection.
fn is_open(stream: &mut TcpStream) -> bool {
    let nothing = stream.read(&mut [0; 256]);
    nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
