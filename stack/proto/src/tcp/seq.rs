//! Sequence numbers: modulo 2^32, with an order that exists only between neighbours (RFC 9293 3.4).

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

/// A sequence number. It has no `<`: two of them compare only within half of the space, by [`before`](Self::before)
/// and its kin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether this comes before `other`.
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this comes after `other`.
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// Whether this comes before `other` or is it.
    pub const fn at_or_before(self, other: Self) -> bool {
        !other.before(self)
    }

    /// Whether this comes after `other` or is it.
    pub const fn at_or_after(self, other: Self) -> bool {
        !self.before(other)
    }

    /// Whether this lies in the `len` numbers that begin at `start`.
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// How far this is past `earlier`; meaningful only when it is not before it.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The later of the two.
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    pub const fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, n: u32) {
        *self = *self + n;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }
}

impl SubAssign<u32> for Seq {
    fn sub_assign(&mut self, n: u32) {
        *self = *self - n;
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_survives_the_wrap() {
        let near_the_end = Seq(u32::MAX - 1);
        let past_it = near_the_end + 5;
        assert_eq!(past_it, Seq(3));
        assert!(near_the_end.before(past_it));
        assert!(past_it.after(near_the_end));
        assert_eq!(past_it.since(near_the_end), 5);
        assert_eq!(near_the_end.max(past_it), past_it);
        assert_eq!(near_the_end.min(past_it), near_the_end);
        assert!(past_it.in_window(near_the_end, 6));
        assert!(!past_it.in_window(near_the_end, 5));
    }

    proptest! {
        #[test]
        fn exactly_one_of_before_equal_after(start: u32, step in 0u32..0x8000_0000) {
            let (a, b) = (Seq(start), Seq(start) + step);
            prop_assert_eq!(a.before(b), step != 0);
            prop_assert_eq!(b.after(a), step != 0);
            prop_assert!(a.at_or_before(b) && b.at_or_after(a));
        }
    }
}
