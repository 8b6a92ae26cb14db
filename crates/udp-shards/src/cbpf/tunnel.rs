//! Programs for the sockets that tunnels send to.

use super::Program;
use super::builder::{Alu, At, Builder, Label, Operand, Scratch, Size, When};
use super::hash::{Address, FREE_SCRATCH, emit_worker};
use crate::DispatchKey;

/// The source port of the datagram.
const PORT: Scratch = Scratch::new(FREE_SCRATCH);
/// The index of worker 0's socket among the data or the handshake sockets.
const FIRST_INDEX: Scratch = Scratch::new(FREE_SCRATCH + 1);

/// SNAPtun messages begin with the type in the first byte and three zero bytes (WireGuard
/// whitepaper, section 5.4).
const DATA_TYPE: u32 = 4;
/// An empty data message: header and authentication tag.
const DATA_BYTES_MIN: u32 = 16 + 16;
/// Type and length of the other messages. A response is 20 bytes longer than WireGuard's: it
/// carries the address that the responder saw.
const HANDSHAKE_TYPES: [(u32, u32); 3] = [(1, 148), (2, 92 + 20), (3, 64)];

const _: () = assert!(
    DATA_BYTES_MIN >= 4,
    "the length check covers the type's word"
);

const UDP_HEADER_BYTES: u32 = 8;
const IPV4_SOURCE: u32 = 12;
const IPV6_NEXT_HEADER: u32 = 6;
const IPV6_SOURCE: u32 = 8;
const IPV6_HEADER_BYTES: u32 = 40;
const NEXT_HEADER_UDP: u32 = 17;

/// The kind of IP address that a group is bound to; IPv6 sockets accept no IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// For a group of 2 * `workers` + 1 sockets: a data message goes to the worker that owns its
/// source address, any other SNAPtun message to `workers` + that worker, and anything else to
/// the last socket.
pub(crate) fn dispatch_program(key: &DispatchKey, workers: u32, family: Family) -> Program {
    let mut builder = Builder::default();
    let mut data = Label::default();
    let mut handshake = Label::default();
    let mut garbage = Label::default();
    let mut dispatch = Label::default();

    emit_classify(&mut builder, 0, &mut data, &mut handshake, &mut garbage);

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
        Family::V6 => emit_ipv6_source(&mut builder),
    };
    emit_worker(&mut builder, key, source, PORT, workers);
    builder.load_x_scratch(FIRST_INDEX);
    builder.alu(Alu::Add, Operand::X);
    builder.return_a();

    builder.place(garbage);
    builder.return_value(2 * workers);
    builder.finish()
}

/// For one socket: drops what is no SNAPtun message.
pub(crate) fn garbage_filter() -> Program {
    let mut builder = Builder::default();
    let mut data = Label::default();
    let mut handshake = Label::default();
    let mut garbage = Label::default();

    emit_classify(
        &mut builder,
        UDP_HEADER_BYTES,
        &mut data,
        &mut handshake,
        &mut garbage,
    );

    builder.place(data);
    builder.place(handshake);
    builder.return_value(u32::MAX);

    builder.place(garbage);
    builder.return_value(0);
    builder.finish()
}

/// For one socket: drops everything.
pub(crate) fn drop_all_filter() -> Program {
    let mut builder = Builder::default();
    builder.return_value(0);
    builder.finish()
}

/// Emits jumps by the kind of message that begins at `payload`.
///
/// Lengths are checked from below: a train's length is that of all its messages.
fn emit_classify(
    builder: &mut Builder,
    payload: u32,
    data: &mut Label,
    handshake: &mut Label,
    garbage: &mut Label,
) {
    builder.load_length();
    builder.jump_if(
        When::Less(Operand::Value(payload + DATA_BYTES_MIN)),
        garbage,
    );
    builder.move_to_x();
    builder.load(Size::Word, At::Start(payload));
    builder.jump_if(When::Equal(Operand::Value(DATA_TYPE << 24)), data);
    for (message_type, bytes) in HANDSHAKE_TYPES {
        let mut other = Label::default();
        builder.jump_if(
            When::NotEqual(Operand::Value(message_type << 24)),
            &mut other,
        );
        builder.move_from_x();
        builder.jump_if(When::AtLeast(Operand::Value(payload + bytes)), handshake);
        builder.jump(garbage);
        builder.place(other);
    }
    builder.jump(garbage);
}

/// Emits `PORT` := the source port, behind an IPv4 header of any length.
fn emit_ipv4_source(builder: &mut Builder) -> Address {
    builder.load(Size::Byte, At::Ip(0));
    builder.alu(Alu::And, Operand::Value(0x0f));
    builder.alu(Alu::ShiftLeft, Operand::Value(2));
    builder.move_to_x();
    builder.load(Size::Half, At::IpX(0));
    builder.store_scratch(PORT);
    Address::V4(At::Ip(IPV4_SOURCE))
}

/// Emits `PORT` := the source port, or 0 when extension headers precede it: then the datagram
/// reaches some worker, which hands it over.
fn emit_ipv6_source(builder: &mut Builder) -> Address {
    let mut extended = Label::default();
    let mut done = Label::default();
    builder.load(Size::Byte, At::Ip(IPV6_NEXT_HEADER));
    builder.jump_if(
        When::NotEqual(Operand::Value(NEXT_HEADER_UDP)),
        &mut extended,
    );
    builder.load(Size::Half, At::Ip(IPV6_HEADER_BYTES));
    builder.jump(&mut done);
    builder.place(extended);
    builder.load_value(0);
    builder.place(done);
    builder.store_scratch(PORT);
    Address::V6(At::Ip(IPV6_SOURCE))
}
