//! Keepalive: is an idle peer still there? Off unless configured (RFC 9293 3.8.4, MUST-25).

use super::config::KeepaliveConfig;
use crate::time::Instant;

/// Counts unanswered probes.
#[derive(Clone, Copy, Debug, Default)]
//= spec/rfc9293.txt#section-3.8.4
//# Implementers MAY include "keep-alives" in their TCP implementations (MAY-5)
pub struct Keepalive {
    unanswered: u8,
}

/// What an expired timer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnExpiry {
    /// Send a probe and wait for `interval`.
    Probe,
    /// The peer has not answered any probe: give up.
    GiveUp,
}

impl Keepalive {
    /// Anything came from the peer.
    pub fn on_heard(&mut self) {
        self.unanswered = 0;
    }

    /// When to look next, if the peer was last heard at `heard`.
    pub fn deadline(&self, config: &KeepaliveConfig, heard: Instant, now: Instant) -> Instant {
        if self.unanswered == 0 { heard + config.idle } else { now + config.interval }
    }

    /// The time has come.
    pub fn on_expiry(&mut self, config: &KeepaliveConfig) -> OnExpiry {
        //= spec/rfc9293.txt#section-3.8.4
        //# if a keep-alive mechanism is implemented it MUST NOT interpret failure to respond to any specific probe as
        //# a dead connection (MUST-29).
        if self.unanswered >= config.probes.max(2) {
            return OnExpiry::GiveUp;
        }
        self.unanswered += 1;
        OnExpiry::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn gives_up_after_the_last_probe_and_starts_anew_when_heard() {
        let config = KeepaliveConfig { probes: 3, ..KeepaliveConfig::default() };
        let mut keepalive = Keepalive::default();
        let heard = Instant::from_millis(1000);
        assert_eq!(keepalive.deadline(&config, heard, heard), heard + Duration::from_secs(7200));
        for _ in 0..3 {
            assert_eq!(keepalive.on_expiry(&config), OnExpiry::Probe);
        }
        assert_eq!(keepalive.deadline(&config, heard, heard), heard + Duration::from_secs(75));
        assert_eq!(keepalive.on_expiry(&config), OnExpiry::GiveUp);
        keepalive.on_heard();
        assert_eq!(keepalive.on_expiry(&config), OnExpiry::Probe);
    }

    //= spec/rfc9293.txt#section-3.8.4
    //= type=test
    //# Consequently, if a
    //# keep-alive mechanism is implemented it MUST NOT interpret failure to
    //# respond to any specific probe as a dead connection (MUST-29).
    #[test]
    fn never_on_one_unanswered_probe() {
        let config = KeepaliveConfig { probes: 0, ..KeepaliveConfig::default() };
        let mut keepalive = Keepalive::default();
        assert_eq!(keepalive.on_expiry(&config), OnExpiry::Probe);
        assert_eq!(keepalive.on_expiry(&config), OnExpiry::Probe);
        assert_eq!(keepalive.on_expiry(&config), OnExpiry::GiveUp);
    }
}
