//! Programs for the sockets that receive from tunnels.

use super::Program;
use super::builder::{Alu, At, Builder, Label, Operand, Scratch, Size, When};
use super::hash::{Address, FREE_SCRATCH, emit_worker};
use crate::DispatchKey;

/// The source port of the datagram.
const PORT: Scratch = Scratch::new(FREE_SCRATCH);
/// The index of worker 0's socket among those of one kind.
const FIRST_INDEX: Scratch = Scratch::new(FREE_SCRATCH + 1);
/// The number of the next IPv6 header.
const NEXT: Scratch = Scratch::new(FREE_SCRATCH + 2);
/// Offset of that header from the start of the IPv6 header.
const OFFSET: Scratch = Scratch::new(FREE_SCRATCH + 3);

/// Type of a data message. SNAPtun messages begin with the type in the first byte and three zero
/// bytes (WireGuard whitepaper, section 5.4).
const DATA_TYPE: u32 = 4;
/// Length of an empty data message: header and authentication tag.
const DATA_BYTES_MIN: u32 = 16 + 16;
/// Type and length of the handshake messages. A response is 20 bytes longer than WireGuard's: it
/// carries the address that the responder saw.
const HANDSHAKE_TYPES: [(u32, u32); 3] = [(1, 148), (2, 92 + 20), (3, 64)];

/// Shortest train that can hold a message after its first datagram: all datagrams but the last have the size of the
/// first, so in a shorter train the second is shorter than [`DATA_BYTES_MIN`].
const TWO_MESSAGES_MIN: u32 = 2 * DATA_BYTES_MIN;

const _: () = {
    assert!(
        DATA_BYTES_MIN >= 4,
        "the length check covers the type's word"
    );
    let mut index = 0;
    while index < HANDSHAKE_TYPES.len() {
        assert!(HANDSHAKE_TYPES[index].1 >= TWO_MESSAGES_MIN);
        index += 1;
    }
};

const UDP_HEADER_BYTES: u32 = 8;
const IPV4_SOURCE: u32 = 12;
const IPV6_NEXT_HEADER: u32 = 6;
const IPV6_SOURCE: u32 = 8;
const IPV6_HEADER_BYTES: u32 = 40;

/// Protocol numbers (RFC 8200, section 4).
const NEXT_HEADER_UDP: u32 = 17;
const HOP_BY_HOP_OPTIONS: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const DESTINATION_OPTIONS: u32 = 60;

/// Maximum number of extension headers that the program walks over: those that RFC 8200, section 4.1,
/// expects before UDP (hop-by-hop options, destination options, routing, fragment, destination options).
const IPV6_EXTENSIONS_MAX: usize = 5;

/// Address family of a group; its IPv6 sockets accept no IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Builds the dispatch program of a group of 3 * `workers` + 1 sockets.
///
/// `owner` is the worker that owns the source address. The program sees a train as one packet, so
/// it judges by the train's length and its first datagram, and drops only trains that cannot hold a
/// message:
///
/// | train or single datagram | socket |
/// | --- | --- |
/// | begins with a data message | `owner` |
/// | is one handshake message | `workers` + `owner` |
/// | begins with no message, and is too short for one in a second datagram | 3 * `workers` |
/// | anything else | 2 * `workers` + `owner` |
///
/// IPv6 packets with more than [`IPV6_EXTENSIONS_MAX`] extension headers before UDP, or with a header
/// unknown to RFC 8200, go to the last socket too.
pub(crate) fn dispatch_program(key: &DispatchKey, workers: u32, family: Family) -> Program {
    let mut builder = Builder::default();
    let mut kinds = Kinds::default();
    let mut dispatch = Label::default();

    emit_classify(&mut builder, 0, &mut kinds);
    let Kinds {
        data,
        handshake,
        mixed,
        mut garbage,
    } = kinds;

    builder.place(mixed);
    builder.load_value(2 * workers);
    builder.store_scratch(FIRST_INDEX);
    builder.jump(&mut dispatch);

    builder.place(handshake);
    builder.load_value(workers);
    builder.store_scratch(FIRST_INDEX);
    builder.jump(&mut dispatch);

    builder.place(data);
    builder.load_value(0);
    builder.store_scratch(FIRST_INDEX);

    builder.place(dispatch);
    let source = match family {
        Family::V4 => emit_ipv4_source(&mut builder),
        Family::V6 => emit_ipv6_source(&mut builder, &mut garbage),
    };
    emit_worker(&mut builder, key, source, PORT, workers);
    builder.load_x_scratch(FIRST_INDEX);
    builder.alu(Alu::Add, Operand::X);
    builder.return_a();

    builder.place(garbage);
    builder.return_value(3 * workers);
    builder.finish()
}

/// Builds the filter of one socket that drops trains that cannot hold a SNAPtun message and keeps
/// all others whole.
pub(crate) fn garbage_filter() -> Program {
    let mut builder = Builder::default();
    let mut kinds = Kinds::default();

    emit_classify(&mut builder, UDP_HEADER_BYTES, &mut kinds);

    builder.place(kinds.data);
    builder.place(kinds.handshake);
    builder.place(kinds.mixed);
    builder.return_value(u32::MAX);

    builder.place(kinds.garbage);
    builder.return_value(0);
    builder.finish()
}

/// Builds the filter of one socket that drops everything.
pub(crate) fn drop_all_filter() -> Program {
    let mut builder = Builder::default();
    builder.return_value(0);
    builder.finish()
}

/// Jump targets by the kind of a train or single datagram.
#[derive(Default)]
struct Kinds {
    /// Begins with a data message.
    data: Label,
    /// Is one handshake message.
    handshake: Label,
    /// Begins with anything else, and may hold messages.
    mixed: Label,
    /// Holds no message.
    garbage: Label,
}

