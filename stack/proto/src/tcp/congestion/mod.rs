//! Congestion control: how many bytes may be in flight. One file an algorithm; an inline enum, no box a connection.

pub mod newreno;

use newreno::NewReno;

/// What an algorithm is told, and what it answers. It never sees a sequence number.
pub trait CongestionControl {
    /// The congestion window, bytes.
    fn cwnd(&self) -> u32;
    /// The slow-start threshold, bytes.
    fn ssthresh(&self) -> u32;
    /// `bytes` were acknowledged outside of recovery; `limited` when the window was what held the sender back.
    fn on_ack(&mut self, bytes: u32, limited: bool);
    /// Duplicate ACKs show a loss while `in_flight` bytes were outstanding: fast recovery begins.
    fn on_loss(&mut self, in_flight: u32);
    /// In fast recovery, another duplicate ACK.
    fn on_duplicate(&mut self);
    /// In fast recovery, a partial ACK of `bytes`.
    fn on_partial_ack(&mut self, bytes: u32);
    /// Fast recovery is over with `in_flight` bytes outstanding.
    fn on_recovered(&mut self, in_flight: u32);
    /// The retransmission timer fired while `in_flight` bytes were outstanding, for the first time if `first`.
    fn on_time_out(&mut self, in_flight: u32, first: bool);
    /// Nothing was sent for longer than a retransmission time-out (RFC 5681 4.1).
    fn on_idle(&mut self);
    /// The segment size has changed.
    fn set_mss(&mut self, mss: u16);
}

/// The algorithms.
#[derive(Clone, Copy, Debug)]
pub enum Congestion {
    /// RFC 5681 and RFC 6582.
    NewReno(NewReno),
}

macro_rules! each {
    ($self:ident, $algorithm:ident => $call:expr) => {
        match $self {
            Congestion::NewReno($algorithm) => $call,
        }
    };
}

impl CongestionControl for Congestion {
    fn cwnd(&self) -> u32 {
        each!(self, a => a.cwnd())
    }

    fn ssthresh(&self) -> u32 {
        each!(self, a => a.ssthresh())
    }

    fn on_ack(&mut self, bytes: u32, limited: bool) {
        each!(self, a => a.on_ack(bytes, limited));
    }

    fn on_loss(&mut self, in_flight: u32) {
        each!(self, a => a.on_loss(in_flight));
    }

    fn on_duplicate(&mut self) {
        each!(self, a => a.on_duplicate());
    }

    fn on_partial_ack(&mut self, bytes: u32) {
        each!(self, a => a.on_partial_ack(bytes));
    }

    fn on_recovered(&mut self, in_flight: u32) {
        each!(self, a => a.on_recovered(in_flight));
    }

    fn on_time_out(&mut self, in_flight: u32, first: bool) {
        each!(self, a => a.on_time_out(in_flight, first));
    }

    fn on_idle(&mut self) {
        each!(self, a => a.on_idle());
    }

    fn set_mss(&mut self, mss: u16) {
        each!(self, a => a.set_mss(mss));
    }
}
