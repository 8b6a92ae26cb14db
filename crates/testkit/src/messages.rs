//! Datagrams that look like WireGuard messages (whitepaper, section 5.4). Random bytes stand where
//! only a peer could write the right ones.

use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use snaptun::protocol::{
    COOKIE_REPLY_BYTES, DATA_OVERHEAD_BYTES, INITIATION_BYTES, RESPONSE_BYTES,
};
use x25519_dalek::PublicKey;

/// How far the counters of forged data messages are apart: behind, within and beyond the window of the client's.
const COUNTER_STEP: u64 = 20;

/// Bytes of each of the two fields at the end of a handshake message, mac1 and mac2.
const MAC_BYTES: usize = 16;

/// Whether a message's mac1 is right. Only that needs the gateway's public key.
#[derive(Clone, Copy, Debug)]
pub enum Mac1<'a> {
    /// Computed with the gateway's public key.
    Right(&'a PublicKey),
    /// Random.
    Wrong,
}

/// Messages that somebody without a client's keys makes up. All are as long as an initiation, so that the kernel
/// merges them with each other and with a client's messages of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// No WireGuard message.
    Garbage,
    /// Initiations by somebody who does not know the gateway's public key.
    WrongMac1,
    /// Initiations by somebody who does.
    RightMac1,
    /// Data messages for a session of the client, with a random tag.
    Data,
    /// Garbage, initiations with a wrong mac1, and data messages in turn.
    Mixed,
}

impl Forgery {
    /// The message with this number; `receiver` is the receiver index of the client's data messages.
    #[must_use]
    pub fn message(self, number: usize, receiver: u32, gateway: &PublicKey) -> Vec<u8> {
        match self {
            Self::Garbage => garbage(INITIATION_BYTES),
            Self::WrongMac1 => initiation(number as u32, Mac1::Wrong),
            Self::RightMac1 => initiation(number as u32, Mac1::Right(gateway)),
            Self::Data => data(receiver, number as u64 * COUNTER_STEP, INITIATION_BYTES),
            Self::Mixed => {
                let turn = [Self::Garbage, Self::WrongMac1, Self::Data];
                turn[number % turn.len()].message(number, receiver, gateway)
            }
        }
    }
}

/// A handshake initiation by nobody: its identity cannot be decrypted.
#[must_use]
pub fn initiation(sender: u32, mac1: Mac1<'_>) -> Vec<u8> {
    let mut message = random_message(1, INITIATION_BYTES);
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    finish_handshake(&mut message, mac1);
    message
}

/// A handshake response to nobody.
#[must_use]
pub fn response(sender: u32, receiver: u32, mac1: Mac1<'_>) -> Vec<u8> {
    let mut message = random_message(2, RESPONSE_BYTES);
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    message[8..12].copy_from_slice(&receiver.to_le_bytes());
    finish_handshake(&mut message, mac1);
    message
}

/// A cookie reply that nobody can decrypt.
#[must_use]
pub fn cookie_reply(receiver: u32) -> Vec<u8> {
    let mut message = random_message(3, COOKIE_REPLY_BYTES);
    message[4..8].copy_from_slice(&receiver.to_le_bytes());
    message
}

/// A data message of `bytes` in all, at least 32, with a random tag.
///
/// # Panics
///
/// When it is shorter.
#[must_use]
pub fn data(receiver: u32, counter: u64, bytes: usize) -> Vec<u8> {
    assert!(bytes >= DATA_OVERHEAD_BYTES, "{bytes} bytes");
    let mut message = random_message(4, bytes);
    message[4..8].copy_from_slice(&receiver.to_le_bytes());
    message[8..16].copy_from_slice(&counter.to_le_bytes());
    message
}

/// Random bytes that are no WireGuard message: the first is none of its types.
#[must_use]
pub fn garbage(bytes: usize) -> Vec<u8> {
    let mut message = random(bytes);
    if let Some(first) = message.first_mut() {
        *first |= 0x80;
    }
    message
}

/// mac1 of a handshake message (whitepaper, section 5.4.4): over all before it.
#[must_use]
pub fn mac1(gateway: &PublicKey, message_until_mac1: &[u8]) -> [u8; MAC_BYTES] {
    let key = Blake2s256::new()
        .chain(b"mac1----")
        .chain(gateway.as_bytes())
        .finalize();
    Blake2sMac::<blake2::digest::consts::U16>::new_from_slice(&key)
        .expect("a key of 32 bytes")
        .chain(message_until_mac1)
        .finalize_fixed()
        .into()
}

/// Writes the right mac1 into a handshake message.
pub fn write_mac1(message: &mut [u8], gateway: &PublicKey) {
    let mac2_at = message.len() - MAC_BYTES;
    let mac1_at = mac2_at - MAC_BYTES;
    let mac = mac1(gateway, &message[..mac1_at]);
    message[mac1_at..mac2_at].copy_from_slice(&mac);
}

fn finish_handshake(message: &mut [u8], right: Mac1<'_>) {
    if let Mac1::Right(gateway) = right {
        write_mac1(message, gateway);
    }
    // No cookie.
    let mac2_at = message.len() - MAC_BYTES;
    message[mac2_at..].fill(0);
}

fn random_message(message_type: u8, bytes: usize) -> Vec<u8> {
    let mut message = random(bytes);
    message[..4].copy_from_slice(&[message_type, 0, 0, 0]);
    message
}

fn random(bytes: usize) -> Vec<u8> {
    let mut message = vec![0; bytes];
    getrandom::fill(&mut message).expect("random numbers");
    message
}

#[cfg(test)]
mod tests {
    use x25519_dalek::StaticSecret;

    use super::*;

    #[test]
    fn all_forgeries_are_as_long_as_an_initiation() {
        let gateway = PublicKey::from(&StaticSecret::from([7; 32]));
        for forgery in [
            Forgery::Garbage,
            Forgery::WrongMac1,
            Forgery::RightMac1,
            Forgery::Data,
            Forgery::Mixed,
        ] {
            for number in 0..3 {
                let message = forgery.message(number, 7, &gateway);
                assert_eq!(message.len(), INITIATION_BYTES, "{forgery:?}");
            }
        }
    }

    #[test]
    fn only_a_right_mac1_is_right() {
        let gateway = PublicKey::from(&StaticSecret::from([7; 32]));
        for (forgery, right) in [(Forgery::RightMac1, true), (Forgery::WrongMac1, false)] {
            let message = forgery.message(0, 7, &gateway);
            let (until, rest) = message.split_at(INITIATION_BYTES - 32);
            assert_eq!(rest.starts_with(&mac1(&gateway, until)), right);
        }
    }
}
