//! A worker's end of the channel of usage records.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use jiff::Timestamp;
use snaptun::Usage;

use super::record::UsageRecord;
use super::status::LogStatus;
use crate::authorization::SessionData;
use crate::gateway_clock::GatewayClock;
use crate::keys::PublicKey;

/// Destination of usage records.
#[derive(Clone, Debug)]
pub(crate) struct UsageSink {
    pub(crate) records: Sender<UsageRecord>,
    /// Counts of the accounting log, if it receives the records.
    pub(crate) log: Option<Arc<LogStatus>>,
}

impl UsageSink {
    /// Returns the feed of a worker on the clock of its shard.
    pub(crate) fn feed(&self, clock: GatewayClock) -> UsageFeed {
        UsageFeed {
            records: self.records.clone(),
            clock,
        }
    }
}

/// Sends the records of one worker.
pub(crate) struct UsageFeed {
    records: Sender<UsageRecord>,
    clock: GatewayClock,
}

impl UsageFeed {
    /// Sends a record. Returns false if it is lost, because the channel is full or has no receiver. Never waits.
    pub(crate) fn put(&self, usage: Usage<SessionData>) -> bool {
        self.records.try_send(self.record(usage)).is_ok()
    }

    /// Sends the last records, and waits for room until `deadline`. Returns the numbers of records that were sent and
    /// lost.
    pub(crate) fn put_last(
        &self,
        usage: impl Iterator<Item = Usage<SessionData>>,
        deadline: Instant,
    ) -> (u64, u64) {
        let (mut sent, mut lost) = (0, 0);
        for usage in usage {
            let record = self.record(usage);
            match self.records.send_deadline(record, deadline) {
                Ok(()) => sent += 1,
                Err(_) => lost += 1,
            }
        }
        (sent, lost)
    }

    /// Returns the record of a tunnel whose usage ends now.
    fn record(&self, usage: Usage<SessionData>) -> UsageRecord {
        let end = Timestamp::now();
        let lasted = self.clock.now().saturating_duration_since(usage.since);
        UsageRecord {
            identity: PublicKey::from_bytes(usage.identity),
            session_data: usage.session_data,
            remote: usage.remote,
            // Fails for a start before the year -9999.
            start: end.checked_sub(lasted).unwrap_or(end),
            end,
            traffic: usage.traffic,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::Receiver;
    use snaptun::Traffic;

    use super::*;
    use crate::gateway_clock::Leaps;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn usage(clock: &GatewayClock) -> Usage<SessionData> {
        Usage {
            remote: "192.0.2.1:40000".parse().unwrap(),
            identity: [7; 32],
            session_data: SessionData::default(),
            since: clock.now(),
            traffic: Traffic::default(),
        }
    }

    fn feed(capacity: usize) -> (UsageFeed, Receiver<UsageRecord>, Leaps) {
        let (records, receiver) = crossbeam_channel::bounded(capacity);
        let leaps = Leaps::default();
        let sink = UsageSink { records, log: None };
        (sink.feed(leaps.clock()), receiver, leaps)
    }

    /// The clock of tunnels counts the time in which the host was suspended, as the system clock does.
    #[test]
    fn a_record_begins_when_its_tunnel_did() {
        let (feed, records, leaps) = feed(1);
        let usage = usage(&feed.clock);
        leaps.leap(5000);
        assert!(feed.put(usage));
        let record = records.recv().unwrap();
        let lasted = record.end.duration_since(record.start).as_secs();
        // The test may take a minute.
        assert!((5000..5060).contains(&lasted), "{lasted}");
    }

    #[test]
    fn a_record_without_room_is_lost() {
        let (feed, records, _) = feed(2);
        let usage = usage(&feed.clock);
        let put: Vec<_> = (0..4).map(|_| feed.put(usage.clone())).collect();
        assert_eq!(put, [true, true, false, false]);
        assert_eq!(records.try_iter().count(), 2);
    }

    #[test]
    fn the_last_records_wait_for_room() {
        const RECORDS: usize = 1000;
        let (feed, records, _) = feed(1);
        let usage = usage(&feed.clock);
        let receiver = std::thread::spawn(move || records.iter().count());
        let all = std::iter::repeat_n(usage, RECORDS);
        let deadline = Instant::now() + PATIENCE;
        assert_eq!(feed.put_last(all, deadline), (RECORDS as u64, 0));
        drop(feed);
        assert_eq!(receiver.join().unwrap(), RECORDS);
    }

    #[test]
    fn records_are_lost_without_a_receiver_that_reads() {
        let (feed, records, _) = feed(1);
        let usage = usage(&feed.clock);
        let put_all = || feed.put_last(std::iter::repeat_n(usage.clone(), 3), Instant::now());
        assert_eq!(put_all(), (1, 2));
        drop(records);
        assert_eq!(put_all(), (0, 3));
        assert!(!feed.put(usage.clone()));
    }
}
