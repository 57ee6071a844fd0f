//! What the scripted network does to which frames.

use corelane_proto::tcp::segment::{Flags, Segment};
use std::time::Duration;

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It arrives after the usual delay.
    Pass,
    /// It is lost.
    Lose,
    /// It takes so much longer.
    Delay(Duration),
    /// It arrives, and once more so much later.
    Double(Duration),
    /// It is kept until [`Lab::release`](super::Lab::release).
    Hold,
}

/// Which TCP segments of one host, and what is done to them. The first rule that fits decides.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    from: usize,
    with: Flags,
    without: Flags,
    data: Option<bool>,
    skip: u32,
    times: u32,
    verdict: Verdict,
}

impl Rule {
    /// Every segment that host `from` sends; it passes until the rule says otherwise.
    pub const fn from(from: usize) -> Self {
        let (with, without) = (Flags(0), Flags(0));
        Self { from, with, without, data: None, skip: 0, times: u32::MAX, verdict: Verdict::Pass }
    }

    /// Only those with all of `flags`.
    #[must_use]
    pub const fn with(self, flags: Flags) -> Self {
        Self { with: flags, ..self }
    }

    /// Only those with none of `flags`.
    #[must_use]
    pub const fn without(self, flags: Flags) -> Self {
        Self { without: flags, ..self }
    }

    /// Only those with payload.
    #[must_use]
    pub const fn data(self) -> Self {
        Self { data: Some(true), ..self }
    }

    /// Only those without payload.
    #[must_use]
    pub const fn empty(self) -> Self {
        Self { data: Some(false), ..self }
    }

    /// Not the first `n` that fit.
    #[must_use]
    pub const fn after(self, n: u32) -> Self {
        Self { skip: n, ..self }
    }

    /// Only `n` of them.
    #[must_use]
    pub const fn times(self, n: u32) -> Self {
        Self { times: n, ..self }
    }

    /// They are lost.
    #[must_use]
    pub const fn lose(self) -> Self {
        Self { verdict: Verdict::Lose, ..self }
    }

    /// They take `time` longer.
    #[must_use]
    pub const fn delay(self, time: Duration) -> Self {
        Self { verdict: Verdict::Delay(time), ..self }
    }

    /// They come again `time` later.
    #[must_use]
    pub const fn double(self, time: Duration) -> Self {
        Self { verdict: Verdict::Double(time), ..self }
    }

    /// They are kept until [`Lab::release`](super::Lab::release).
    #[must_use]
    pub const fn hold(self) -> Self {
        Self { verdict: Verdict::Hold, ..self }
    }

    /// The verdict if `segment` of host `from` fits; it is counted.
    pub(super) fn judge(&mut self, from: usize, segment: &Segment) -> Option<Verdict> {
        let fits = from == self.from
            && segment.flags.has(self.with)
            && !segment.flags.any(self.without)
            && self.data.is_none_or(|data| data == (segment.len > 0));
        if !fits || self.times == 0 {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.verdict)
    }
}
