//! Whoever is connected to the control socket: few at a time, and none of them can hold up the others or the stack.

use super::protocol::{self, Answer, Ask, LONGEST, Line};
use crate::clock::Clock;
use corelane_proto::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// Clients at one time. Who comes when there are so many is told so and goes.
pub(super) const MOST: usize = 8;

/// How long a client may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The least time between two requests of all clients together: each costs every worker a message.
const PACE: Duration = Duration::from_millis(5);

/// How long nobody is accepted after the kernel could not: it lacks descriptors or memory.
const BREATH: Duration = Duration::from_millis(100);

/// The socket with its clients.
#[derive(Debug)]
pub(super) struct Clients {
    listener: UnixListener,
    /// Closed at its other end when it is time to end.
    ended: UnixStream,
    clients: Vec<Client>,
    clock: Clock,
    pub(super) silence: Duration,
}

/// One that is connected.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// What has come and is not answered yet.
    bytes: Vec<u8>,
    /// Whether nothing more will come.
    at_end: bool,
    /// When it came, or was answered last.
    since: Instant,
    /// Whether it wants the place of this process.
    succeeds: bool,
}

impl Clients {
    /// `listener` does not block.
    pub(super) fn new(listener: UnixListener, ended: UnixStream) -> Self {
        Self { listener, ended, clients: Vec::new(), clock: Clock::new(), silence: SILENCE }
    }

    /// Answers by `answer` until the other end of `ended` is closed. Who wants to take over is given to `succeed`, and is no
    /// client any more.
    pub(super) fn serve(
        mut self,
        answer: impl Fn(Ask) -> Answer,
        succeed: impl Fn(UnixStream) -> Result<(), (UnixStream, Answer)>,
    ) {
        while let Some(ready) = self.wait() {
            let mut served = false;
            for (client, ready) in self.clients.iter_mut().zip(ready) {
                if ready && !client.has_line() {
                    client.receive();
                }
                // One each, so that none who asks much keeps the others waiting.
                if let Some(line) = client.poll_line() {
                    match protocol::read_line(&line) {
                        Ok(Line::Ask(ask)) => client.send(&answer(ask)),
                        Ok(Line::TakeOver) => client.succeeds = true,
                        Err(sentence) => client.send(&Answer::Error(sentence)),
                    }
                    client.since = self.clock.now();
                    served = true;
                }
            }
            for client in self.clients.extract_if(.., |client| client.succeeds) {
                let Client { stream, bytes, .. } = client;
                let refused = if !bytes.is_empty() {
                    Some((stream, Answer::Error("who takes over waits for the answer first".into())))
                } else if is_of_the_same_user(&stream) {
                    succeed(stream).err()
                } else {
                    Some((stream, Answer::Error("only the user that runs the stack, and root, may take over".into())))
                };
                if let Some((mut stream, answer)) = refused {
                    // Who does not read why goes without.
                    let _ = stream.write(&answer.to_line());
                }
            }
            self.sweep();
            self.accept();
            if served && self.is_over_within(PACE) {
                return;
            }
        }
    }

    /// Waits until there is something to do; says which clients have sent something. `None` when it is time to end.
    fn wait(&self) -> Option<Vec<bool>> {
        let now = self.clock.now();
        let due = |client: &Client| (client.since + self.silence).saturating_since(now);
        let longest = if self.clients.iter().any(Client::has_line) {
            Some(Duration::ZERO)
        } else {
            // A little later, so that it is surely due then.
            self.clients.iter().map(due).min().map(|due| due + Duration::from_millis(1))
        };
        let mut polled = vec![PollFd::new(&self.ended, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        polled.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
        match poll(&mut polled, longest.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                tracing::error!(error = %errno, "the control socket is not served any more");
                return None;
            }
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        (!ready[0]).then(|| ready[2..].to_vec())
    }

    /// Whether it is time to end, for which it waits as long as this.
    fn is_over_within(&self, longest: Duration) -> bool {
        let mut polled = [PollFd::new(&self.ended, PollFlags::IN)];
        // An interruption makes the pace a little faster.
        poll(&mut polled, Some(&timespec(longest))).is_ok_and(|ready| ready > 0)
    }

    /// Lets those go who have, and those who say nothing.
    fn sweep(&mut self) {
        let (now, silence) = (self.clock.now(), self.silence);
        self.clients.retain_mut(|client| {
            let silent = now >= client.since + silence;
            if silent {
                client.send(&Answer::Error(format!("nothing was asked for {} s: connect again", silence.as_secs())));
            }
            !silent && (!client.at_end || client.has_line())
        });
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.take(stream),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a client of the control socket could not be accepted");
                    // It would be ready again at once. The end is seen by whoever waits next.
                    self.is_over_within(BREATH);
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: UnixStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let mut client = Client { stream, bytes: Vec::new(), at_end: false, since: self.clock.now(), succeeds: false };
        if self.clients.len() < MOST {
            self.clients.push(client);
        } else {
            client.send(&Answer::Error(format!("{MOST} clients are connected already: try again later")));
        }
    }
}

impl Client {
    /// Whether a request is there, whole or too long or cut off by the end.
    fn has_line(&self) -> bool {
        self.bytes.contains(&b'\n') || self.bytes.len() > LONGEST || (self.at_end && !self.bytes.is_empty())
    }

    /// The next request, without its end of line. One that is too long is the last: where the next would begin is unknown.
    fn poll_line(&mut self) -> Option<Vec<u8>> {
        if !self.has_line() {
            return None;
        }
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(self.bytes.len()) > LONGEST {
            self.at_end = true;
            return Some(std::mem::take(&mut self.bytes));
        }
        let mut line: Vec<u8> = self.bytes.drain(..end.map_or(self.bytes.len(), |end| end + 1)).collect();
        line.pop_if(|byte| *byte == b'\n');
        Some(line)
    }

    /// Takes what has come, no more than a few requests.
    fn receive(&mut self) {
        let mut piece = [0; 4 * LONGEST];
        match self.stream.read(&mut piece) {
            Ok(0) => self.at_end = true,
            Ok(len) => self.bytes.extend_from_slice(&piece[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.leave(),
        }
    }

    /// Sends an answer. Who leaves so many unread that it does not fit is not served any more.
    fn send(&mut self, answer: &Answer) {
        let line = answer.to_line();
        if !matches!(self.stream.write(&line), Ok(len) if len == line.len()) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.bytes.clear();
        self.at_end = true;
    }
}

/// The file's mode says so already; this holds where somebody has changed it.
fn is_of_the_same_user(stream: &UnixStream) -> bool {
    let ours = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == ours)
}

fn timespec(duration: Duration) -> Timespec {
    // No duration here is longer than minutes.
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_its_answers_unread_is_not_served_any_more() {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut client =
            Client { stream, bytes: b"shares".to_vec(), at_end: false, since: Instant::ZERO, succeeds: false };
        let answer = Answer::Error("x".repeat(1000));
        let sent = (0..100_000).take_while(|_| {
            client.send(&answer);
            !client.at_end
        });
        assert!((10..100_000).contains(&sent.count()));
        assert!(!client.has_line() && client.poll_line().is_none());
        drop(theirs);
    }
}
