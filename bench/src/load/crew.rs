//! The sessions of one core, one for each set of connections, as if they were one. Connections are numbered through.

use super::counts::Counts;
use super::session::{Action, Keep, Session};
use crate::transport::ErrorKind;
use crate::workload::Output;
use std::net::SocketAddr;

/// One set of connections.
#[derive(Debug)]
struct Member {
    session: Session,
    target: SocketAddr,
    /// The number of its first connection.
    first: usize,
}

/// See the [module](self). The calls are those of [`Session`].
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
    /// Whose turn it is, so that none starves the others.
    turn: usize,
}

impl Crew {
    /// The sessions, each with the server it asks.
    pub fn new(sessions: Vec<(Session, SocketAddr)>) -> Self {
        let mut first = 0;
        let members = sessions
            .into_iter()
            .map(|(session, target)| {
                let member = Member { session, target, first };
                first += member.session.connections();
                member
            })
            .collect();
        Self { members, turn: 0 }
    }

    /// Who has connection `conn`, and its number there.
    #[inline]
    fn of(&mut self, conn: usize) -> (&mut Session, usize) {
        let at = self.place(conn);
        let member = &mut self.members[at];
        (&mut member.session, conn - member.first)
    }

    #[inline]
    fn place(&self, conn: usize) -> usize {
        if self.members.len() == 1 { 0 } else { self.members.partition_point(|member| member.first <= conn) - 1 }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.members.iter().map(|member| member.session.connections()).sum()
    }

    /// Which server the connection goes to.
    pub fn target(&self, conn: usize) -> SocketAddr {
        self.members[self.place(conn)].target
    }

    /// See [`Session::closes_by_reset`].
    pub fn closes_by_reset(&self, conn: usize) -> bool {
        self.members[self.place(conn)].session.closes_by_reset()
    }

    /// See [`Session::poll_action`].
    pub fn poll_action(&mut self, now: u64) -> Option<Action> {
        let count = self.members.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let member = &mut self.members[at];
            if let Some(action) = member.session.poll_action(now) {
                self.turn = (at + 1) % count;
                let first = member.first;
                return Some(match action {
                    Action::Connect(conn) => Action::Connect(first + conn),
                    Action::Send(conn) => Action::Send(first + conn),
                    Action::Read(conn) => Action::Read(first + conn),
                    Action::Abort(conn) => Action::Abort(first + conn),
                });
            }
        }
        None
    }

    /// See [`Session::poll_deadline`].
    pub fn poll_deadline(&self) -> u64 {
        self.members.iter().map(|member| member.session.poll_deadline()).min().unwrap_or(u64::MAX)
    }

    /// Whether all are done.
    pub fn is_done(&self) -> bool {
        self.members.iter().all(|member| member.session.is_done())
    }

    /// See [`Session::on_connected`].
    pub fn on_connected(&mut self, conn: usize, now: u64) -> Keep {
        let (session, conn) = self.of(conn);
        session.on_connected(conn, now)
    }

    /// See [`Session::wants_write`].
    pub fn wants_write(&self, conn: usize) -> bool {
        let member = &self.members[self.place(conn)];
        member.session.wants_write(conn - member.first)
    }

    /// See [`Session::read_room`].
    pub fn read_room(&self, conn: usize, now: u64) -> usize {
        let member = &self.members[self.place(conn)];
        member.session.read_room(conn - member.first, now)
    }

    /// See [`Session::is_read_paused`].
    pub fn is_read_paused(&self, conn: usize) -> bool {
        let member = &self.members[self.place(conn)];
        member.session.is_read_paused(conn - member.first)
    }

    /// See [`Session::on_writable`].
    pub fn on_writable(&mut self, conn: usize, out: &mut dyn Output, now: u64) -> Keep {
        let (session, conn) = self.of(conn);
        session.on_writable(conn, out, now)
    }

    /// See [`Session::on_bytes`].
    pub fn on_bytes(&mut self, conn: usize, input: &[u8], now: u64) -> Keep {
        let (session, conn) = self.of(conn);
        session.on_bytes(conn, input, now)
    }

    /// See [`Session::on_eof`].
    pub fn on_eof(&mut self, conn: usize, now: u64) {
        let (session, conn) = self.of(conn);
        session.on_eof(conn, now);
    }

    /// See [`Session::on_closed`].
    pub fn on_closed(&mut self, conn: usize, now: u64, kind: ErrorKind) {
        let (session, conn) = self.of(conn);
        session.on_closed(conn, now, kind);
    }

    /// See [`Session::interrupt`].
    pub fn interrupt(&mut self, now: u64) {
        for member in &mut self.members {
            member.session.interrupt(now);
        }
    }

    /// What each counted, in their order.
    pub fn finish(self) -> Vec<Counts> {
        self.members.into_iter().map(|member| member.session.finish()).collect()
    }
}
