//! The segment size: what the peer takes, what the link carries, what the path was found to carry
//! (RFC 9293 3.7.1, RFC 1191).

/// The least that the path is believed to carry: a forged ICMP error cannot make us send a flood of tiny packets. Links
/// that carry less have not been seen since the 1990s.
const MIN_PATH: u16 = 216;

/// The bounds on what we send in one segment. All without TCP options, as in the MSS option.
#[derive(Clone, Copy, Debug)]
pub struct SegmentSize {
    peer: u16,
    path: u16,
    options: u16,
}

/// What is assumed of everybody whatever they say (CVE-2019-11479): `min_mss` of the settings cannot be less than this.
const LEAST: u16 = 48;

impl SegmentSize {
    /// `offered` is the peer's MSS option; without it `default` counts (536 for IPv4, 1220 for IPv6, MUST-15).
    /// `link` is what our device carries, `options` the bytes of options in each data segment.
    /// No segment is smaller than `least`, payload and options together, whatever peer and link say.
    pub fn new(offered: Option<u16>, default: u16, link: u16, options: u16, least: u16) -> Self {
        let least = least.max(LEAST);
        Self { peer: offered.unwrap_or(default).max(least), path: link.max(least), options }
    }

    /// Eff.snd.MSS: payload bytes of a full segment.
    //= spec/rfc9293.txt#section-3.7.1
    //# The maximum size of a segment that a TCP endpoint really sends, the "effective send MSS", MUST be the smaller
    //# (MUST-16) of the send MSS (that reflects the available reassembly buffer size at the remote host, the EMTU_R
    //# [19]) and the largest transmission size permitted by the IP layer (EMTU_S [19]):
    //= spec/rfc9293.txt#section-3.7.1
    //# Eff.snd.MSS = min(SendMSS+20, MMS_S) - TCPhdrsize - IPoptionsize
    pub fn effective(&self) -> u16 {
        self.peer.min(self.path).saturating_sub(self.options).max(LEAST - 12)
    }

    /// Other options in each data segment from now on, bytes: those of IP and TCP together.
    pub fn set_options(&mut self, options: u16) {
        self.options = options;
    }

    /// Our link carries `new` from now on, where it carried `old`. What the path was found to carry, if that is less,
    /// stays: nothing is known of the rest of it.
    pub fn set_link(&mut self, old: u16, new: u16, least: u16) {
        let new = new.max(least.max(LEAST));
        self.path = if self.path >= old { new } else { self.path.min(new) };
    }

    /// The path carries segments of at most `mss`. It never grows by this.
    //= spec/rfc7323.txt#section-5.7
    //# any TCP implementation that implements PAWS MUST also implement Path MTU Discovery.
    pub fn on_too_big(&mut self, mss: u16) {
        self.path = self.path.min(mss.max(MIN_PATH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc9293.txt#section-3.7.1
    //= type=test
    //# The maximum size of a segment that a TCP endpoint really sends, the "effective send MSS", MUST be the smaller
    //# (MUST-16) of the send MSS (that reflects the available reassembly buffer size at the remote host, the EMTU_R
    //# [19]) and the largest transmission size permitted by the IP layer (EMTU_S [19]):
    #[test]
    fn the_smallest_bound_counts_and_options_are_taken_off() {
        assert_eq!(SegmentSize::new(Some(1460), 536, 1460, 12, 88).effective(), 1448);
        assert_eq!(SegmentSize::new(None, 536, 1460, 0, 88).effective(), 536);
        assert_eq!(SegmentSize::new(Some(9000), 536, 1460, 0, 88).effective(), 1460);
    }

    #[test]
    fn a_tiny_offer_is_not_obeyed_to_the_letter() {
        assert_eq!(SegmentSize::new(Some(0), 536, 1460, 12, 88).effective(), 76);
        assert_eq!(SegmentSize::new(Some(1), 536, 1460, 12, 0).effective(), 36, "never less than this");
    }

    #[test]
    fn the_link_may_grow_and_what_is_known_of_the_path_stays() {
        let mut size = SegmentSize::new(Some(9000), 536, 1460, 0, 88);
        size.set_link(1460, 1240, 88);
        assert_eq!(size.effective(), 1240);
        size.set_link(1240, 8960, 88);
        assert_eq!(size.effective(), 8960, "as far as we know the path carries what the link does");
        size.on_too_big(1400);
        size.set_link(8960, 1460, 88);
        size.set_link(1460, 8960, 88);
        assert_eq!(size.effective(), 1400);
        size.set_link(8960, 0, 88);
        assert_eq!(size.effective(), 88);
    }

    //= spec/rfc7323.txt#section-5.7
    //= type=test
    //# any TCP implementation that implements PAWS MUST also implement Path MTU Discovery.
    #[test]
    fn the_path_only_shrinks() {
        let mut size = SegmentSize::new(Some(1460), 536, 1460, 0, 88);
        size.on_too_big(1200);
        size.on_too_big(1400);
        assert_eq!(size.effective(), 1200);
        size.on_too_big(0);
        assert_eq!(size.effective(), MIN_PATH);
    }
}
