//! HTTP/1.1 and HTTP/2 on one connection, with limits of time and number.

use std::convert::Infallible;
use std::error::Error as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::{Activity, Progress};
use super::metrics::ConnectionEnd;
use super::settings::Limits;

/// Size of the buffer of an HTTP/1.1 connection and of the headers of an HTTP/2 request, in bytes. Larger headers are
/// refused. Tokens are usually shorter than 2 KiB.
const HEADER_BYTES: usize = 16 << 10;

/// Bytes that an HTTP/2 client may send on a stream, and on all of a connection, before the server has read them.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// Number of HTTP/2 requests that a client may cancel before they are accepted, and that may fail by an error of the
/// client, before the connection is closed.
const RESET_STREAMS: usize = 20;

/// Minimum of [`Limits::closing_time`], so that a connection with requests is not looked at without a pause.
const CLOSING_TIME_MIN: Duration = Duration::from_millis(10);

/// What answers the requests of a connection.
pub(super) trait Handler: Clone + Send + 'static {
    /// Answers a request. It notes in `progress` that the whole request has arrived.
    fn handle(
        self,
        request: Request<Incoming>,
        progress: &mut Progress,
    ) -> impl Future<Output = Response<Bytes>> + Send;
}

/// The end of a connection that was asked to end.
struct Closing {
    /// When it ends, unless a request waits for its answer then.
    last: Instant,
    /// When it ends at the latest. A client can delay an end over HTTP/2: it may send requests until it has confirmed
    /// that it got the notice.
    limit: Instant,
    /// Why it was asked to end, unless the server ends. Counted if the client confirms the end.
    reason: Option<ConnectionEnd>,
}

impl Closing {
    fn new(reason: Option<ConnectionEnd>, limits: &Limits) -> Self {
        let last = Instant::now() + closing_time(limits);
        Self {
            last,
            limit: last + limits.request_time,
            reason,
        }
    }

    /// Gives the last answers time to be sent. Returns false if no time is left.
    fn extend(&mut self, limits: &Limits) -> bool {
        let now = Instant::now();
        self.last = (now + closing_time(limits)).min(self.limit);
        now < self.limit
    }
}

fn closing_time(limits: &Limits) -> Duration {
    limits.closing_time.max(CLOSING_TIME_MIN)
}

/// Serves a connection until it ends. Returns the reason, unless the client ended it.
pub(super) async fn serve<S>(
    stream: S,
    handler: impl Handler,
    activity: Arc<Activity>,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) -> Option<ConnectionEnd>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let requests = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut progress = requests.begin_request();
        let handler = handler.clone();
        async move {
            let answer = handler.handle(request, &mut progress).await;
            let answer = answer.map(|body| Full::new(progress.answered(body, &limits)));
            Ok::<_, Infallible>(answer)
        }
    });
    let builder = builder(&limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut closing = None::<Closing>;
    loop {
        let wake = match &closing {
            Some(closing) => closing.last,
            None => activity.next_check(&limits),
        };
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                let reason = closing.and_then(|closing| closing.reason);
                return reason.or_else(|| result.err().and_then(|error| reason_of(&*error)));
            }
            () = tokio::time::sleep_until(wake.into()) => {
                if let Some(closing) = &mut closing {
                    // Requests have their own limits of time.
                    if activity.is_busy() && closing.extend(&limits) {
                        continue;
                    }
                    return closing.reason.map(|_| ConnectionEnd::Unresponsive);
                }
                match activity.overdue(&limits, Instant::now()) {
                    None => {}
                    Some(end @ (ConnectionEnd::HeaderTime | ConnectionEnd::Unresponsive)) => {
                        return Some(end);
                    }
                    reason => {
                        connection.as_mut().graceful_shutdown();
                        closing = Some(Closing::new(reason, &limits));
                    }
                }
            }
            // The time to wake is computed again.
            () = activity.changed() => {
                if let Some(closing) = &mut closing && !activity.is_busy() {
                    closing.extend(&limits);
                }
            }
            // An error means that the server has ended.
            _ = stop.changed(), if closing.is_none() => {
                connection.as_mut().graceful_shutdown();
                closing = Some(Closing::new(None, &limits));
            }
        }
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        // `Activity` has the limits of time: that of hyper would also end idle connections.
        .header_read_timeout(None::<Duration>)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .max_concurrent_streams(limits.streams.max(1))
        .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(RESET_STREAMS)
        .max_send_buf_size(HEADER_BYTES);
    builder
}

/// Returns the reason for the error of a connection, unless the client closed it.
fn reason_of(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<ConnectionEnd> {
    let cause = match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => return Some(ConnectionEnd::Malformed),
        Some(error) if error.is_incomplete_message() => return None,
        Some(error) => error
            .source()
            .and_then(<dyn std::error::Error>::downcast_ref),
        // From reading the first bytes.
        None => error.downcast_ref(),
    };
    let is_closed = cause.is_some_and(|cause: &std::io::Error| {
        matches!(
            cause.kind(),
            std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::NotConnected
                | std::io::ErrorKind::UnexpectedEof
        )
    });
    (!is_closed).then_some(ConnectionEnd::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_with_requests_is_checked_at_intervals_until_its_limit() {
        let limits = Limits {
            closing_time: Duration::ZERO,
            ..Limits::default()
        };
        let begin = Instant::now();
        let mut closing = Closing::new(None, &limits);
        assert!(closing.last >= begin + CLOSING_TIME_MIN);
        assert_eq!(closing.limit, closing.last + limits.request_time);
        let before = Instant::now();
        assert!(closing.extend(&limits));
        assert!(closing.last >= before + CLOSING_TIME_MIN);

        closing.limit = before;
        assert!(!closing.extend(&limits));
        assert_eq!(closing.last, before);
    }
}
