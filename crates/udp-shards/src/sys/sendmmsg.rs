//! sendmmsg(2): many trains per system call, gathered from scattered datagrams.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::{fmt, ptr};

use super::address::RawAddress;
use super::cmsg::Control;

/// One message for the kernel: a train, or a single datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) to: SocketAddr,
    pub(crate) from_ip: Option<IpAddr>,
    /// Size at which the kernel cuts a train; `None` for a single datagram.
    pub(crate) segment_size: Option<u16>,
    /// The datagrams, as a range of the call's `parts`.
    pub(crate) parts: Range<usize>,
}

/// Messages in the kernel's layout; kept between calls to reuse the allocations.
#[derive(Default)]
pub(crate) struct SendHeaders {
    names: Vec<(RawAddress, libc::socklen_t)>,
    controls: Vec<(Control, usize)>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: `headers` is filled and used within one call of `send`; its pointers are not used between
// calls.
unsafe impl Send for SendHeaders {}

impl SendHeaders {
    /// Sends `messages`, whose bytes are in `parts`, until one fails. Returns the number sent, or the
    /// error if the first message failed.
    pub(crate) fn send(
        &mut self,
        socket: &impl AsFd,
        messages: &[Message],
        parts: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.names.clear();
        self.controls.clear();
        self.headers.clear();
        for message in messages {
            self.names.push(RawAddress::new(message.to));
            let mut control = Control::EMPTY;
            let used = control.write(message.segment_size, message.from_ip);
            self.controls.push((control, used));
        }
        // The vectors have their final lengths, so pointers into them stay valid.
        for ((message, (name, name_bytes)), (control, control_bytes)) in
            messages.iter().zip(&self.names).zip(&self.controls)
        {
            let Some(parts) = parts.get(message.parts.clone()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            // SAFETY: all zeros are a valid header: null pointers and lengths of 0.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_ref(name).cast_mut().cast();
            header.msg_hdr.msg_namelen = *name_bytes;
            // An `IoSlice` has the layout of an `iovec`.
            header.msg_hdr.msg_iov = parts.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_iovlen = parts.len() as _;
            if *control_bytes > 0 {
                header.msg_hdr.msg_control = ptr::from_ref(control).cast_mut().cast();
                header.msg_hdr.msg_controllen = *control_bytes as _;
            }
            self.headers.push(header);
        }
        // SAFETY: each header points to a name and a control buffer in `self` and to slices in
        // `parts`, all alive and readable for the lengths given; the kernel writes to `msg_len` in
        // `self.headers` only.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl fmt::Debug for SendHeaders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SendHeaders")
            .finish_non_exhaustive()
    }
}

/// Empties a vector of slices and returns it with its allocation.
pub(crate) fn into_memory(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'static>> {
    slices.clear();
    // SAFETY: the vector is empty, so no slice's lifetime is extended, and lifetimes do not change
    // the layout.
    unsafe { std::mem::transmute::<Vec<IoSlice<'_>>, Vec<IoSlice<'static>>>(slices) }
}
