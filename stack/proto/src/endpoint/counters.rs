//! Everything that an endpoint counts; every frame that is dropped has its reason here.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one endpoint since its start.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            /// Frames that the parser refused, by [`ParseError`](crate::wire::ParseError).
            pub parse: ParseCounters,
        }

        impl Counters {
            /// Every counter with its name, those of the parser last.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name),)*].into_iter().chain(self.parse.iter())
            }

            /// Adds another endpoint's counters to these.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                self.parse.add(&other.parse);
            }
        }
    };
}

counters! {
    /// Frames given to the endpoint.
    frames_in,
    /// Frames that it gave to be sent.
    frames_out,
    /// TCP segments received that were well-formed and for one of our addresses.
    segments_in,
    /// TCP segments sent, retransmissions included.
    segments_out,
    /// Payload bytes received and taken into a connection, once each.
    bytes_in,
    /// Payload bytes sent, once each.
    bytes_out,
    /// Segments sent again.
    retransmits,
    /// Retransmission time-outs that fired.
    rto_fired,
    /// Times that a segment was sent again as often as R1 says (RFC 9293 3.8.3).
    delivery_troubles,
    /// Times fast recovery began.
    fast_retransmits,
    /// Payload bytes sent again.
    bytes_resent,
    /// Probes of the tail that were due (RFC 8985 7).
    tail_probes,
    /// Segments that a peer received twice, by its D-SACKs (RFC 2883): sent again needlessly, or doubled on the way.
    duplicates_told,
    /// Recoveries that proved needless and were undone.
    recoveries_undone,
    /// Connections opened by us that became open.
    opened_active,
    /// Connections that came in and became open.
    opened_passive,
    /// Connections that ended.
    closed,
    /// Connections that ended by the peer's reset.
    closed_by_reset,
    /// Connections given up because the peer was silent.
    closed_by_timeout,
    /// Connections that ended because their address was taken away.
    closed_by_address_removed,
    /// Listeners that ended because their address was taken away.
    listeners_removed,
    /// RSTs sent.
    resets_out,
    /// Challenge ACKs sent (RFC 5961).
    challenge_acks,
    /// Challenge ACKs that were not sent because the connection or the endpoint was at its limit.
    challenge_acks_limited,
    /// ARP packets received for one of our addresses.
    arp_in,
    /// ARP requests and replies sent.
    arp_out,
    /// ICMP echo requests answered.
    echo_replies,
    /// ICMP errors that named a connection of ours.
    icmp_errors_in,
    /// ARP packets in which somebody else claims one of our addresses (RFC 5227 2.4).
    address_conflicts,
    /// Dropped: an ICMP error that quotes a segment that is not in flight (RFC 5927 4.1).
    dropped_icmp_forged,
    /// Dropped: not for our Ethernet address.
    dropped_other_mac,
    /// Dropped: not for one of our addresses.
    dropped_other_address,
    /// Dropped: for an address of ours on another interface than it came by, where that is wanted
    /// ([`EndpointConfig::strong_host`](super::EndpointConfig::strong_host)).
    dropped_other_interface,
    /// Dropped: a kind of packet that this endpoint does not handle.
    dropped_unhandled,
    /// Dropped: no listener and no connection; answered by RST where the RFC says so.
    dropped_no_listener,
    /// Dropped: from an address that no other host of the link can have, its broadcast address or one of ours.
    dropped_martian,
    /// Dropped: it came by a source route that is not wanted here, or that cannot be gone back.
    dropped_source_route,
    /// Dropped: a connection request with a source route for which there was no room.
    dropped_routes_full,
    /// Packets of flows that belong to another core's endpoint, given back to be handed over.
    astray,
    /// Dropped: packets of another core's flows, when too many waited to be handed over.
    dropped_astray,
    /// Connections that were not opened because every local port is in use towards their remote.
    connects_without_port,
    /// Dropped: it came in the quiet time after the start.
    dropped_quiet_time,
    /// Half-open connections that ended because no SYN-ACK had an answer.
    half_open_expired,
    /// Dropped: the SYN queue was full.
    dropped_syn_queue_full,
    /// SYNs whose window scale was above 14; it counted as 14 (RFC 7323 2.3).
    window_scales_too_large,
    /// SYNs sent with data (Fast Open).
    fast_open_sent,
    /// Connections opened by a SYN with a good Fast Open cookie.
    fast_open_accepted,
    /// SYNs with a Fast Open cookie that we did not make, or not lately; they got a new one.
    fast_open_bad,
    /// SYNs with a good Fast Open cookie that had to wait for their handshake: too many were pending.
    fast_open_limited,
    /// SYN-ACKs sent with a cookie.
    syn_cookies_sent,
    /// Connections opened by a cookie that came back.
    syn_cookies_accepted,
    /// ACKs to a listener that has sent cookies, without one that is good; answered by RST.
    syn_cookies_bad,
    /// Dropped: the accept queue was full.
    dropped_accept_queue_full,
    /// Dropped: the connection table was full.
    dropped_table_full,
    /// Dropped: a segment outside of the window (RFC 9293 3.10.7.4, first step), answered by an ACK.
    dropped_unacceptable,
    /// Dropped: an old timestamp (PAWS, RFC 7323 5).
    dropped_paws,
    /// Dropped: no timestamp where both sides have agreed to send one (RFC 7323 3.2).
    dropped_no_timestamp,
    /// Dropped: an ACK of something never sent, or too old (RFC 5961 5).
    dropped_bad_ack,
    /// Dropped: a segment without ACK where one must be.
    dropped_no_ack,
    /// Dropped: data that was received before.
    dropped_duplicate,
    /// Segments that brought other bytes for a place whose bytes had come; those that came first stay.
    overlap_conflicts,
    /// Connections given up because their peer kept its window closed while frames were scarce.
    hoarders_closed,
    /// Dropped: data after the application had closed; answered by RST.
    dropped_after_close,
    /// Dropped: out-of-order data that found no room.
    dropped_out_of_order_full,
    /// Dropped: data beyond the receive buffer.
    dropped_no_buffer,
    /// Dropped: any other segment that the state does not take.
    dropped_by_state,
    /// Replies that were not sent because the limit per second was reached.
    replies_limited,
    /// Replies and segments that were not sent for want of a frame.
    no_frame,
    /// Times a segment was not sent because its neighbour is not known yet.
    unresolved,
    /// Replies that waited for their neighbour and were dropped: it does not answer, or newer ones needed the room.
    dropped_unresolved,
    /// Times that another stack was not told of an address that is wanted, for too many were. It is told later.
    asks_limited,
    /// Packets that were not sent because no route leads to their destination.
    dropped_no_route,
    /// Packets that were not sent because the link is down.
    dropped_link_down,
    /// Connections in TIME-WAIT that gave way to newer ones.
    time_wait_evicted,
    /// Payloads that were moved or copied inside their memory before sending.
    payload_moves,
}

/// Frames refused by the parser, one counter for each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParseCounters([u64; crate::wire::ParseError::ALL.len()]);

impl ParseCounters {
    /// Counts one.
    pub fn count(&mut self, error: crate::wire::ParseError) {
        self.0[error as usize] += 1;
    }

    /// How often it was counted.
    pub fn of(&self, error: crate::wire::ParseError) -> u64 {
        self.0[error as usize]
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        crate::wire::ParseError::ALL.iter().map(|error| (error.name(), self.of(*error)))
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_two_has_both() {
        let mut sum = Counters { frames_in: 2, ..Counters::default() };
        sum.parse.count(crate::wire::ParseError::ALL[0]);
        sum.add(&sum.clone());
        assert_eq!(sum.frames_in, 4);
        assert_eq!(sum.parse.of(crate::wire::ParseError::ALL[0]), 2);
        assert!(sum.iter().any(|(name, n)| name == "frames_in" && n == 4));
    }
}
