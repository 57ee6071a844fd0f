//! The control socket: how an operator's command steers a stack that runs, as a [`Control`] does from inside.
//!
//! It is a UNIX stream socket that only its owner may use. A thread of its own serves it, without any capability where
//! the workers drop theirs; neither packets nor the main thread wait for it. A line is a request, and is answered by a
//! line of JSON, an [`Answer`]:
//!
//! ```text
//! shares        how the cores share new connections, and what each has
//! drain N       give worker N no new connections
//! add N         give worker N its share of them again
//! rebalance     move a part of the busiest worker's share to the idlest one
//! takeover V    hand over to this client, a process that starts; what follows is another conversation (`control/takeover.rs`)
//! ```

mod clients;
mod protocol;

pub use protocol::Answer;

use super::{Control, ControlError};
use crate::runtime::StopHandle;
use clients::Clients;
use protocol::Ask;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Who may use the socket: its owner, and root.
const MODE: u32 = 0o600;

/// Clients that have connected and are not accepted yet, at most.
const BACKLOG: i32 = 16;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody else serves it.
    #[error(
        "a process that runs has the control socket {}: stop that one, or set another control.socket", path.display()
    )]
    Live {
        /// Where.
        path: PathBuf,
    },
    /// It would have to be removed, and nobody said so.
    #[error("{} is there and is no socket: remove it, or set another control.socket", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
    },
    /// The folder is not there.
    #[error(
        "the control socket {} cannot be made, for its folder is not there: make it, or set RuntimeDirectory= in the systemd unit",
        path.display()
    )]
    NoFolder {
        /// Where.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error(
        "the control socket {} cannot be made ({error}): set a control.socket in a folder that this process may write to",
        path.display()
    )]
    Refused {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
}

/// The socket while it is served. Dropping it ends that and removes the file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    file: SocketFile,
    /// The thread ends when this is closed.
    running: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// The file that a socket is, for as long as it is ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode. Whoever comes after us may have put another one there.
    identity: Option<(u64, u64)>,
}

impl ControlSocket {
    /// Serves `path` until the value is dropped; nothing, if the path is empty. `prepare` runs on the thread that serves,
    /// before the first client: when it fails, nobody is served. With `replace`, a process that runs and serves the path
    /// is found there by nobody any more.
    ///
    /// # Errors
    /// [`SocketError`]; nothing has changed then.
    pub(crate) fn serve<E: std::fmt::Display>(
        path: &str,
        control: &Control,
        stop: &StopHandle,
        replace: bool,
        prepare: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> Result<Option<Self>, SocketError> {
        if path.is_empty() {
            return Ok(None);
        }
        let path = Path::new(path);
        let refused = |error| SocketError::Refused { path: path.into(), error };
        let (listener, file) = if replace { open_in_place(path)? } else { open(path)? };
        let (running, ended) = UnixStream::pair().map_err(refused)?;
        let (control, stop) = (control.clone(), stop.clone());
        let serve = move || match prepare() {
            Ok(()) => Clients::new(listener, ended)
                .serve(|ask| answer(&control, &stop, ask), |successor| succeed(&control, &stop, successor)),
            Err(error) => tracing::error!(%error, "the control socket is not served"),
        };
        let thread = std::thread::Builder::new().name("control-socket".into()).spawn(serve).map_err(refused)?;
        tracing::info!(path = %path.display(), "the control socket is open");
        Ok(Some(Self { file, running: Some(running), thread: Some(thread) }))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Nobody new should find it from here on.
        self.file.remove();
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell, not even by a panic.
            let _ = thread.join();
        }
    }
}

/// What the stack says to one request.
fn answer(control: &Control, stop: &StopHandle, ask: Ask) -> Answer {
    // Once it stops, the main thread hears no requests any more.
    let asked = if stop.is_stopped() { Err(ControlError::NotRunning) } else { control.ask(ask) };
    match asked {
        Ok(shares) => Answer::Workers(shares),
        Err(ControlError::NotRunning) => Answer::Error("the stack is starting or stopping: try again later".into()),
        Err(error) => Answer::Error(error.to_string()),
    }
}

/// Gives the main thread a process that takes over.
fn succeed(control: &Control, stop: &StopHandle, successor: UnixStream) -> Result<(), (UnixStream, Answer)> {
    let given = if stop.is_stopped() { Err(successor) } else { control.succeed(successor) };
    given.map_err(|stream| (stream, Answer::Error("the stack is starting or stopping: try again later".into())))
}

/// Makes the socket in the place of that of a process that runs, without a moment in which there is none.
fn open_in_place(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let (listener, mut file) = open(&beside)?;
    std::fs::rename(&beside, path).map_err(|error| SocketError::Refused { path: path.into(), error })?;
    file.path = path.into();
    Ok((listener, file))
}

/// Makes the socket, and takes the place of one that a dead process has left.
pub(crate) fn open(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let refused = |error: io::Error| SocketError::Refused { path: path.into(), error };
    let address = SocketAddrUnix::new(path).map_err(|errno| refused(errno.into()))?;
    let socket = new_socket().map_err(refused)?;
    let mut bound = bind(&socket, &address);
    if bound == Err(Errno::ADDRINUSE) {
        remove_stale(path, &address)?;
        bound = bind(&socket, &address);
    }
    bound.map_err(|errno| match errno {
        Errno::NOENT => SocketError::NoFolder { path: path.into() },
        // Somebody was faster.
        Errno::ADDRINUSE => SocketError::Live { path: path.into() },
        errno => refused(errno.into()),
    })?;
    let file = SocketFile { path: path.into(), identity: path.symlink_metadata().ok().as_ref().map(identity) };
    listen(&socket, BACKLOG).map_err(|errno| refused(errno.into()))?;
    Ok((UnixListener::from(socket), file))
}

/// A socket whose file will have [`MODE`] from its first moment on: `bind` takes the mode of the socket itself, less the
/// process's umask.
fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = File::from(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?);
    socket.set_permissions(Permissions::from_mode(MODE))?;
    Ok(socket.into())
}

/// Removes what a dead process has left, and nothing else.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let refused = |error: io::Error| SocketError::Refused { path: path.into(), error };
    let is_socket = match path.symlink_metadata() {
        Ok(there) => there.file_type().is_socket(),
        // Its process has just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    if !is_socket {
        return Err(SocketError::Occupied { path: path.into() });
    }
    let probe = new_socket().map_err(refused)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(error)),
            _ => Ok(()),
        },
        Err(Errno::NOENT) => Ok(()),
        // One that is too busy to take us lives as well.
        Ok(()) | Err(Errno::AGAIN) => Err(SocketError::Live { path: path.into() }),
        Err(errno) => Err(refused(errno.into())),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl SocketFile {
    fn remove(&mut self) {
        let there = self.path.symlink_metadata().ok().as_ref().map(identity);
        if self.identity.take().is_none_or(|ours| there != Some(ours)) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            // The folder may be one that only the capabilities of the start could write to.
            tracing::warn!(%error, path = %self.path.display(), "the control socket stays behind; the next start removes it");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests;
