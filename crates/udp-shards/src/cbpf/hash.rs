//! The dispatch hash as instructions: the kernel's counterpart of [`DispatchKey::worker_of`].

use super::builder::{Alu, At, Builder, Operand, Scratch, Size};
use crate::DispatchKey;
use crate::dispatch::{FINAL_MARK, FINAL_ROUNDS, ROUND, Step, last_word};

/// The state of the hash.
const V: [Scratch; 4] = [
    Scratch::new(0),
    Scratch::new(1),
    Scratch::new(2),
    Scratch::new(3),
];
/// The left part of a word during a rotation.
const ROTATED: Scratch = Scratch::new(4);
/// The message word being absorbed.
const WORD: Scratch = Scratch::new(5);

/// The first scratch word that [`emit_worker`] does not use.
pub(super) const FREE_SCRATCH: u32 = 6;

/// Position of an IP address in the packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Address {
    V4(At),
    V6(At),
}

/// Emits A := the worker that owns the socket address (address in the packet, port in `port`).
///
/// Overwrites A, X and the scratch words below [`FREE_SCRATCH`].
pub(super) fn emit_worker(
    builder: &mut Builder,
    key: &DispatchKey,
    address: Address,
    port: Scratch,
    workers: u32,
) {
    for (word, value) in V.into_iter().zip(key.initial_state()) {
        builder.load_value(value);
        builder.store_scratch(word);
    }
    let (first, address_bytes) = match address {
        Address::V4(at) => (at, 4),
        Address::V6(at) => (at, 16),
    };
    for offset in (0..address_bytes).step_by(4) {
        builder.load(Size::Word, first.plus(offset));
        emit_absorb(builder);
    }
    builder.load_scratch(port);
    builder.alu(Alu::Or, Operand::Value(last_word(address_bytes, 0)));
    emit_absorb(builder);
    emit_finish(builder);
    builder.alu(Alu::Remainder, Operand::Value(workers));
}

/// Emits code that absorbs the message word in A.
fn emit_absorb(builder: &mut Builder) {
    builder.store_scratch(WORD);
    builder.load_x_scratch(V[3]);
    builder.alu(Alu::Xor, Operand::X);
    builder.store_scratch(V[3]);
    emit_round(builder);
    builder.load_scratch(V[0]);
    builder.load_x_scratch(WORD);
    builder.alu(Alu::Xor, Operand::X);
    builder.store_scratch(V[0]);
}

/// Emits A := the hash.
fn emit_finish(builder: &mut Builder) {
    builder.load_scratch(V[2]);
    builder.alu(Alu::Xor, Operand::Value(FINAL_MARK));
    builder.store_scratch(V[2]);
    for _ in 0..FINAL_ROUNDS {
        emit_round(builder);
    }
    builder.load_scratch(V[1]);
    builder.load_x_scratch(V[3]);
    builder.alu(Alu::Xor, Operand::X);
}

fn emit_round(builder: &mut Builder) {
    for step in ROUND {
        emit_step(builder, step);
    }
}

fn emit_step(builder: &mut Builder, step: Step) {
    let (sum, with) = (V[step.sum], V[step.with]);

    builder.load_scratch(sum);
    builder.load_x_scratch(with);
    builder.alu(Alu::Add, Operand::X);
    builder.store_scratch(sum);

    builder.move_from_x();
    emit_rotate(builder, step.rotate_with);
    builder.load_x_scratch(sum);
    builder.alu(Alu::Xor, Operand::X);
    builder.store_scratch(with);

    if step.rotate_sum != 0 {
        builder.load_scratch(sum);
        builder.move_to_x();
        emit_rotate(builder, step.rotate_sum);
        builder.store_scratch(sum);
    }
}

/// Emits A := A rotated left by `bits`, given X = A. Overwrites X.
fn emit_rotate(builder: &mut Builder, bits: u32) {
    builder.alu(Alu::ShiftLeft, Operand::Value(bits));
    builder.store_scratch(ROTATED);
    builder.move_from_x();
    builder.alu(Alu::ShiftRight, Operand::Value(u32::BITS - bits));
    builder.load_x_scratch(ROTATED);
    builder.alu(Alu::Or, Operand::X);
}

impl At {
    fn plus(self, more: u32) -> Self {
        match self {
            Self::Start(offset) => Self::Start(offset + more),
            Self::X(offset) => Self::X(offset + more),
            Self::Ip(offset) => Self::Ip(offset + more),
            Self::IpX(offset) => Self::IpX(offset + more),
        }
    }
}
