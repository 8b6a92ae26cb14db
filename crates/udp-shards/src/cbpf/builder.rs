//! An assembler for programs: emits instructions in sequence and resolves forward jumps.

use libc::sock_filter;

/// Number of scratch words of the machine (BPF_MEMWORDS).
const SCRATCH_WORDS: u32 = 16;

/// A complete program for SO_ATTACH_FILTER or SO_ATTACH_REUSEPORT_CBPF.
#[derive(Debug)]
pub(crate) struct Program {
    instructions: Vec<sock_filter>,
}

impl Program {
    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.instructions
    }
}

/// Index of a scratch word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch(u32);

impl Scratch {
    pub(crate) const fn new(word: u32) -> Self {
        assert!(word < SCRATCH_WORDS);
        Self(word)
    }
}

/// Position of a byte in the packet, as an offset from one of four places.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// Offset 0.
    Start(u32),
    /// Offset 0 plus X.
    X(u32),
    /// The start of the IP header.
    Ip(u32),
    /// The start of the IP header plus X.
    IpX(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    Byte = libc::BPF_B as isize,
    Half = libc::BPF_H as isize,
    Word = libc::BPF_W as isize,
}

/// The second operand of an operation on A.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    Value(u32),
    X,
}

/// Operation of A := A op operand, modulo 2^32.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alu {
    Add = libc::BPF_ADD as isize,
    Subtract = libc::BPF_SUB as isize,
    And = libc::BPF_AND as isize,
    Or = libc::BPF_OR as isize,
    Xor = libc::BPF_XOR as isize,
    ShiftLeft = libc::BPF_LSH as isize,
    ShiftRight = libc::BPF_RSH as isize,
    Remainder = libc::BPF_MOD as isize,
}

/// Unsigned comparison of A with an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Equal(Operand),
    NotEqual(Operand),
    Less(Operand),
    AtLeast(Operand),
}

/// Target of forward jumps. It must be placed exactly once; placing it consumes it, which rules out
/// backward jumps.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Label {
    /// Indexes of the jump instructions to patch when the label is placed.
    jumps: Vec<usize>,
}

/// Emits the instructions of a program.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    instructions: Vec<sock_filter>,
}

impl Builder {
    pub(crate) fn finish(self) -> Program {
        Program {
            instructions: self.instructions,
        }
    }

    /// A := the bytes at `at`, as a big-endian number.
    pub(crate) fn load(&mut self, size: Size, at: At) {
        let (mode, offset) = match at {
            At::Start(offset) => (libc::BPF_ABS, offset),
            At::X(offset) => (libc::BPF_IND, offset),
            At::Ip(offset) => (libc::BPF_ABS, ip_offset(offset)),
            At::IpX(offset) => (libc::BPF_IND, ip_offset(offset)),
        };
        self.push(libc::BPF_LD | size as u32 | mode, offset);
    }

    /// A := the packet's length from offset 0 on.
    pub(crate) fn load_length(&mut self) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0);
    }

    /// A := a random number (SKF_AD_RANDOM, Linux 3.15).
    pub(crate) fn load_random(&mut self) {
        let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, random);
    }

    pub(crate) fn load_value(&mut self, value: u32) {
        self.push(libc::BPF_LD | libc::BPF_IMM, value);
    }

    pub(crate) fn load_scratch(&mut self, word: Scratch) {
        self.push(libc::BPF_LD | libc::BPF_MEM, word.0);
    }

    pub(crate) fn store_scratch(&mut self, word: Scratch) {
        self.push(libc::BPF_ST, word.0);
    }

    /// X := a scratch word.
    pub(crate) fn load_x_scratch(&mut self, word: Scratch) {
        self.push(libc::BPF_LDX | libc::BPF_MEM, word.0);
    }

    /// X := A
    pub(crate) fn move_to_x(&mut self) {
        self.push(libc::BPF_MISC | libc::BPF_TAX, 0);
    }

    /// A := X
    pub(crate) fn move_from_x(&mut self) {
        self.push(libc::BPF_MISC | libc::BPF_TXA, 0);
    }

    pub(crate) fn alu(&mut self, operation: Alu, operand: Operand) {
        let (source, value) = operand.encode();
        self.push(libc::BPF_ALU | operation as u32 | source, value);
    }

    pub(crate) fn jump(&mut self, to: &mut Label) {
        to.jumps.push(self.instructions.len());
        self.push(libc::BPF_JMP | libc::BPF_JA, 0);
    }

    /// Jumps to `to` if the comparison holds.
    ///
    /// A conditional jump reaches only 255 instructions, so it decides whether an unconditional
    /// jump is skipped.
    pub(crate) fn jump_if(&mut self, when: When, to: &mut Label) {
        let (comparison, operand, jump_when_true) = match when {
            When::Equal(operand) => (libc::BPF_JEQ, operand, true),
            When::NotEqual(operand) => (libc::BPF_JEQ, operand, false),
            When::AtLeast(operand) => (libc::BPF_JGE, operand, true),
            When::Less(operand) => (libc::BPF_JGE, operand, false),
        };
        let (source, value) = operand.encode();
        self.instructions.push(sock_filter {
            code: code(libc::BPF_JMP | comparison | source),
            jt: u8::from(!jump_when_true),
            jf: u8::from(jump_when_true),
            k: value,
        });
        self.jump(to);
    }

    /// Makes the next instruction the target of the jumps to `label`.
    pub(crate) fn place(&mut self, label: Label) {
        let here = self.instructions.len();
        for jump in label.jumps {
            if let Some(instruction) = self.instructions.get_mut(jump) {
                // Programs have far fewer than 2^32 instructions.
                instruction.k = (here - jump - 1) as u32;
            }
        }
    }

    pub(crate) fn return_value(&mut self, value: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, value);
    }

    /// Ends with A as the result.
    pub(crate) fn return_a(&mut self) {
        self.push(libc::BPF_RET | libc::BPF_A, 0);
    }

    fn push(&mut self, operation: u32, value: u32) {
        self.instructions.push(sock_filter {
            code: code(operation),
            jt: 0,
            jf: 0,
            k: value,
        });
    }
}

/// Narrows an operation code to 16 bits: the constants of the C headers are wider.
fn code(operation: u32) -> u16 {
    operation as u16
}

/// Returns the offset that addresses the IP header: loads from SKF_NET_OFF (negative) on read it.
fn ip_offset(offset: u32) -> u32 {
    (libc::SKF_NET_OFF as u32).wrapping_add(offset)
}

impl Operand {
    fn encode(self) -> (u32, u32) {
        match self {
            Self::Value(value) => (libc::BPF_K, value),
            Self::X => (libc::BPF_X, 0),
        }
    }
}
