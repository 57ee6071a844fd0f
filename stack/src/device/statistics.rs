//! What a device counted.

/// Defines the struct and its list of names in one place.
macro_rules! statistics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a device counted since its start, in frames unless said otherwise. What a device cannot have stays 0.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Statistics {
            /// Each counter with its name, in the order of their declaration.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

statistics! {
    /// Received and handed out.
    rx_frames,
    /// Bytes of these.
    rx_bytes,
    /// Lost on receive: the receive ring was full. The worker is too slow, or the ring too small.
    rx_ring_full,
    /// Lost on receive: no frame was ready. The fill ring is too small, or the application holds too many frames.
    rx_no_frame,
    /// Lost on receive: longer than a frame.
    rx_too_long,
    /// Lost on receive: what the ring said of it made no sense.
    rx_malformed,
    /// Given to be sent.
    tx_frames,
    /// Bytes of these.
    tx_bytes,
    /// Not sent: empty, longer than the MTU allows, or of another device.
    tx_refused,
    /// Not sent: the kernel found the descriptor invalid.
    tx_invalid,
    /// Sent, or lost on the way, and given back.
    completions,
    /// Given back by the device without having been sent.
    completions_foreign,
    /// System calls to send.
    tx_kicks,
    /// System calls because the fill ring was refilled.
    fill_kicks,
    /// Kicks that the kernel put off: its batch was full (EAGAIN), or the driver was busy (EBUSY).
    kicks_put_off,
    /// Kicks for which the kernel had no memory (ENOBUFS).
    kicks_no_memory,
    /// Kicks while the interface was down (ENETDOWN).
    kicks_down,
    /// Given to other cores, which they were for.
    handed_off,
    /// Got from other cores; not among `rx_frames`.
    handed_in,
    /// Not given to another core: it has more than it takes.
    hand_offs_refused,
    /// Those of `tx_frames` that another core sent, which has the socket.
    tx_through_owner,
    /// Sent for cores without a socket; not among `tx_frames`.
    tx_for_others,
    /// Given back by the device, and on to the core that had sent it; not among `completions`.
    completions_for_others,
    /// Come home from other cores, which had received them by a queue of this one.
    returns,
    /// System calls to wake other cores.
    wakes,
    /// Lost on purpose, received.
    impair_rx_lost,
    /// Held back on purpose so that others overtake, received.
    impair_rx_reordered,
    /// Doubled on purpose, received.
    impair_rx_duplicated,
    /// A bit flipped on purpose, received.
    impair_rx_corrupted,
    /// Lost on purpose, sent.
    impair_tx_lost,
    /// Held back on purpose so that others overtake, sent.
    impair_tx_reordered,
    /// Doubled on purpose, sent.
    impair_tx_duplicated,
    /// A bit flipped on purpose, sent.
    impair_tx_corrupted,
    /// Lost because more were to be held back than the impairment may hold, either way.
    impair_overflow,
    /// Not doubled or corrupted as they should have been: there was no free frame for the copy.
    impair_no_frame,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_name() {
        let statistics = Statistics { tx_refused: 7, ..Statistics::default() };
        let counted: Vec<_> = statistics.iter().filter(|(_, value)| *value > 0).collect();
        assert_eq!(counted, [("tx_refused", 7)]);
    }
}
