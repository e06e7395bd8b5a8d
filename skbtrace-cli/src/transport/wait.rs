//! Waiting for records without using any CPU.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Becomes ready when any of several buffers has records.
#[derive(Debug)]
pub struct Waiter {
    ready: AsyncFd<OwnedFd>,
}

impl Waiter {
    /// Waits for descriptors, which must stay open as long as this lives.
    pub fn new(descriptors: &[RawFd]) -> io::Result<Self> {
        // SAFETY: no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        for descriptor in descriptors {
            let mut event = libc::epoll_event {
                // Level triggered would report records that are being held back again and again.
                events: (libc::EPOLLIN | libc::EPOLLET).cast_unsigned(),
                u64: 0,
            };
            // SAFETY: a valid descriptor and a whole epoll_event.
            let result = unsafe {
                libc::epoll_ctl(
                    epoll.as_raw_fd(),
                    libc::EPOLL_CTL_ADD,
                    *descriptor,
                    &raw mut event,
                )
            };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the descriptor is owned by the AsyncFd, which gives it back before closing it.
        let ready = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }
            .map_err(io::Error::from)?;
        Ok(Self { ready })
    }

    /// Waits until there may be records; they are to be drained before the next call.
    pub async fn ready(&self) -> io::Result<()> {
        let mut guard = self.ready.readable().await?;
        // Takes the edges off the inner epoll, so that the next record makes a new one.
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: room for as many events as are asked for; does not wait.
        unsafe {
            libc::epoll_wait(guard.get_inner().as_raw_fd(), events.as_mut_ptr(), 16, 0);
        }
        guard.clear_ready();
        Ok(())
    }
}
