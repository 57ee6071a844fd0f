//! The source route options of IPv4 (RFC 791 3.1, RFC 1122 3.2.1.8): which gateways a packet goes by.

use crate::addr::Addr;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE: u8 = 131;
const STRICT: u8 = 137;
/// Where the first address stands in the option, counted from one.
const FIRST_POINTER: u8 = 4;
/// Type, length and pointer.
const FIXED: usize = 3;
/// Forty bytes of options hold nine addresses behind the fixed ones.
const MOST: usize = 9;

/// The gateways that a packet goes by, in order; its destination is not among them. 40 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRoute {
    strict: bool,
    len: u8,
    gateways: [[u8; 4]; MOST],
}

impl SourceRoute {
    /// A route by way of `gateways`: by them only if it is `strict`, else by others in between too. `None` unless they
    /// are one to nine IPv4 hosts.
    pub fn new(strict: bool, gateways: &[Addr]) -> Option<Self> {
        let mut route = Self { strict, len: 0, gateways: [[0; 4]; MOST] };
        for gateway in gateways {
            route.push(gateway.as_v4()?)?;
        }
        (route.len > 0).then_some(route)
    }

    /// The way back to `src` that the `options` of a received header give: the recorded route in reverse. `None` when
    /// they hold no source route, or one that is not completed, or nonsense.
    //= spec/rfc1122.txt#section-3.2.1.8
    //# This recorded route will be reversed and used to form a return source route for reply datagrams
    pub fn of_return(options: &[u8], src: Addr) -> Option<Self> {
        let (strict, pointer, recorded) = find(options)?;
        if usize::from(pointer) <= FIXED + recorded.len() {
            return None;
        }
        let mut route = Self { strict, len: 0, gateways: [[0; 4]; MOST] };
        let (addresses, _) = recorded.as_chunks::<4>();
        //= spec/rfc1122.txt#section-3.2.1.8
        //# When a return source route is built, it MUST be correctly formed even if the recorded route included the
        //# source host
        let addresses = match addresses {
            [first, rest @ ..] if Some(*first) == src.as_v4() => rest,
            all => all,
        };
        for gateway in addresses.iter().rev() {
            route.push(*gateway)?;
        }
        (route.len > 0).then_some(route)
    }

    /// Whether the `options` of a received header hold a source route, whatever is to be made of it.
    pub fn is_in(options: &[u8]) -> bool {
        find(options).is_some()
    }

    /// Where a packet on this route is sent first.
    pub fn first(&self) -> Addr {
        Addr::v4(self.gateways[0])
    }

    /// Bytes that the option takes in a header, a multiple of four up to 40.
    pub const fn wire_len(&self) -> usize {
        4 + 4 * self.len as usize
    }

    /// Writes the option for a packet to `dst` into `out`, which is [`wire_len`](Self::wire_len) bytes long.
    pub(super) fn emit(&self, out: &mut [u8], dst: [u8; 4]) -> Option<()> {
        let len = usize::from(self.len);
        let out = out.get_mut(..self.wire_len())?;
        let (fixed, data) = out.split_first_chunk_mut::<FIXED>()?;
        *fixed = [if self.strict { STRICT } else { LOOSE }, (FIXED + 4 * len) as u8, FIRST_POINTER];
        let (addresses, padding) = data.as_chunks_mut::<4>();
        let later = self.gateways.get(1..len)?.iter().chain([&dst]);
        addresses.iter_mut().zip(later).for_each(|(place, address)| *place = *address);
        padding.fill(END);
        Some(())
    }

    fn push(&mut self, gateway: [u8; 4]) -> Option<()> {
        let is_host = Addr::v4(gateway).is_unicast() && !matches!(gateway[0], 0 | 127);
        *self.gateways.get_mut(usize::from(self.len)).filter(|_| is_host)? = gateway;
        self.len += 1;
        Some(())
    }
}

/// The last address of the route in a header's `options` that has not been gone to yet: where the packet really goes.
pub(super) fn final_destination(options: &[u8]) -> Option<Addr> {
    let (_, pointer, addresses) = find(options)?;
    let (addresses, _) = addresses.as_chunks::<4>();
    (usize::from(pointer) <= FIXED + 4 * addresses.len()).then(|| addresses.last().copied().map(Addr::v4))?
}

