//! The thread that writes usage records to the accounting log.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::feed::UsageSink;
use super::file::AccountingFile;
use super::record::UsageRecord;
use super::status::LogStatus;
use crate::repeated_warning::RepeatedWarning;

/// Maximum number of records that wait for the thread, in 5 MB. It writes about a million in a second.
const RECORDS_MAX: usize = 32_768;

/// Maximum number of lines in one write, about 1 MB.
const LINES_PER_WRITE: usize = 4096;

/// Interval between attempts to write.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time for the last writes, after the gateway has stopped.
const LAST_WRITE_TIME: Duration = Duration::from_secs(1);

/// The running thread. It ends when the gateway has stopped and all records are written.
pub(crate) struct AccountingLog {
    stop: Option<Sender<Infallible>>,
    /// Closed after the last write.
    ended: Receiver<Infallible>,
}

impl AccountingLog {
    /// Creates the file, or checks that it can be written, and starts to write what is sent to the sink.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or the thread cannot be started.
    pub(crate) fn start(path: &Path) -> io::Result<(Self, UsageSink)> {
        let mut file = AccountingFile::open(path);
        file.append(b"")?;
        Self::start_with(path, move |lines| file.append(lines))
    }

    fn start_with(
        path: &Path,
        write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<(Self, UsageSink)> {
        let (records, waiting) = crossbeam_channel::bounded(RECORDS_MAX);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (end, ended) = crossbeam_channel::bounded(0);
        let status = Arc::new(LogStatus::default());
        let writer = Writer {
            path: path.to_owned(),
            write,
            records: waiting,
            stopped,
            status: Arc::clone(&status),
            warning: RepeatedWarning::default(),
            lost: 0,
        };
        thread::Builder::new()
            .name("accounting".to_owned())
            .spawn(move || {
                let _dropped_at_the_end: Sender<Infallible> = end;
                writer.run();
            })?;
        let log = Self {
            stop: Some(stop),
            ended,
        };
        let sink = UsageSink {
            records,
            log: Some(status),
        };
        Ok((log, sink))
    }

    /// Waits until all records are written, after the gateway and every copy of the sink were dropped; at most
    /// [`LAST_WRITE_TIME`].
    pub(crate) fn finish(mut self) {
        // The channel closes, after which a failed write is not tried again.
        drop(self.stop.take());
        if self.ended.recv_timeout(LAST_WRITE_TIME) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("accounting log not responding, latest records not written");
        }
    }
}

/// State of the thread.
struct Writer<W> {
    path: PathBuf,
    write: W,
    records: Receiver<UsageRecord>,
    stopped: Receiver<Infallible>,
    status: Arc<LogStatus>,
    warning: RepeatedWarning,
    /// Number of records that could not be written at the end.
    lost: u64,
}

impl<W: FnMut(&[u8]) -> io::Result<()>> Writer<W> {
    /// Writes until there are no more senders.
    fn run(mut self) {
        let mut lines = Vec::new();
        while let Ok(record) = self.records.recv() {
            lines.clear();
            record.append_line(&mut lines);
            let mut count = 1;
            for record in self.records.try_iter().take(LINES_PER_WRITE - 1) {
                record.append_line(&mut lines);
                count += 1;
            }
            self.write(&lines, count);
        }
        if self.lost > 0 {
            tracing::error!(records = self.lost, "accounting records lost");
        }
    }

    /// Writes lines, and tries again until that succeeds or the gateway has stopped. Meanwhile, records wait in the
    /// channel.
    fn write(&mut self, lines: &[u8], count: u64) {
        loop {
            let is_last = self.stopped.try_recv() == Err(TryRecvError::Disconnected);
            match (self.write)(lines) {
                Ok(()) => {
                    self.status.wrote(count);
                    if self.warning.end() {
                        tracing::info!(file = %self.path.display(), "accounting log writable again");
                    }
                    return;
                }
                Err(error) => self.warn(&error),
            }
            if is_last {
                self.lost += count;
                return;
            }
            // Returns at once when the gateway has stopped.
            let _stopped = self.stopped.recv_timeout(RETRY_INTERVAL);
        }
    }

