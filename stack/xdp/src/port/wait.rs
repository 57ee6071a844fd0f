//! Sleeping until there is something to do.

use std::ptr;
use std::time::Duration;

use super::*;

/// How long to sleep at most while frames of other cores are with the kernel: nothing tells of a completion.
const COMPLETION_PAUSE: Duration = Duration::from_millis(1);

impl<R: Rings> Port<R> {
    /// Sleeps in `ppoll(2)` until a packet is there or another core has something for this one (true), or `timeout` is
    /// over or a signal came (false). Without a timeout it sleeps for as long as it takes. While this core has frames of
    /// others to complete, it sleeps for a millisecond at most.
    ///
    /// What is true may be nothing in the end: the next turn shows.
    ///
    /// # Errors
    ///
    /// What `ppoll(2)` says, other than EINTR.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.flush();
        let pause = (self.lent.outstanding > 0).then_some(COMPLETION_PAUSE);
        let timeout = timeout.into_iter().chain(pause).min();
        self.bell.doorbell.lie_down();
        let ready = if self.is_ready() { Ok(true) } else { self.sleep(timeout) };
        self.bell.doorbell.get_up();
        ready
    }

    /// Whether there is something to take, without a system call.
    fn is_ready(&mut self) -> bool {
        self.inboxes.iter_mut().any(|inbox| !inbox.is_empty())
            || self.sockets.iter_mut().any(|socket| socket.rings.is_ready())
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        if self.poll.is_empty() {
            return Ok(false);
        }
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        let count = self.poll.len() as libc::nfds_t;
        // SAFETY: `count` `pollfd`s and, unless null, one `timespec`, which live until the call is over; no signal mask.
        let ready = unsafe { libc::ppoll(self.poll.as_mut_ptr(), count, limit, ptr::null()) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        // An error flag alone is no packet: the interface went away, say. `kick` reports that.
        let mut readable = self.poll.iter().filter(|poll| poll.revents & libc::POLLIN != 0).peekable();
        let any = readable.peek().is_some();
        if readable.any(|poll| poll.fd == self.bell.fd()) {
            self.bell.hush();
        }
        Ok(any)
    }
}
