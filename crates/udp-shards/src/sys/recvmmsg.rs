//! recvmmsg(2): many trains per system call, written into the buffers that the caller gets.

use std::cell::UnsafeCell;
use std::os::fd::{AsFd, AsRawFd};
use std::{fmt, io, ptr};

use bytes::BytesMut;

use super::address::RawAddress;
use super::cmsg::Control;
use crate::Received;

/// Receive buffers and the headers that describe them to the kernel.
pub(crate) struct ReceiveSlots {
    buffers: Vec<BytesMut>,
    /// The metadata that the kernel writes. `headers` points into the cells; neither vector changes
    /// its length after `new`, so the pointers stay valid.
    details: Vec<Details>,
    headers: Vec<libc::mmsghdr>,
    slot_bytes: usize,
    /// The last call wrote the slots below `filled`; those below `taken` were handed out.
    filled: usize,
    taken: usize,
    /// The buffers of the slots from here on need no renewal.
    renewed_from: usize,
}

struct Details {
    vector: UnsafeCell<libc::iovec>,
    from: UnsafeCell<RawAddress>,
    control: UnsafeCell<Control>,
}

// SAFETY: the raw pointers in `headers` and `details` lead to memory that `self` owns.
unsafe impl Send for ReceiveSlots {}

impl ReceiveSlots {
    /// Creates one slot per buffer. Each buffer is empty and has room for `slot_bytes` bytes.
    pub(crate) fn new(buffers: Vec<BytesMut>, slot_bytes: usize) -> Self {
        let details: Vec<Details> = buffers.iter().map(|_| Details::empty()).collect();
        let headers = details.iter().map(Details::header).collect();
        let mut slots = Self {
            buffers,
            details,
            headers,
            slot_bytes,
            filled: 0,
            taken: 0,
            renewed_from: 0,
        };
        for index in 0..slots.buffers.len() {
            slots.offer(index);
        }
        slots
    }

    /// Returns the number of trains that are received and not yet taken.
    pub(crate) fn len(&self) -> usize {
        self.filled - self.taken
    }

    /// Calls `renew` for each used slot, then receives into all slots. `renew` leaves an empty
    /// buffer with room for a slot's bytes and returns true if the buffer is at the start of its
    /// block; otherwise the next call renews it again.
    ///
    /// Trains of the last call that were not taken are lost.
    pub(crate) fn receive(
        &mut self,
        socket: &impl AsFd,
        mut renew: impl FnMut(&mut BytesMut) -> bool,
    ) -> io::Result<usize> {
        self.taken = self.filled;
        let used = self.renewed_from.max(self.filled);
        self.renewed_from = used;
        let mut renewed_from = 0;
        for index in 0..used {
            if let Some(buffer) = self.buffers.get_mut(index)
                && !renew(buffer)
            {
                renewed_from = index + 1;
            }
            self.offer(index);
        }
        self.renewed_from = renewed_from;
        self.filled = 0;
        self.taken = 0;
        // SAFETY: each header points to a name, an I/O vector and a control buffer in
        // `self.details`, which are writable for the lengths given, and each vector to the unused
        // capacity of a buffer in `self.buffers`, all set by `offer`. No other reference to them
        // exists during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                0,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// Takes the next train out of its slot.
    pub(crate) fn next_train(&mut self) -> Option<Received> {
        while self.taken < self.filled {
            let index = self.taken;
            self.taken += 1;
            let (header, details) = (self.headers.get(index)?, self.details.get(index)?);
            let buffer = self.buffers.get_mut(index)?;
            // SAFETY: the kernel wrote it in `receive` and no longer writes to it.
            let from = unsafe { &*details.from.get() };
            // SAFETY: as above.
            let control = unsafe { &*details.control.get() };

            let bytes = header.msg_len as usize;
            // SAFETY: the buffer was empty, and the kernel wrote `bytes` bytes into its capacity.
            unsafe { buffer.set_len(bytes) };
            let train = if bytes == 0 {
                BytesMut::new()
            } else {
                buffer.split_to(bytes)
            };
            // Always an address on the IPv4 and IPv6 sockets that this crate binds.
            let Some(from) = from.get() else { continue };
            let ancillary = control.read(header.msg_hdr.msg_controllen as _);
            return Some(Received {
                from,
                local_ip: ancillary.local_ip,
                segment_size: ancillary.segment_size.unwrap_or(bytes),
                buffer: train,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            });
        }
        None
    }

    /// Points a slot at its buffer and restores the lengths, which the kernel overwrites on each call.
    fn offer(&mut self, index: usize) {
        let (Some(header), Some(details), Some(buffer)) = (
            self.headers.get_mut(index),
            self.details.get(index),
            self.buffers.get_mut(index),
        ) else {
            return;
        };
        debug_assert!(
            buffer.is_empty(),
            "bytes in the slot would count as received"
        );
        let room = buffer.spare_capacity_mut();
        let vector = libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len().min(self.slot_bytes),
        };
        // SAFETY: no reference into the cell exists, and no system call is using it.
        unsafe { details.vector.get().write(vector) };
        header.msg_hdr.msg_namelen = size_of::<RawAddress>() as libc::socklen_t;
        header.msg_hdr.msg_controllen = Control::CAPACITY as _;
    }
}

impl Details {
    fn empty() -> Self {
        Self {
            vector: UnsafeCell::new(libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            }),
            from: UnsafeCell::new(RawAddress::EMPTY),
            control: UnsafeCell::new(Control::EMPTY),
        }
    }

    fn header(&self) -> libc::mmsghdr {
        // SAFETY: all zeros are a valid header: null pointers and lengths of 0.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = self.from.get().cast();
        header.msg_hdr.msg_iov = self.vector.get();
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = self.control.get().cast();
        header
    }
}

impl fmt::Debug for ReceiveSlots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReceiveSlots")
            .field("slots", &self.buffers.len())
            .field("filled", &self.filled)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}
