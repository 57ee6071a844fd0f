//! The eleven states and every legal transition, in one table (RFC 9293 3.3.2, figure 5).

/// State of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// No connection at all.
    Closed,
    /// Waiting for a connection request from any peer.
    Listen,
    /// Waiting for a matching connection request after having sent one.
    SynSent,
    /// Waiting for the ACK of our SYN after having both received and sent one.
    SynReceived,
    /// Open; data flows both ways.
    Established,
    /// Our FIN is sent and not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; waiting for the peer's.
    FinWait2,
    /// The peer's FIN has come; waiting for the application's close.
    CloseWait,
    /// Both FINs are sent, ours is not acknowledged.
    Closing,
    /// The peer closed first; waiting for the ACK of our FIN.
    LastAck,
    /// Waiting until the network has forgotten the connection.
    TimeWait,
}

/// What moves a connection from one state to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// The application listens.
    PassiveOpen,
    /// The application connects; a SYN goes out.
    ActiveOpen,
    /// An acceptable SYN without an ACK of ours.
    Syn,
    /// An acceptable SYN with the ACK of ours.
    SynAck,
    /// The ACK of our SYN, after the peer's SYN.
    AckOfSyn,
    /// The application closes its sending side.
    Close,
    /// The peer's FIN, with all data in front of it.
    Fin,
    /// The ACK of our FIN.
    AckOfFin,
    /// 2 MSL have passed.
    TimeWaitOver,
    /// An acceptable RST came to a connection that was passively opened and isn't open yet: back to LISTEN.
    ResetToListen,
    /// An acceptable RST, an abort, or a time-out that gives up.
    Kill,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 11] = [
        Self::PassiveOpen,
        Self::ActiveOpen,
        Self::Syn,
        Self::SynAck,
        Self::AckOfSyn,
        Self::Close,
        Self::Fin,
        Self::AckOfFin,
        Self::TimeWaitOver,
        Self::ResetToListen,
        Self::Kill,
    ];
}

impl State {
    /// Every state, in the order of RFC 9293.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// The name in the RFC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }

    /// The state after `event`; `None` when RFC 9293 knows no such transition.
    //= spec/rfc9293.txt#section-3.3.2
    //# A TCP connection progresses from one state to another in response to events.
    pub const fn after(self, event: Event) -> Option<Self> {
        use State::{
            CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent,
            TimeWait,
        };
        Some(match (self, event) {
            (Closed, Event::PassiveOpen) | (SynReceived, Event::ResetToListen) => Listen,
            (Closed | Listen, Event::ActiveOpen) => SynSent,
            (Listen | SynSent, Event::Syn) => SynReceived,
            (SynSent, Event::SynAck) | (SynReceived, Event::AckOfSyn) => Established,
            (SynReceived | Established, Event::Close) => FinWait1,
            (SynReceived | Established, Event::Fin) => CloseWait,
            (FinWait1, Event::Fin) => Closing,
            (FinWait1, Event::AckOfFin) => FinWait2,
            (FinWait2, Event::Fin) | (Closing, Event::AckOfFin) => TimeWait,
            (CloseWait, Event::Close) => LastAck,
            (Listen | SynSent, Event::Close)
            | (LastAck, Event::AckOfFin)
            | (TimeWait, Event::TimeWaitOver)
            | (_, Event::Kill) => Closed,
            _ => return None,
        })
    }

    /// Whether both sequence number spaces are known: every state from ESTABLISHED on (RFC 9293 3.4).
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived)
    }

    /// Whether data from the peer is still taken (RFC 9293 3.10.7.4, seventh step).
    pub const fn receives_data(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Whether the application may still hand over data (RFC 9293 3.10.2).
    pub const fn sends_data(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Established | Self::CloseWait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::string::String;

    #[test]
    fn every_state_and_event() {
        let mut table = String::new();
        for state in State::ALL {
            for event in Event::ALL {
                let next = state.after(event).map_or("-", State::name);
                writeln!(table, "{:<12} {:<13} {next}", state.name(), std::format!("{event:?}")).unwrap();
            }
        }
        snapbox::assert_data_eq!(table, snapbox::file!["state_table.txt"]);
    }

    #[test]
    fn a_normal_close_from_either_side() {
        let walk = |events: &[Event]| {
            events.iter().fold(State::Established, |state, event| state.after(*event).expect("a legal transition"))
        };
        assert_eq!(walk(&[Event::Close, Event::AckOfFin, Event::Fin, Event::TimeWaitOver]), State::Closed);
        assert_eq!(walk(&[Event::Close, Event::Fin, Event::AckOfFin]), State::TimeWait);
        assert_eq!(walk(&[Event::Fin, Event::Close, Event::AckOfFin]), State::Closed);
    }
}
