//! The program for the sockets that receive from SCION routers.
//!
//! It reads the SCION header (SCION header specification, sections "Common header" and "Address
//! header"): next header at 4, header length in 4-byte units at 5, destination type and length in
//! the high nibble of 9, destination host at 28.

use super::Program;
use super::builder::{Alu, At, Builder, Label, Operand, Scratch, Size, When};
use super::hash::{Address, FREE_SCRATCH, emit_worker};
use crate::DispatchKey;

/// The destination port, or the SCMP identifier in its place.
const PORT: Scratch = Scratch::new(FREE_SCRATCH);
/// Offset of the header that `NEXT` names.
const OFFSET: Scratch = Scratch::new(FREE_SCRATCH + 1);
/// The number of the next header.
const NEXT: Scratch = Scratch::new(FREE_SCRATCH + 2);

const DESTINATION_HOST: u32 = 28;
const NEXT_HEADER: u32 = 4;
const HEADER_LENGTH: u32 = 5;
const HOST_TYPES: u32 = 9;
const HOST_IPV4: u32 = 0x00;
const HOST_IPV6: u32 = 0x30;
/// Shortest header: common header, ISD-AS numbers, and two hosts of 4 bytes.
const HEADER_BYTES_MIN: u32 = DESTINATION_HOST + 4 + 4;

const TCP: u32 = 6;
const UDP: u32 = 17;
const HOP_BY_HOP: u32 = 200;
const END_TO_END: u32 = 201;
const SCMP: u32 = 202;

const SCMP_ECHO_REQUEST: u32 = 128;
const SCMP_TRACEROUTE_REQUEST: u32 = 130;
/// Echo and traceroute, requests and replies, are 128 to 131.
const SCMP_WITH_IDENTIFIER_END: u32 = 132;
const SCMP_IDENTIFIER: u32 = 4;
/// SCMP error types, and the offset of their quoted packet.
const SCMP_QUOTES: [(u32, u32); 5] = [(1, 8), (2, 8), (4, 8), (5, 20), (6, 28)];

/// Builds the dispatch program of a group whose first `workers` sockets belong to the workers. A packet
/// goes to the worker that owns its destination (host and port); malformed packets, and those without a
/// port, go to a random worker. No packet goes to a later socket of the group: for a number beyond
/// the group, the kernel would choose among all by its own hash.
pub(crate) fn dispatch_program(key: &DispatchKey, workers: u32) -> Program {
    let mut builder = Builder::default();
    if workers == 1 {
        builder.return_value(0);
        return builder.finish();
    }
    let mut unknown = Label::default();

    emit_check_header(&mut builder, &mut unknown);
    emit_port(&mut builder, &mut unknown);

    let mut ipv6 = Label::default();
    builder.load(Size::Byte, At::Start(HOST_TYPES));
    builder.alu(Alu::And, Operand::Value(0xf0));
    builder.jump_if(When::Equal(Operand::Value(HOST_IPV6)), &mut ipv6);
    let host = At::Start(DESTINATION_HOST);
    emit_worker(&mut builder, key, Address::V4(host), PORT, workers);
    builder.return_a();
    builder.place(ipv6);
    emit_worker(&mut builder, key, Address::V6(host), PORT, workers);
    builder.return_a();

    builder.place(unknown);
    builder.load_random();
    builder.alu(Alu::Remainder, Operand::Value(workers));
    builder.return_a();
    builder.finish()
}

/// Emits the checks of version, host type and lengths, and the start of the header chain.
fn emit_check_header(builder: &mut Builder, unknown: &mut Label) {
    builder.load_length();
    builder.jump_if(When::Less(Operand::Value(HEADER_BYTES_MIN)), unknown);
    builder.load(Size::Byte, At::Start(0));
    builder.jump_if(When::AtLeast(Operand::Value(0x10)), unknown);

    builder.load(Size::Byte, At::Start(NEXT_HEADER));
    builder.store_scratch(NEXT);
    builder.load(Size::Byte, At::Start(HEADER_LENGTH));
    builder.alu(Alu::ShiftLeft, Operand::Value(2));
    builder.store_scratch(OFFSET);

    let mut ipv4 = Label::default();
    let mut checked = Label::default();
    builder.load(Size::Byte, At::Start(HOST_TYPES));
    builder.alu(Alu::And, Operand::Value(0xf0));
    builder.jump_if(When::Equal(Operand::Value(HOST_IPV4)), &mut ipv4);
    builder.jump_if(When::NotEqual(Operand::Value(HOST_IPV6)), unknown);
    builder.load_scratch(OFFSET);
    builder.jump_if(When::Less(Operand::Value(HEADER_BYTES_MIN + 12)), unknown);
    builder.jump(&mut checked);
    builder.place(ipv4);
    builder.load_scratch(OFFSET);
    builder.jump_if(When::Less(Operand::Value(HEADER_BYTES_MIN)), unknown);
    builder.place(checked);
}

