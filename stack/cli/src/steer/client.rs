//! The other end of a stack's control socket.

use super::unreachable;
use crate::{FAILED, Failure};
use corelane::control::{Answer, CoreShare};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the stack may take: it gives a worker ten seconds, and may be serving another client before us.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer, bytes: some hundred for each of 64 workers.
const LONGEST: u64 = 64 * 1024;

/// A connection to a stack.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let stream = open(path).map_err(|errno| {
            unreachable(match errno {
                Errno::NOENT => {
                    format!("there is no control socket {shown}: start the stack with control.socket set to that path")
                }
                Errno::CONNREFUSED => {
                    format!("nobody listens at {shown}: the stack that made it has ended; start it again")
                }
                Errno::ACCESS | Errno::PERM => {
                    format!("{shown} is not for you: run this as the user that runs the stack, or as root")
                }
                Errno::AGAIN => format!("{shown} does not answer: the stack has too many clients, or stands still"),
                errno => format!("{shown} cannot be connected to: {}", io::Error::from(errno)),
            })
        })?;
        Ok(Self { stream: BufReader::new(stream), path: path.into() })
    }

    /// Asks for one thing. What the stack refuses is a failure in the stack's own words.
    pub(super) fn ask(&mut self, request: &str) -> Result<Vec<CoreShare>, Failure> {
        let mut line = Vec::new();
        // Who is cut off while asking is told why, so that the answer counts and not how the asking went.
        let sent = self.stream.get_mut().write_all(format!("{request}\n").as_bytes());
        let heard = Read::take(&mut self.stream, LONGEST).read_until(b'\n', &mut line);
        if line.is_empty() {
            return Err(self.silence(sent.and(heard.map(drop)).err()));
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Workers(shares)) => Ok(shares),
            Ok(Answer::Error(sentence)) => Err(Failure::new(FAILED, sentence)),
            Err(_) => Err(unreachable(format!(
                "what {} answers is not understood: this command and the stack should be of one version",
                self.path.display()
            ))),
        }
    }

    /// Nothing came.
    fn silence(&self, error: Option<io::Error>) -> Failure {
        let shown = self.path.display();
        match error {
            Some(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Failure::new(FAILED, format!("{shown} did not answer within {} s", PATIENCE.as_secs()))
            }
            Some(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Failure::new(FAILED, format!("{shown} cannot be asked: {error}"))
            }
            _ => Failure::new(FAILED, format!("the stack at {shown} has ended, or has ended the connection")),
        }
    }
}

/// A connection on which nothing takes longer than [`PATIENCE`], connecting included.
fn open(path: &Path) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}
