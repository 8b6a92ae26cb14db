//! Forged WireGuard messages (whitepaper, section 5.4). Fields that only a peer can compute have random bytes.

use blake2::digest::{FixedOutput as _, KeyInit as _, Update as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use snaptun::protocol::{
    COOKIE_REPLY_BYTES, DATA_OVERHEAD_BYTES, INITIATION_BYTES, RESPONSE_BYTES,
};
use x25519_dalek::PublicKey;

/// Difference between the counters of consecutive forged data messages, which are thus before, in and after the
/// client's replay window.
const COUNTER_STEP: u64 = 20;

/// Length in bytes of mac1 and of mac2, the last two fields of a handshake message.
const MAC_BYTES: usize = 16;

/// mac1 of a forged handshake message.
#[derive(Clone, Copy, Debug)]
pub enum Mac1<'a> {
    /// Correct; needs the gateway's public key.
    Right(&'a PublicKey),
    /// Random bytes.
    Wrong,
}

/// Messages forged without a client's keys. All are as long as an initiation, so that the kernel merges them with each
/// other and with a client's messages of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Random bytes of no WireGuard message type.
    Garbage,
    /// Initiations with a random mac1.
    WrongMac1,
    /// Initiations with a correct mac1, random otherwise.
    RightMac1,
    /// Data messages for a session of the client, with a random tag.
    Data,
    /// Garbage, initiations with a wrong mac1, and data messages, in rotation.
    Mixed,
}

impl Forgery {
    /// Returns the message with this number; `receiver` is the receiver index of the client's data messages.
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

/// Returns a handshake initiation whose encrypted identity is random.
#[must_use]
pub fn initiation(sender: u32, mac1: Mac1<'_>) -> Vec<u8> {
    let mut message = random_message(1, INITIATION_BYTES);
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    finish_handshake(&mut message, mac1);
    message
}

/// Returns a handshake response with random keys.
#[must_use]
pub fn response(sender: u32, receiver: u32, mac1: Mac1<'_>) -> Vec<u8> {
    let mut message = random_message(2, RESPONSE_BYTES);
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    message[8..12].copy_from_slice(&receiver.to_le_bytes());
    finish_handshake(&mut message, mac1);
    message
}

/// Returns a cookie reply that cannot be decrypted.
#[must_use]
pub fn cookie_reply(receiver: u32) -> Vec<u8> {
    let mut message = random_message(3, COOKIE_REPLY_BYTES);
    message[4..8].copy_from_slice(&receiver.to_le_bytes());
    message
}

/// Returns a data message of `bytes` in total, at least 32, with a random tag.
///
/// # Panics
///
/// If `bytes` is below 32.
#[must_use]
pub fn data(receiver: u32, counter: u64, bytes: usize) -> Vec<u8> {
    assert!(bytes >= DATA_OVERHEAD_BYTES, "{bytes} bytes");
    let mut message = random_message(4, bytes);
    message[4..8].copy_from_slice(&receiver.to_le_bytes());
    message[8..16].copy_from_slice(&counter.to_le_bytes());
    message
}

/// Returns random bytes; the first is not a WireGuard message type.
#[must_use]
pub fn garbage(bytes: usize) -> Vec<u8> {
    let mut message = random(bytes);
    if let Some(first) = message.first_mut() {
        *first |= 0x80;
    }
    message
}

/// Returns the mac1 of a handshake message, computed over all bytes before it (whitepaper, section 5.4.4).
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

/// Writes the correct mac1 into a handshake message.
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
    fn every_forgery_has_the_length_of_an_initiation() {
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
    fn mac1_is_correct_only_for_right_mac1() {
        let gateway = PublicKey::from(&StaticSecret::from([7; 32]));
        for (forgery, right) in [(Forgery::RightMac1, true), (Forgery::WrongMac1, false)] {
            let message = forgery.message(0, 7, &gateway);
            let (until, rest) = message.split_at(INITIATION_BYTES - 32);
            assert_eq!(rest.starts_with(&mac1(&gateway, until)), right);
        }
    }
}
