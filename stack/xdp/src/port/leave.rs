//! Leaving an interface to another process while the frames live on.

use super::*;

impl<R: Rings> Port<R> {
    /// Closes this core's sockets. Its frames stay, and so does what other cores hand to it; nothing is received and sent any
    /// more. What is with the kernel stays counted as such and is lost: wait until everything sent has completed.
    ///
    /// The queues are not free yet: see [`free_queues`](Self::free_queues).
    pub fn close_sockets(&mut self) {
        self.left
            .extend(self.sockets.iter().filter(|socket| socket.is_owner).filter_map(|socket| socket.rings.kept_fd()));
        self.sockets.clear();
        self.routes.fill(Route::Left);
        self.poll.retain(|poll| poll.fd == self.bell.fd());
        self.first = 0;
    }

    /// Sets the queues free whose fill rings were this core's, for another process to bind. Every core must have called
    /// [`close_sockets`](Self::close_sockets) before, since a ring that is still mapped holds its queue.
    ///
    /// # Errors
    ///
    /// What `open(2)` and `dup3(2)` say.
    pub fn free_queues(&mut self) -> io::Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let nothing = std::fs::File::open("/dev/null")?;
        // libxdp keeps a descriptor of the queue's first socket with the UMEM, and closes it when the UMEM goes, which is
        // when the last frame has gone. The socket ends now: the number is made one of nothing, to be closed then.
        for fd in self.left.drain(..) {
            // SAFETY: `fd` was the first socket's, which the UMEM keeps open, and the region of the pool keeps the UMEM: the
            // number is nobody else's. What libxdp asks of it from here on are options, whose refusal it takes for none.
            if unsafe { libc::dup3(nothing.as_raw_fd(), fd, libc::O_CLOEXEC) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}
