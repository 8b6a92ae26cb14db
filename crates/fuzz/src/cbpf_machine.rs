//! An interpreter of the classic BPF instructions that the programs of `udp-shards` use
//! (`Documentation/networking/filter.rst`).

use libc::sock_filter;

/// Offset from which a program loads a random number.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;

/// The random number. Runs are reproducible.
const SOME_NUMBER: u32 = 0x9e37_79b9;

/// A datagram as a program sees it.
pub(crate) struct Datagram<'a> {
    /// The packet from the IP header on.
    pub(crate) packet: &'a [u8],
    /// Position of offset 0: the UDP payload for a group's program, the UDP header for a socket's filter.
    pub(crate) start: usize,
}

impl Datagram<'_> {
    /// Loads `size` bytes at `offset`. Offsets from SKF_NET_OFF on are relative to the IP header.
    fn load(&self, offset: u32, size: usize) -> Option<u32> {
        let ip_header = libc::SKF_NET_OFF as u32;
        let at = if offset >= ip_header {
            (offset - ip_header) as usize
        } else {
            self.start.checked_add(offset as usize)?
        };
        let bytes = self.packet.get(at..at.checked_add(size)?)?;
        Some(
            bytes
                .iter()
                .fold(0, |value, byte| value << 8 | u32::from(*byte)),
        )
    }

    /// Returns the length from offset 0 on.
    fn len(&self) -> u32 {
        (self.packet.len() - self.start) as u32
    }
}

/// Runs a program and returns its result, which is 0 after a load outside of the packet.
pub(crate) fn run(program: &[sock_filter], datagram: &Datagram<'_>) -> u32 {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut scratch = [0_u32; 16];
    let mut next = 0;
    loop {
        let sock_filter { code, jt, jf, k } = program[next];
        let code = u32::from(code);
        next += 1;
        let operand = if code & libc::BPF_X == 0 { k } else { x };
        match code & 0x07 {
            libc::BPF_LD => {
                let size = match code & 0x18 {
                    libc::BPF_W => 4,
                    libc::BPF_H => 2,
                    libc::BPF_B => 1,
                    size => panic!("unknown load size {size:#x}"),
                };
                let offset = match code & 0xe0 {
                    libc::BPF_IMM => {
                        a = k;
                        continue;
                    }
                    libc::BPF_MEM => {
                        a = scratch[k as usize];
                        continue;
                    }
                    libc::BPF_LEN => {
                        a = datagram.len();
                        continue;
                    }
                    libc::BPF_ABS if k == RANDOM => {
                        a = SOME_NUMBER;
                        continue;
                    }
                    libc::BPF_ABS => k,
                    libc::BPF_IND => k.wrapping_add(x),
                    mode => panic!("unknown load mode {mode:#x}"),
                };
                match datagram.load(offset, size) {
                    Some(value) => a = value,
                    None => return 0,
                }
            }
            libc::BPF_LDX if code & 0xe0 == libc::BPF_MEM => x = scratch[k as usize],
            libc::BPF_ST => scratch[k as usize] = a,
            libc::BPF_ALU => {
                a = match code & 0xf0 {
                    libc::BPF_ADD => a.wrapping_add(operand),
                    libc::BPF_SUB => a.wrapping_sub(operand),
                    libc::BPF_AND => a & operand,
                    libc::BPF_OR => a | operand,
                    libc::BPF_XOR => a ^ operand,
                    // The kernel refuses programs that shift by 32 or more, or divide by 0.
                    libc::BPF_LSH => a << operand,
                    libc::BPF_RSH => a >> operand,
                    libc::BPF_MOD => a % operand,
                    operation => panic!("unknown operation {operation:#x}"),
                }
            }
            libc::BPF_JMP => {
                let holds = match code & 0xf0 {
                    libc::BPF_JA => {
                        next += k as usize;
                        continue;
                    }
                    libc::BPF_JEQ => a == operand,
                    libc::BPF_JGE => a >= operand,
                    comparison => panic!("unknown comparison {comparison:#x}"),
                };
                next += usize::from(if holds { jt } else { jf });
            }
            libc::BPF_RET if code & 0x18 == libc::BPF_A => return a,
            libc::BPF_RET => return k,
            libc::BPF_MISC if code & 0xf8 == libc::BPF_TAX => x = a,
            libc::BPF_MISC => a = x,
            class => panic!("unknown instruction class {class:#x}"),
        }
    }
}
