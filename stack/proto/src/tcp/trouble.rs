//! What goes wrong on the way without ending a connection (RFC 9293 3.9.1.8).

/// A soft error: the connection goes on trying, and the application may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trouble {
    /// R1 has been reached: a segment was sent again as often as `r1_retransmits` says, and nothing came back
    /// (RFC 9293 3.8.3).
    Retransmitting,
    /// Somebody on the way says that the peer can't be reached (ICMP, or a neighbour that does not answer).
    Unreachable(Unreachable),
    /// The time to live ran out on the way, or fragments got lost.
    TimeExceeded,
    /// A field of our header was refused.
    ParameterProblem,
}

/// What could not be reached (RFC 792, RFC 4443).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unreachable {
    /// The network.
    Network,
    /// The host.
    Host,
    /// The host does not speak TCP.
    Protocol,
    /// The host has nobody at the port.
    Port,
    /// The source route failed.
    SourceRoute,
    /// Somebody forbids it.
    Prohibited,
}

impl Trouble {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Retransmitting,
        Self::Unreachable(Unreachable::Network),
        Self::Unreachable(Unreachable::Host),
        Self::Unreachable(Unreachable::Protocol),
        Self::Unreachable(Unreachable::Port),
        Self::Unreachable(Unreachable::SourceRoute),
        Self::Unreachable(Unreachable::Prohibited),
        Self::TimeExceeded,
        Self::ParameterProblem,
    ];

    /// A word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retransmitting => "retransmitting",
            Self::Unreachable(Unreachable::Network) => "network_unreachable",
            Self::Unreachable(Unreachable::Host) => "host_unreachable",
            Self::Unreachable(Unreachable::Protocol) => "protocol_unreachable",
            Self::Unreachable(Unreachable::Port) => "port_unreachable",
            Self::Unreachable(Unreachable::SourceRoute) => "source_route_failed",
            Self::Unreachable(Unreachable::Prohibited) => "prohibited",
            Self::TimeExceeded => "time_exceeded",
            Self::ParameterProblem => "parameter_problem",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Trouble::ALL.iter().map(|trouble| trouble.name()).collect();
        assert_eq!(names.len(), Trouble::ALL.len());
    }
}