/// Emits `PORT` := the destination port of the packet.
fn emit_port(builder: &mut Builder, unknown: &mut Label) {
    emit_skip_extensions(builder, unknown);

    let mut ports = Label::default();
    let mut found = Label::default();
    builder.load_scratch(NEXT);
    builder.jump_if(When::Equal(Operand::Value(UDP)), &mut ports);
    builder.jump_if(When::Equal(Operand::Value(TCP)), &mut ports);
    builder.jump_if(When::NotEqual(Operand::Value(SCMP)), unknown);
    emit_scmp_port(builder, &mut found, unknown);

    builder.place(ports);
    emit_require(builder, 4, unknown);
    builder.load(Size::Half, At::X(2));

    builder.place(found);
    builder.store_scratch(PORT);
}

/// Emits A := the identifier of an SCMP message, or the source port of its quoted packet.
fn emit_scmp_port(builder: &mut Builder, found: &mut Label, unknown: &mut Label) {
    let mut error = Label::default();
    emit_require(builder, SCMP_IDENTIFIER + 2, unknown);
    builder.load(Size::Byte, At::X(0));
    builder.jump_if(When::Less(Operand::Value(SCMP_ECHO_REQUEST)), &mut error);
    builder.jump_if(
        When::AtLeast(Operand::Value(SCMP_WITH_IDENTIFIER_END)),
        unknown,
    );
    builder.load(Size::Half, At::X(SCMP_IDENTIFIER));
    builder.jump(found);

    builder.place(error);
    let mut quoted = Label::default();
    for (error_type, quote) in SCMP_QUOTES {
        let mut other = Label::default();
        builder.jump_if(When::NotEqual(Operand::Value(error_type)), &mut other);
        builder.load_value(quote);
        builder.jump(&mut quoted);
        builder.place(other);
    }
    builder.jump(unknown);

    builder.place(quoted);
    builder.alu(Alu::Add, Operand::X);
    builder.store_scratch(OFFSET);
    emit_quoted_port(builder, found, unknown);
}

/// Emits A := the source port of the quoted packet, or the identifier of the quoted request: the
/// quoted packet was sent by the receiver of the error.
fn emit_quoted_port(builder: &mut Builder, found: &mut Label, unknown: &mut Label) {
    emit_require(builder, HEADER_LENGTH + 1, unknown);
    builder.load(Size::Byte, At::X(NEXT_HEADER));
    builder.store_scratch(NEXT);
    builder.load(Size::Byte, At::X(HEADER_LENGTH));
    builder.alu(Alu::ShiftLeft, Operand::Value(2));
    builder.alu(Alu::Add, Operand::X);
    builder.store_scratch(OFFSET);
    emit_skip_extensions(builder, unknown);

    let mut ports = Label::default();
    let mut identifier = Label::default();
    builder.load_scratch(NEXT);
    builder.jump_if(When::Equal(Operand::Value(UDP)), &mut ports);
    builder.jump_if(When::Equal(Operand::Value(TCP)), &mut ports);
    builder.jump_if(When::NotEqual(Operand::Value(SCMP)), unknown);
    emit_require(builder, SCMP_IDENTIFIER + 2, unknown);
    builder.load(Size::Byte, At::X(0));
    builder.jump_if(
        When::Equal(Operand::Value(SCMP_ECHO_REQUEST)),
        &mut identifier,
    );
    builder.jump_if(
        When::NotEqual(Operand::Value(SCMP_TRACEROUTE_REQUEST)),
        unknown,
    );
    builder.place(identifier);
    builder.load(Size::Half, At::X(SCMP_IDENTIFIER));
    builder.jump(found);

    builder.place(ports);
    emit_require(builder, 2, unknown);
    builder.load(Size::Half, At::X(0));
    builder.jump(found);
}

/// Emits code that skips the extension headers: at most one of each kind, in this order.
fn emit_skip_extensions(builder: &mut Builder, unknown: &mut Label) {
    for extension in [HOP_BY_HOP, END_TO_END] {
        let mut absent = Label::default();
        builder.load_scratch(NEXT);
        builder.jump_if(When::NotEqual(Operand::Value(extension)), &mut absent);
        emit_require(builder, 2, unknown);
        builder.load(Size::Byte, At::X(0));
        builder.store_scratch(NEXT);
        builder.load(Size::Byte, At::X(1));
        builder.alu(Alu::Add, Operand::Value(1));
        builder.alu(Alu::ShiftLeft, Operand::Value(2));
        builder.alu(Alu::Add, Operand::X);
        builder.store_scratch(OFFSET);
        builder.place(absent);
    }
}

/// Emits X := `OFFSET`, and a jump to `unknown` if fewer than `bytes` bytes follow it.
fn emit_require(builder: &mut Builder, bytes: u32, unknown: &mut Label) {
    builder.load_x_scratch(OFFSET);
    builder.load_length();
    builder.jump_if(When::Less(Operand::X), unknown);
    builder.alu(Alu::Subtract, Operand::X);
    builder.jump_if(When::Less(Operand::Value(bytes)), unknown);
}
