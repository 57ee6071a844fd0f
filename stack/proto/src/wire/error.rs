//! Why a frame was not taken: one reason each, to be counted.

/// Why a frame is dropped before any connection sees it. There is one counter per reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[repr(u8)]
pub enum ParseError {
    /// The frame is longer than the 65535 bytes that offsets in it can count.
    #[error("the frame is longer than 65535 bytes")]
    Oversized,
    /// The frame ends inside its Ethernet header or its VLAN tag.
    #[error("the frame ends inside its Ethernet header")]
    TruncatedEthernet,
    /// The `EtherType` is none of ARP, IPv4 and IPv6, or a second VLAN tag follows the first.
    #[error("the EtherType is neither ARP, IPv4 nor IPv6")]
    BadEtherType,
    /// The frame ends inside an ARP packet.
    #[error("the frame ends inside the ARP packet")]
    TruncatedArp,
    /// The ARP packet is not for IPv4 over Ethernet, is neither request nor reply, or names an impossible sender.
    #[error("the ARP packet is no request or reply for IPv4 over Ethernet")]
    BadArp,
    /// The frame ends before the IP packet does.
    #[error("the frame ends inside the IP packet")]
    TruncatedIp,
    /// The version field does not agree with the `EtherType`.
    #[error("the IP version does not agree with the EtherType")]
    BadIpVersion,
    /// The IPv4 header length is below its minimum of 20 bytes.
    #[error("the IPv4 header length is below 20 bytes")]
    BadHeaderLength,
    /// The IPv4 total length is less than the header's.
    #[error("the IPv4 total length is less than the header length")]
    BadTotalLength,
    /// The IPv4 header checksum is wrong.
    #[error("the IPv4 header checksum is wrong")]
    BadIpChecksum,
    /// A fragment; this stack does not reassemble.
    #[error("the packet is a fragment")]
    Fragment,
    /// An IPv6 extension header is malformed, out of place, one too many, or demands that the packet be discarded.
    #[error("an IPv6 extension header is malformed or asks for the packet to be discarded")]
    BadExtensionHeader,
    /// The payload is neither TCP nor the ICMP of the address family.
    #[error("the IP packet carries neither TCP nor ICMP")]
    BadProtocol,
    /// An IPv6 address is IPv4-mapped, which must not appear on the wire.
    #[error("an IPv6 address is IPv4-mapped")]
    MappedAddress,
    /// The source address cannot be a host's on this link: multicast, broadcast, unspecified, loopback, or the
    /// destination itself.
    #[error("the source address is not that of another host")]
    MartianSource,
    /// The destination address of a segment is not unicast.
    #[error("the destination address is not unicast")]
    MartianDestination,
    /// The IP packet ends inside the TCP header.
    #[error("the packet ends inside the TCP header")]
    TruncatedTcp,
    /// The TCP data offset is below its minimum of five words.
    #[error("the TCP data offset is below five")]
    BadTcpDataOffset,
    /// The TCP checksum is wrong.
    #[error("the TCP checksum is wrong")]
    BadTcpChecksum,
    /// A TCP port is zero.
    #[error("a TCP port is zero")]
    ZeroPort,
    /// The IP packet ends inside the ICMP header.
    #[error("the packet ends inside the ICMP header")]
    TruncatedIcmp,
    /// The ICMP checksum is wrong.
    #[error("the ICMP checksum is wrong")]
    BadIcmpChecksum,
    /// An ICMP error quotes too little, or nothing that can be a packet of ours.
    #[error("the ICMP error quotes no usable packet")]
    BadIcmpQuote,
}

impl ParseError {
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: [Self; 23] = [
        Self::Oversized,
        Self::TruncatedEthernet,
        Self::BadEtherType,
        Self::TruncatedArp,
        Self::BadArp,
        Self::TruncatedIp,
        Self::BadIpVersion,
        Self::BadHeaderLength,
        Self::BadTotalLength,
        Self::BadIpChecksum,
        Self::Fragment,
        Self::BadExtensionHeader,
        Self::BadProtocol,
        Self::MappedAddress,
        Self::MartianSource,
        Self::MartianDestination,
        Self::TruncatedTcp,
        Self::BadTcpDataOffset,
        Self::BadTcpChecksum,
        Self::ZeroPort,
        Self::TruncatedIcmp,
        Self::BadIcmpChecksum,
        Self::BadIcmpQuote,
    ];

    /// The reason's place in [`ALL`](Self::ALL), to index an array of counters by.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason's name as a counter shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::TruncatedEthernet => "truncated_ethernet",
            Self::BadEtherType => "bad_ether_type",
            Self::TruncatedArp => "truncated_arp",
            Self::BadArp => "bad_arp",
            Self::TruncatedIp => "truncated_ip",
            Self::BadIpVersion => "bad_ip_version",
            Self::BadHeaderLength => "bad_header_length",
            Self::BadTotalLength => "bad_total_length",
            Self::BadIpChecksum => "bad_ip_checksum",
            Self::Fragment => "fragment",
            Self::BadExtensionHeader => "bad_extension_header",
            Self::BadProtocol => "bad_protocol",
            Self::MappedAddress => "mapped_address",
            Self::MartianSource => "martian_source",
            Self::MartianDestination => "martian_destination",
            Self::TruncatedTcp => "truncated_tcp",
            Self::BadTcpDataOffset => "bad_tcp_data_offset",
            Self::BadTcpChecksum => "bad_tcp_checksum",
            Self::ZeroPort => "zero_port",
            Self::TruncatedIcmp => "truncated_icmp",
            Self::BadIcmpChecksum => "bad_icmp_checksum",
            Self::BadIcmpQuote => "bad_icmp_quote",
        }
    }
}

/// The reason for which a frame was dropped; the name that counters use for [`ParseError`].
pub type DropReason = ParseError;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::string::ToString;

    #[test]
    fn all_is_indexed_by_index_and_names_differ() {
        for (i, reason) in ParseError::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i, "{reason:?}");
            assert!(!reason.to_string().is_empty());
        }
        let names: BTreeSet<_> = ParseError::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), ParseError::ALL.len());
    }
}
