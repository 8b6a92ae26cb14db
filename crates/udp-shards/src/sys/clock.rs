//! The synchronization state of the system clock.

/// Returns true if the kernel regards the system clock as synchronized (adjtimex(2)): an NTP or PTP client adjusts
/// it, and its maximum error is below 16 s. `None` if the call fails, for example behind a seccomp filter.
pub fn is_clock_synchronized() -> Option<bool> {
    // SAFETY: every field is a number, for which all zero is valid. With `modes` 0 the kernel only writes.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is writable and of the size that the kernel expects.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0)
}