/// The first source route among a header's options: whether it is strict, its pointer and its addresses.
fn find(mut options: &[u8]) -> Option<(bool, u8, &[u8])> {
    loop {
        match *options.first()? {
            END => return None,
            NO_OPERATION => options = options.get(1..)?,
            kind => {
                let len = usize::from(*options.get(1)?);
                let option = options.get(..len).filter(|option| option.len() >= 2)?;
                if matches!(kind, LOOSE | STRICT) {
                    let (fixed, addresses) = option.split_first_chunk::<FIXED>()?;
                    let is_whole = addresses.len().is_multiple_of(4) && fixed[2] >= FIRST_POINTER;
                    return is_whole.then_some((kind == STRICT, fixed[2], addresses));
                }
                options = options.get(len..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// The most that a header has room for.
    const MAX_LEN: usize = 60 - 20;
    const SRC: Addr = Addr::v4([192, 0, 2, 1]);

    fn host(n: u8) -> [u8; 4] {
        [10, 9, 9, n]
    }

    fn recorded(kind: u8, addresses: &[[u8; 4]]) -> Vec<u8> {
        let len = 3 + 4 * addresses.len() as u8;
        [vec![1, kind, len, len + 1], addresses.concat()].concat()
    }

    #[test]
    fn a_completed_route_is_turned_round() {
        for (kind, strict) in [(LOOSE, false), (STRICT, true)] {
            let back = SourceRoute::of_return(&recorded(kind, &[host(1), host(2), host(3)]), SRC);
            let expected = SourceRoute::new(strict, &[host(3), host(2), host(1)].map(Addr::v4));
            assert!(back.is_some() && back == expected);
        }
        let with_source = recorded(LOOSE, &[[192, 0, 2, 1], host(1), host(2)]);
        let expected = SourceRoute::new(false, &[host(2), host(1)].map(Addr::v4));
        assert_eq!(SourceRoute::of_return(&with_source, SRC), expected, "the source is not gone to twice");
    }

    #[test]
    fn one_that_is_not_completed_or_nonsense_is_none() {
        let mut under_way = recorded(LOOSE, &[host(1), host(2)]);
        under_way[3] = 8;
        assert_eq!(SourceRoute::of_return(&under_way, SRC), None);
        assert_eq!(final_destination(&under_way), Some(Addr::v4(host(2))));
        for options in [&[][..], &[0, 131, 7, 8], &[131], &[131, 3], &[131, 2, 4], &[131, 6, 7, 1, 2, 3], &[7, 0, 1, 1]]
        {
            assert_eq!(SourceRoute::of_return(options, SRC), None, "{options:?}");
        }
        for bad in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert_eq!(SourceRoute::of_return(&recorded(LOOSE, &[host(1), bad]), SRC), None);
        }
        assert_eq!(SourceRoute::of_return(&recorded(LOOSE, &[[192, 0, 2, 1]]), SRC), None, "no gateway at all");
        assert_eq!(SourceRoute::new(false, &[Addr::v4(host(1)); 10]), None);
        assert!(SourceRoute::new(false, &[]).is_none() && SourceRoute::new(false, &[Addr::v6([1; 16])]).is_none());
    }

    #[test]
    fn what_is_written_names_the_later_gateways_and_the_destination() {
        let route = SourceRoute::new(true, &[host(1), host(2)].map(Addr::v4)).unwrap();
        let mut out = [0xee; 12];
        assert_eq!((route.wire_len(), route.first()), (12, Addr::v4(host(1))));
        route.emit(&mut out, [192, 0, 2, 1]).unwrap();
        assert_eq!(out, [137, 11, 4, 10, 9, 9, 2, 192, 0, 2, 1, 0]);
        assert_eq!(final_destination(&out), Some(SRC));
        let longest = SourceRoute::new(false, &[Addr::v4(host(1)); 9]).unwrap();
        assert_eq!(longest.wire_len(), MAX_LEN);
    }

    proptest! {
        #[test]
        fn no_options_make_it_stumble(options in prop::collection::vec(any::<u8>(), 0..=40)) {
            let _ = final_destination(&options);
            if let Some(route) = SourceRoute::of_return(&options, SRC) {
                let mut out = [0; MAX_LEN];
                prop_assert!(route.emit(&mut out, [192, 0, 2, 1]).is_some());
                prop_assert_eq!(final_destination(&out), Some(SRC));
            }
        }
    }
}
