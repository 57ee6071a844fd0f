//! Source routes of IPv4 (RFC 791 3.1) as a network that knows them would treat them: it brings packets with a completed
//! route, and completes the routes of those that it is given.

use crate::mend;

const IP: usize = 14;
const HEADER: usize = 20;
const LOOSE: u8 = 131;
const FIXED: usize = 3;

/// `frame` as it arrives by way of `gateways`, at most nine, with the route recorded. Anything but IPv4 without options
/// stays as it is.
pub(crate) fn arrive_by(frame: &[u8], gateways: &[[u8; 4]]) -> Vec<u8> {
    if frame.len() < IP + HEADER || frame[12..15] != [8, 0, 0x45] || gateways.is_empty() || gateways.len() > 9 {
        return frame.to_vec();
    }
    let len = FIXED + 4 * gateways.len();
    let option = [LOOSE, len as u8, len as u8 + 1];
    let mut routed = [&frame[..IP + HEADER], &option, &gateways.concat(), &[0], &frame[IP + HEADER..]].concat();
    routed[IP] = 0x40 | ((HEADER + len + 1) / 4) as u8;
    mend(&mut routed);
    routed
}

/// `frame` as it reaches the end of its route, if it has one: without it.
pub(crate) fn complete(frame: &[u8]) -> Vec<u8> {
    let header = frame.get(IP).map_or(0, |first| usize::from(first & 15) * 4);
    if frame.get(12..14) != Some(&[8, 0]) || header <= HEADER || frame.len() < IP + header {
        return frame.to_vec();
    }
    let len = usize::from(frame[IP + HEADER + 1]);
    let last = &frame[IP + HEADER..][len - 4..len];
    let mut whole = [&frame[..IP + 16], last, &frame[IP + header..]].concat();
    whole[IP] = 0x45;
    mend(&mut whole);
    whole
}
