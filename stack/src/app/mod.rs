//! Level 1: an application per core, called where the bytes lie.
//!
//! Everything here stays on its core: a worker makes its own [`App`], and nothing that it is lent is `Send`. Frames
//! and their numbers do not show; bytes are borrowed ([`Rx`]), owned ([`RxBuf`]) or to be sent ([`TxBuf`]).

mod conn;
mod core;
mod net;
mod rx;
mod states;
mod tx;

pub use self::core::Core;
pub use conn::Conn;
pub use rx::{Rx, RxBuf};
pub use tx::TxBuf;

pub(crate) use net::Net;
pub(crate) use rx::{Rest, Returns};
pub(crate) use states::{Entry, States};

use crate::Error;
use corelane_proto::Instant;
use corelane_proto::endpoint::CloseReason;
use corelane_proto::tcp::trouble::Trouble;
use std::any::Any;

/// An application on one core. One value of it serves all connections of that core; what belongs to one connection
/// is its [`State`](Self::State), which lies in the connection's slot.
///
/// The handlers run to completion and must not block: no packet moves on this core meanwhile. What a handler sends
/// leaves in the same turn, and carries the ACK of what it was called for.
///
/// ## Back-pressure
///
/// A handler that cannot take everything says so with [`Rx::consume`]: the rest stays in the stack, and shrinks the
/// window that the peer sees. It comes again through [`on_recv`](Self::on_recv) after the connection has become
/// writable (for a handler whose [`Conn::send_copy`] took less than it gave), after [`Conn::resume`] (for one that waits
/// for something else), and whenever more bytes come.
pub trait App: Sized {
    /// What belongs to one connection. It is made when the connection begins and comes back in
    /// [`on_closed`](Self::on_closed).
    type State;

    /// The core has started: the place to listen and to connect. An error stops the whole stack.
    fn on_start(&mut self, core: &mut Core<'_, Self::State>) -> Result<(), Error> {
        let _ = core;
        Ok(())
    }

    /// A connection came in.
    fn on_accept(&mut self, conn: &mut Conn<'_>) -> Self::State;

    /// A connection that [`Core::connect`] began is open.
    fn on_connect(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// Bytes came, in order. All of them are consumed when the handler returns, unless [`Rx::consume`] or
    /// [`Rx::detach`] said otherwise.
    fn on_recv(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, rx: &mut Rx<'_>);

    /// There is room again after a send that took less than it was given.
    fn on_writable(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// The peer has urgent data under way, or more of it (RFC 9293 3.8.5, RFC 6093). The bytes stay in the stream and come
    /// to [`on_recv`](Self::on_recv) in order; [`Conn::urgent_mark`] says where they end. New protocols should not use
    /// this: middleboxes and sockets do not agree on what it means.
    fn on_urgent(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = (conn, state);
    }

    /// The connection has trouble and goes on trying (RFC 9293 3.9.1.8): for a log line, or to give up early with
    /// [`Conn::abort`].
    fn on_trouble(&mut self, conn: &mut Conn<'_>, state: &mut Self::State, trouble: Trouble) {
        let _ = (conn, state, trouble);
    }

    /// The peer will send nothing more, and everything that it sent has been consumed. By default the connection is
    /// closed from this side too, after what is queued has been sent.
    fn on_peer_closed(&mut self, conn: &mut Conn<'_>, state: &mut Self::State) {
        let _ = state;
        conn.close();
    }

    /// The connection is over; so is a [`Core::connect`] that did not succeed.
    fn on_closed(&mut self, core: &mut Core<'_, Self::State>, state: Self::State, reason: CloseReason) {
        let _ = (core, state, reason);
    }

    /// Once a turn, after everything that came in has been delivered and before anything is sent.
    ///
    /// The answer says when to be called again at the latest: `None` when there is nothing to wait for but packets and
    /// TCP's own timers; `Some(core.now())` at once.
    fn on_turn(&mut self, core: &mut Core<'_, Self::State>) -> Option<Instant> {
        let _ = core;
        None
    }

    /// The core is drained, and this connection could go on on another one. Who allows that gives up `state`, as something
    /// that may be sent to another thread: the application there gets it in [`on_move_in`](Self::on_move_in), and nothing
    /// of the connection is left here; [`on_closed`](Self::on_closed) does not come. Who keeps the connection gives `state`
    /// back, as is done by default; it is asked again later.
    ///
    /// It is asked only while the connection is at rest: everything sent has been acknowledged, and the application has no
    /// bytes of it ([`Rx::detach`]). What it has not read goes with it. A connection that it uses here stays.
    ///
    /// ```
    /// use corelane::{App, Conn, Rx};
    /// use std::any::Any;
    ///
    /// /// Answers each line with its number.
    /// struct Numbers;
    ///
    /// impl App for Numbers {
    ///     type State = u64;
    ///
    ///     fn on_accept(&mut self, _: &mut Conn<'_>) -> u64 {
    ///         0
    ///     }
    ///
    ///     fn on_recv(&mut self, conn: &mut Conn<'_>, count: &mut u64, rx: &mut Rx<'_>) {
    ///         *count += rx.bytes().iter().filter(|byte| **byte == b'\n').count() as u64;
    ///         conn.send_copy(format!("{count}\n").as_bytes());
    ///     }
    ///
    ///     fn on_move_out(&mut self, _: &mut Conn<'_>, count: u64) -> Result<Box<dyn Any + Send>, u64> {
    ///         Ok(Box::new(count))
    ///     }
    ///
    ///     fn on_move_in(
    ///         &mut self,
    ///         _: &mut Conn<'_>,
    ///         baggage: Box<dyn Any + Send>,
    ///     ) -> Result<u64, Box<dyn Any + Send>> {
    ///         baggage.downcast().map(|count| *count)
    ///     }
    /// }
    /// ```
    fn on_move_out(&mut self, conn: &mut Conn<'_>, state: Self::State) -> Result<Box<dyn Any + Send>, Self::State> {
        let _ = conn;
        Err(state)
    }

    /// A connection has come from another core, with what the application there gave up in
    /// [`on_move_out`](Self::on_move_out). The answer is its state here.
    ///
    /// Who does not want it gives `baggage` back, as is done by default, and the connection returns to where it came from;
    /// if it was used here before that, it is reset. One that returns comes to this method too, where it came from: who does
    /// not take it then has it reset.
    fn on_move_in(
        &mut self,
        conn: &mut Conn<'_>,
        baggage: Box<dyn Any + Send>,
    ) -> Result<Self::State, Box<dyn Any + Send>> {
        let _ = conn;
        Err(baggage)
    }

    /// The core stops: the last call with the connections still open. They are then closed, and each comes to
    /// [`on_closed`](Self::on_closed).
    fn on_stop(&mut self, core: &mut Core<'_, Self::State>) {
        let _ = core;
    }
}
