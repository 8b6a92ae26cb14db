//! The attacks.

use clap::ValueEnum;

/// An attack, each as fast as one core sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Attack {
    Garbage,
    Strangers,
    Replay,
    #[value(name = "many-tunnels")]
    ManyTunnels,
    #[value(name = "forged-data")]
    ForgedData,
}

impl Attack {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [
        Self::Garbage,
        Self::Strangers,
        Self::Replay,
        Self::ManyTunnels,
        Self::ForgedData,
    ];

    /// What `--only` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Strangers => "strangers",
            Self::Replay => "replay",
            Self::ManyTunnels => "many-tunnels",
            Self::ForgedData => "forged-data",
        }
    }

    /// What is sent.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Garbage => "random bytes from 10,000 addresses",
            Self::Strangers => {
                "initiations by unauthorized identities, right in all else, from 10,000 addresses"
            }
            Self::Replay => {
                "one captured initiation of an authorized identity, from 10,000 addresses"
            }
            Self::ManyTunnels => {
                "one authorized identity opens tunnels from 10,000 socket addresses, with cookies"
            }
            Self::ForgedData => {
                "data messages with forged counters and tags, from the tunnels' own addresses to their \
                 live sessions"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_attacks_as_only_takes_them() {
        for attack in Attack::ALL {
            assert_eq!(Attack::from_str(attack.name(), false), Ok(attack));
        }
        assert_eq!(Attack::value_variants(), Attack::ALL);
    }
}
