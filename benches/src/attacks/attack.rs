//! List of attacks.

use std::io;
use std::time::Duration;

use clap::ValueEnum;

use super::rekeys::RekeyPlan;
use crate::harness::entry::Entry;
use crate::harness::error::BenchError;

/// An attack. Attacks without a rate in their description send as fast as one core can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Attack {
    /// random bytes from 10,000 addresses, 200,000/s
    Garbage,
    /// trains of 64 messages of one byte
    TinyTrains,
    /// random bytes with the client's address, merged with its packets (GRO), 20,000/s
    TrainGarbage,
    /// initiations with a wrong mac1 and the client's address, merged with its packets, 20,000/s
    TrainMac1,
    /// forged data messages with the client's address, merged with its packets, 20,000/s
    TrainData,
    /// random bytes, wrong mac1 and forged data in rotation, merged with the client's packets, 20,000/s
    TrainMixed,
    /// valid initiations of unauthorized identities, from 10,000 addresses
    Strangers,
    /// forged initiations with a correct mac1, from one address
    OneAddress,
    /// forged initiations with a correct mac1 and the addresses of clients, 100/s each
    #[value(name = "mac1-100")]
    Mac1At100,
    /// forged initiations with a correct mac1 and the address of one client, 20,000/s
    #[value(name = "mac1-20k")]
    Mac1At20k,
    /// initiations that exhaust all budgets, with and without cookies, and 100/s with the address of each client
    Exhausted,
    /// one captured initiation of an authorized identity, from 10,000 addresses
    Replay,
    /// initiations of an authorized identity with a clock 80 years ahead, from 10,000 addresses
    Future,
    /// one authorized identity opens tunnels from 10,000 socket addresses, with cookies
    ManyTunnels,
    /// data messages with forged counters and tags, with the addresses and sessions of all clients
    ForgedData,
    /// 4 authorized identities open tunnels without using them, and send packets to these tunnels
    HalfOpen,
    /// 300 idle TCP connections to the metrics port
    IdleHttp,
}

/// Rate of messages per forged source address, per second.
pub(crate) const SPOOFED_PER_SECOND: u64 = 20_000;
pub(crate) const SPOOFED_SLOWLY_PER_SECOND: u64 = 100;

/// Rate of random datagrams, per second.
pub(crate) const GARBAGE_PER_SECOND: u64 = 200_000;

/// Age of a session at which a client of WireGuard begins the next (REKEY_AFTER_TIME).
const REKEY_AFTER: Duration = Duration::from_secs(120);

/// Time after which a client of WireGuard repeats an initiation (REKEY_TIMEOUT).
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Number of initiations of a client from the age of 120 s of its session to its expiry after 180 s
/// (REJECT_AFTER_TIME).
const TRIES_UNTIL_EXPIRY: u32 = 11;

impl Entry for Attack {}

impl Attack {
    /// Returns the error "attack failed: cannot `step`".
    pub(crate) fn failed(self, step: &'static str) -> impl Fn(io::Error) -> BenchError {
        move |source| BenchError::Attack {
            attack: self.name(),
            step,
            source,
        }
    }

    /// Returns true if the attack runs in network namespaces.
    pub(crate) fn is_in_namespaces(self) -> bool {
        matches!(
            self,
            Self::TrainGarbage | Self::TrainMac1 | Self::TrainData | Self::TrainMixed
        )
    }

    /// Returns true if the attack needs raw sockets or network namespaces.
    pub(crate) fn needs_root(self) -> bool {
        self.is_in_namespaces()
            || matches!(
                self,
                Self::Mac1At100 | Self::Mac1At20k | Self::Exhausted | Self::ForgedData
            )
    }

    /// Returns the schedule on which clients renew their sessions; with `quick`, as early as possible.
    pub(crate) fn rekey_plan(attack: Option<Self>, quick: bool) -> RekeyPlan {
        let clients_of_wireguard = RekeyPlan {
            clients: 8,
            begin_after: Duration::ZERO,
            between: TRY_AGAIN_AFTER,
            try_again_after: TRY_AGAIN_AFTER,
            // Fewer than the 11 until the session expires.
            tries_max: 3,
        };
        match attack {
            Some(Self::Mac1At20k) => RekeyPlan {
                clients: 1,
                begin_after: if quick { Duration::ZERO } else { REKEY_AFTER },
                // Only one renewal.
                between: Duration::from_secs(3600),
                tries_max: TRIES_UNTIL_EXPIRY,
                ..clients_of_wireguard
            },
            // As many initiations as possible: the bound is on unanswered ones.
            Some(attack) if attack.is_in_namespaces() => RekeyPlan {
                clients: 1,
                between: Duration::from_millis(200),
                try_again_after: Duration::from_secs(1),
                ..clients_of_wireguard
            },
            _ => clients_of_wireguard,
        }
    }

    /// Returns the duration of the attack, at least `duration`.
    pub(crate) fn duration(self, duration: Duration, quick: bool) -> Duration {
        match self {
            // The gateway initiates the handshake when the session is 125 s old.
            Self::Mac1At20k if !quick => duration.max(REKEY_AFTER + Duration::from_secs(10)),
            _ => duration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_and_a_description() {
        assert_eq!(Attack::all().count(), 17);
        assert_eq!(Attack::TrainMac1.name(), "train-mac1");
        assert_eq!(
            Attack::TinyTrains.about(),
            "trains of 64 messages of one byte"
        );
        assert!(Attack::all().all(|attack| !attack.about().is_empty()));
    }

    #[test]
    fn a_client_gives_up_before_its_session_ends() {
        for attack in Attack::all() {
            let plan = Attack::rekey_plan(Some(attack), false);
            let tries = plan.try_again_after * plan.tries_max;
            assert!(plan.begin_after + tries < Duration::from_secs(180));
        }
    }
}