    fn warn(&mut self, error: &io::Error) {
        self.status.failed();
        if self.warning.is_due(Instant::now()) {
            tracing::warn!(
                file = %self.path.display(),
                %error,
                hint = "packets are forwarded, and records wait; snapgate_usage_records_total counts lost ones",
                "cannot write accounting log"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use snaptun::Traffic;

    use super::*;
    use crate::authorization::SessionData;
    use crate::keys::PublicKey;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn record(incoming_packets: u64) -> UsageRecord {
        UsageRecord {
            identity: PublicKey::from_bytes([7; 32]),
            session_data: SessionData::default(),
            remote: "192.0.2.1:40000".parse().unwrap(),
            start: Timestamp::UNIX_EPOCH,
            end: Timestamp::UNIX_EPOCH,
            traffic: Traffic {
                incoming_packets,
                ..Traffic::default()
            },
        }
    }

    /// An answer of the file: `Ok`, or an error; and the lines that it was asked to write.
    struct File {
        answers: Sender<io::Result<()>>,
        asked: Receiver<Vec<u8>>,
    }

    fn start() -> (AccountingLog, UsageSink, File) {
        let (answers, answer) = crossbeam_channel::bounded(16);
        let (ask, asked) = crossbeam_channel::bounded(16);
        let write = move |lines: &[u8]| {
            ask.send(lines.to_vec()).unwrap();
            // It hangs until the test answers, or has dropped its end.
            answer.recv().unwrap_or(Ok(()))
        };
        let (log, sink) = AccountingLog::start_with(Path::new("file"), write).unwrap();
        (log, sink, File { answers, asked })
    }

    impl File {
        /// Returns the packets of the records in the next write.
        fn next(&self) -> Vec<u64> {
            let lines = self.asked.recv_timeout(PATIENCE).unwrap();
            let lines = String::from_utf8(lines).unwrap();
            let packets = |line: &str| {
                let object: serde_json::Value = serde_json::from_str(line).unwrap();
                object["incoming_packets"].as_u64().unwrap()
            };
            lines.lines().map(packets).collect()
        }

        fn answer(&self, answer: io::Result<()>) {
            self.answers.send(answer).unwrap();
        }
    }

    fn send(sink: &UsageSink, packets: u64) {
        sink.records.send(record(packets)).unwrap();
    }

    /// Ends the log as [`AccountingLog::finish`] does, but waits longer.
    fn end(log: AccountingLog) {
        let AccountingLog { stop, ended } = log;
        drop(stop);
        let end = ended.recv_timeout(PATIENCE);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn records_that_arrive_during_a_write_are_written_together() {
        let (log, sink, file) = start();
        send(&sink, 1);
        assert_eq!(file.next(), [1]);
        (2..5).for_each(|n| send(&sink, n));
        let status = sink.log.clone().unwrap();
        assert_eq!(status.lines(), 0);
        file.answer(Ok(()));
        assert_eq!(file.next(), [2, 3, 4]);
        file.answer(Ok(()));
        drop(sink);
        end(log);
        assert_eq!((status.lines(), status.failures()), (4, 0));
    }

    #[test]
    fn a_failed_write_is_tried_again() {
        let (log, sink, file) = start();
        let status = sink.log.clone().unwrap();
        send(&sink, 1);
        assert_eq!(file.next(), [1]);
        file.answer(Err(io::ErrorKind::StorageFull.into()));
        send(&sink, 2);
        assert_eq!(file.next(), [1]);
        file.answer(Ok(()));
        assert_eq!(file.next(), [2]);
        file.answer(Ok(()));
        drop(sink);
        end(log);
        assert_eq!((status.lines(), status.failures()), (2, 1));
    }

    #[test]
    fn at_the_end_each_write_is_tried_once() {
        let (mut log, sink, file) = start();
        let status = sink.log.clone().unwrap();
        send(&sink, 1);
        assert_eq!(file.next(), [1]);
        send(&sink, 2);
        drop(sink);
        drop(log.stop.take());
        // The first attempt began before the end.
        (0..3).for_each(|_| file.answer(Err(io::ErrorKind::StorageFull.into())));
        end(log);
        assert_eq!(file.next(), [1]);
        assert_eq!(file.next(), [2]);
        assert!(file.asked.try_recv().is_err());
        assert_eq!((status.lines(), status.failures()), (0, 3));
    }

    #[test]
    fn the_end_does_not_wait_for_a_file_that_hangs() {
        let (log, sink, file) = start();
        send(&sink, 1);
        assert_eq!(file.next(), [1]);
        drop(sink);
        log.finish();
        drop(file);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/accounting");
        let error = AccountingLog::start(&missing).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let (log, sink) = AccountingLog::start(&directory.path().join("accounting")).unwrap();
        send(&sink, 1);
        drop(sink);
        end(log);
        let text = std::fs::read_to_string(directory.path().join("accounting")).unwrap();
        assert_eq!(text.lines().count(), 1);
    }
}
