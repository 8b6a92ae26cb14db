//! Socket options that the standard library and socket2 lack.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::cbpf::Program;

/// Calls setsockopt(2) with a number.
pub(crate) fn set_number(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: a number contains no pointer.
    unsafe { set(socket, level, option, &value) }
}

/// Attaches a filter that drops every datagram for which `program` returns 0, before it is queued
/// (SO_ATTACH_FILTER).
pub(crate) fn attach_filter(socket: &impl AsFd, program: &Program) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_FILTER, program)
}

/// Detaches the filter of [`attach_filter`] (SO_DETACH_FILTER).
pub(crate) fn detach_filter(socket: &impl AsFd) -> io::Result<()> {
    // The kernel ignores the number.
    set_number(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0)
}

/// Attaches a program that picks the socket of each datagram, for the whole group of `socket`
/// (SO_ATTACH_REUSEPORT_CBPF).
pub(crate) fn attach_reuseport_program(socket: &impl AsFd, program: &Program) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// Sets the size of the receive buffer, see [`set_send_buffer`].
pub(crate) fn set_receive_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    set_buffer(socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)
}

/// Sets the size of the send buffer: beyond the system's limit with CAP_NET_ADMIN, otherwise up to the limit.
pub(crate) fn set_send_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes)
}

fn set_buffer(
    socket: &impl AsFd,
    force: libc::c_int,
    within_limit: libc::c_int,
    bytes: usize,
) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_number(socket, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_number(socket, libc::SOL_SOCKET, within_limit, bytes))
}

/// Returns the number of datagrams that the kernel dropped at this socket, modulo 2^32.
pub(crate) fn drops(socket: &impl AsFd) -> io::Result<u32> {
    /// SK_MEMINFO_DROPS of `linux/sock_diag.h`.
    const DROPS: usize = 8;
    Ok(memory_info(socket)?[DROPS])
}

/// Returns the bytes charged to the send buffer of this socket.
pub(crate) fn unsent_bytes(socket: &impl AsFd) -> io::Result<usize> {
    /// SK_MEMINFO_WMEM_ALLOC of `linux/sock_diag.h`.
    const WMEM_ALLOC: usize = 2;
    Ok(memory_info(socket)?[WMEM_ALLOC] as usize)
}

/// SK_MEMINFO_VARS of `linux/sock_diag.h`.
const MEMORY_VALUES: usize = 9;

/// Returns the socket's memory counters (SO_MEMINFO, Linux 4.12).
fn memory_info(socket: &impl AsFd) -> io::Result<[u32; MEMORY_VALUES]> {
    let mut values = [0_u32; MEMORY_VALUES];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: `values` is writable for `length` bytes, and the kernel writes numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(values)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn attach(socket: &impl AsFd, option: libc::c_int, program: &Program) -> io::Result<()> {
    let instructions = program.instructions();
    let Ok(len) = u16::try_from(instructions.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let filter = instructions.as_ptr().cast_mut();
    let program = libc::sock_fprog { len, filter };
    // SAFETY: `filter` points to `len` instructions, which the kernel copies and does not change.
    unsafe { set(socket, libc::SOL_SOCKET, option, &program) }
}

/// Calls setsockopt(2).
///
/// # Safety
///
/// A pointer in `value` must be valid for the kernel's use under this option.
unsafe fn set<T>(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is readable for the length given; the caller vouches for pointers inside it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
