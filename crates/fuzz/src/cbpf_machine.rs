//! The kernel's classic BPF machine, as far as the programs of `udp-shards` use it
//! (`Documentation/networking/filter.rst`).

use libc::sock_filter;

/// A datagram as a program sees it.
pub(crate) struct Datagram<'a> {
    /// From the IP header on.
    pub(crate) packet: &'a [u8],
    /// Where offset 0 is: at the UDP payload for a group's program, at the UDP header for a socket's filter.
    pub(crate) start: usize,
}

impl Datagram<'_> {
    /// The bytes that a program reads at `offset`, which is relative to the IP header from SKF_NET_OFF on.
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

    /// What follows offset 0.
    fn len(&self) -> u32 {
        (self.packet.len() - self.start) as u32
    }
}

/// Runs a program and returns its result; that of a load outside of the packet is 0.
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
                    size => panic!("a load of size {size:#x}"),
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
                    libc::BPF_ABS => k,
                    libc::BPF_IND => k.wrapping_add(x),
                    mode => panic!("a load of mode {mode:#x}"),
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
                    // The kernel refuses a program that shifts by 32 and more, or divides by 0.
                    libc::BPF_LSH => a << operand,
                    libc::BPF_RSH => a >> operand,
                    libc::BPF_MOD => a % operand,
                    operation => panic!("an operation {operation:#x}"),
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
                    comparison => panic!("a comparison {comparison:#x}"),
                };
                next += usize::from(if holds { jt } else { jf });
            }
            libc::BPF_RET if code & 0x18 == libc::BPF_A => return a,
            libc::BPF_RET => return k,
            libc::BPF_MISC if code & 0xf8 == libc::BPF_TAX => x = a,
            libc::BPF_MISC => a = x,
            class => panic!("an instruction of class {class:#x}"),
        }
    }
}
