//! The states of RFC 9293 end to end: two endpoints of ours, a network that is told what to do, virtual time. Each test
//! looks at the segments on the wire, at what the applications were told, and at the counters.

mod closing;
mod limits;
mod opening;
mod time_outs;
mod time_wait;

use corelane_proto::endpoint::{CloseReason, EndpointConfig, Event};
use corelane_proto::tcp::segment::Flags;
use corelane_sim::lab::{End, Lab};
use std::time::Duration;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;

/// A host whose connections all leave from port 7000.
fn from_port_7000(_: usize, config: &mut EndpointConfig) {
    config.ports = (7000, 7000);
}

/// The events of an end, without its name.
fn events(lab: &Lab, end: End) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Accepted { .. } => "accepted".to_owned(),
        Event::Connected(_) => "connected".to_owned(),
        Event::Readable(_) => "readable".to_owned(),
        Event::Writable(_) => "writable".to_owned(),
        Event::PeerClosed(_) => "peer closed".to_owned(),
        Event::Urgent(_) => "urgent".to_owned(),
        Event::Trouble { trouble, .. } => format!("{trouble:?}").to_lowercase(),
        Event::Closed { reason, .. } => reason.name().to_owned(),
    };
    lab.seen(end).events.iter().map(|(_, event)| name(event)).collect()
}

/// How long after `from` the connection ended, and how.
fn ended(lab: &Lab, end: End, from: corelane_proto::Instant) -> (Duration, CloseReason) {
    let (at, reason) = lab.seen(end).closed.expect("it is over");
    (at.saturating_since(from), reason)
}