/// Emits jumps to `kinds` by the UDP payload, which starts at `payload`.
fn emit_classify(builder: &mut Builder, payload: u32, kinds: &mut Kinds) {
    builder.load_length();
    builder.jump_if(
        When::Less(Operand::Value(payload + DATA_BYTES_MIN)),
        &mut kinds.garbage,
    );
    builder.move_to_x();
    builder.load(Size::Word, At::Start(payload));
    builder.jump_if(
        When::Equal(Operand::Value(DATA_TYPE << 24)),
        &mut kinds.data,
    );
    let mut no_handshake = Label::default();
    for (message_type, bytes) in HANDSHAKE_TYPES {
        let mut other = Label::default();
        builder.jump_if(
            When::NotEqual(Operand::Value(message_type << 24)),
            &mut other,
        );
        builder.move_from_x();
        builder.jump_if(
            When::Equal(Operand::Value(payload + bytes)),
            &mut kinds.handshake,
        );
        builder.jump(&mut no_handshake);
        builder.place(other);
    }
    builder.place(no_handshake);
    builder.move_from_x();
    builder.jump_if(
        When::Less(Operand::Value(payload + TWO_MESSAGES_MIN)),
        &mut kinds.garbage,
    );
    builder.jump(&mut kinds.mixed);
}

/// Emits `PORT` := the source port, after an IPv4 header of any length.
fn emit_ipv4_source(builder: &mut Builder) -> Address {
    builder.load(Size::Byte, At::Ip(0));
    builder.alu(Alu::And, Operand::Value(0x0f));
    builder.alu(Alu::ShiftLeft, Operand::Value(2));
    builder.move_to_x();
    builder.load(Size::Half, At::IpX(0));
    builder.store_scratch(PORT);
    Address::V4(At::Ip(IPV4_SOURCE))
}

/// Emits `PORT` := the source port, after the extension headers; jumps to `unreadable` if there is no
/// UDP header.
fn emit_ipv6_source(builder: &mut Builder, unreadable: &mut Label) -> Address {
    let mut udp = Label::default();
    builder.load_value(IPV6_HEADER_BYTES);
    builder.store_scratch(OFFSET);
    builder.load(Size::Byte, At::Ip(IPV6_NEXT_HEADER));
    builder.store_scratch(NEXT);
    builder.jump_if(When::Equal(Operand::Value(NEXT_HEADER_UDP)), &mut udp);
    for _ in 0..IPV6_EXTENSIONS_MAX {
        emit_skip_extension(builder, unreadable);
        builder.load_scratch(NEXT);
        builder.jump_if(When::Equal(Operand::Value(NEXT_HEADER_UDP)), &mut udp);
    }
    builder.jump(unreadable);

    builder.place(udp);
    builder.load_x_scratch(OFFSET);
    builder.load(Size::Half, At::IpX(0));
    builder.store_scratch(PORT);
    Address::V6(At::Ip(IPV6_SOURCE))
}

/// Emits code that skips the extension header `NEXT`, whose number is also in A.
fn emit_skip_extension(builder: &mut Builder, unreadable: &mut Label) {
    let mut variable = Label::default();
    let mut skipped = Label::default();
    for header in [HOP_BY_HOP_OPTIONS, ROUTING, DESTINATION_OPTIONS] {
        builder.jump_if(When::Equal(Operand::Value(header)), &mut variable);
    }
    // After reassembly only atomic fragments still have this header (RFC 6946).
    builder.jump_if(When::NotEqual(Operand::Value(FRAGMENT)), unreadable);
    builder.load_x_scratch(OFFSET);
    builder.load(Size::Byte, At::IpX(0));
    builder.store_scratch(NEXT);
    builder.load_value(8);
    builder.jump(&mut skipped);

    // The second byte is the length in units of 8 bytes, excluding the first 8.
    builder.place(variable);
    builder.load_x_scratch(OFFSET);
    builder.load(Size::Byte, At::IpX(0));
    builder.store_scratch(NEXT);
    builder.load(Size::Byte, At::IpX(1));
    builder.alu(Alu::Add, Operand::Value(1));
    builder.alu(Alu::ShiftLeft, Operand::Value(3));

    builder.place(skipped);
    builder.alu(Alu::Add, Operand::X);
    builder.store_scratch(OFFSET);
}

#[cfg(test)]
mod tests {
    use snaptun::protocol::{
        COOKIE_REPLY_BYTES, DATA_OVERHEAD_BYTES, INITIATION_BYTES, MessageKind, RESPONSE_BYTES,
    };

    use super::*;

    #[test]
    fn message_types_and_lengths_match_snaptun() {
        assert_eq!(DATA_BYTES_MIN as usize, DATA_OVERHEAD_BYTES);
        let lengths = [INITIATION_BYTES, RESPONSE_BYTES, COOKIE_REPLY_BYTES];
        assert_eq!(HANDSHAKE_TYPES.map(|(_, len)| len as usize), lengths);

        let kind_of = |message_type: u32, len: u32| {
            let mut message = vec![0; len as usize];
            message[0] = message_type as u8;
            MessageKind::of(&message)
        };
        let kinds = [
            MessageKind::Initiation,
            MessageKind::Response,
            MessageKind::CookieReply,
        ];
        for ((message_type, len), kind) in HANDSHAKE_TYPES.into_iter().zip(kinds) {
            assert_eq!(kind_of(message_type, len), Some(kind));
        }
        assert_eq!(kind_of(DATA_TYPE, DATA_BYTES_MIN), Some(MessageKind::Data));
    }
}
