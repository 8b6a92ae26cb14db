//! A record of the traffic in a tunnel, and its line in the accounting log.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;
use snaptun::Traffic;

use crate::authorization::{Registration, SessionData};
use crate::keys::PublicKey;

/// Traffic of a tunnel under one registration.
///
/// A tunnel has one record, or several if its session data changed: the records follow each other, and their sum is the
/// traffic of the tunnel. Tunnels that their clients never used have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageRecord {
    /// Static public key of the client.
    pub identity: PublicKey,
    /// Session data of the tunnel.
    pub session_data: SessionData,
    /// Remote address of the tunnel.
    pub remote: SocketAddr,
    /// Creation of the tunnel, or end of its previous record, by the system clock at `end`.
    pub start: Timestamp,
    /// End of the tunnel, or change of its session data.
    pub end: Timestamp,
    /// Packets in the tunnel, without its overhead: incoming ones that were decrypted, whatever became of them, and
    /// outgoing ones that were encrypted, SCMP errors of the gateway included.
    pub traffic: Traffic,
}

/// A line of the accounting log.
#[derive(Serialize)]
struct Line<'a> {
    identity: String,
    pssid: Option<&'a str>,
    token: Option<&'a str>,
    remote: SocketAddr,
    start: String,
    end: String,
    incoming_packets: u64,
    incoming_bytes: u64,
    outgoing_packets: u64,
    outgoing_bytes: u64,
}

impl UsageRecord {
    /// Appends the record to `lines` as a JSON object, with a line break.
    pub(super) fn append_line(&self, lines: &mut Vec<u8>) {
        let registration = self.session_data.registration();
        let Traffic {
            incoming_packets,
            incoming_bytes,
            outgoing_packets,
            outgoing_bytes,
        } = self.traffic;
        let line = Line {
            identity: self.identity.to_string(),
            pssid: registration.map(|Registration { pssid, .. }| &**pssid),
            token: registration.map(|Registration { token_id, .. }| &**token_id),
            remote: self.remote,
            start: format!("{:.3}", self.start),
            end: format!("{:.3}", self.end),
            incoming_packets,
            incoming_bytes,
            outgoing_packets,
            outgoing_bytes,
        };
        // Writing to memory cannot fail, and the type has no map with keys that are not strings.
        let _ = serde_json::to_writer(&mut *lines, &line);
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(session_data: SessionData, remote: &str) -> UsageRecord {
        UsageRecord {
            identity: PublicKey::from_bytes([7; 32]),
            session_data,
            remote: remote.parse().unwrap(),
            start: "2026-11-02T08:00:00.1234Z".parse().unwrap(),
            end: "2026-11-02T09:30:00Z".parse().unwrap(),
            traffic: Traffic {
                incoming_packets: 1,
                incoming_bytes: 1200,
                outgoing_packets: 2,
                outgoing_bytes: u64::MAX,
            },
        }
    }

    fn line(record: &UsageRecord) -> String {
        let mut line = b"before\n".to_vec();
        record.append_line(&mut line);
        let line = String::from_utf8(line).unwrap();
        line.strip_prefix("before\n").unwrap().to_owned()
    }

    #[test]
    fn a_line_is_a_json_object() {
        let registration = Registration {
            pssid: "subscriber".into(),
            token_id: "token".into(),
        };
        assert_eq!(
            line(&record(registration.into(), "192.0.2.1:40000")),
            concat!(
                r#"{"identity":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","pssid":"subscriber","#,
                r#""token":"token","remote":"192.0.2.1:40000","start":"2026-11-02T08:00:00.123Z","#,
                r#""end":"2026-11-02T09:30:00.000Z","incoming_packets":1,"incoming_bytes":1200,"#,
                r#""outgoing_packets":2,"outgoing_bytes":18446744073709551615}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_tunnel_without_a_registration_has_no_subscription() {
        let line = line(&record(SessionData::default(), "[2001:db8::1]:40000"));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(object["pssid"].is_null() && object["token"].is_null());
        assert_eq!(object["remote"], "[2001:db8::1]:40000");
    }

    /// Text of a token comes from outside.
    #[test]
    fn a_record_stays_on_one_line() {
        let registration = Registration {
            pssid: "a\n{\"b\":\u{2028}".into(),
            token_id: "\r\"\\".into(),
        };
        let line = line(&record(registration.into(), "192.0.2.1:40000"));
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["pssid"], "a\n{\"b\":\u{2028}");
        assert_eq!(object["token"], "\r\"\\");
    }
}
