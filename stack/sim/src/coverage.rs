//! Which states met which events, and which kinds of segments: added up over many runs, as a table.

use corelane_proto::tcp::coverage::{Coverage, Kind};
use corelane_proto::tcp::state::{Event, State};
use serde::{Serialize, Serializer};
use std::fmt;

/// Pairs of the table of states that never happen here, each with its reason.
pub const UNREACHABLE: [(State, Event, &str); 4] = [
    (State::Closed, Event::Kill, "a connection that is over does not end again"),
    (State::Listen, Event::Kill, "a listener ends by its owner's close alone"),
    (State::SynSent, Event::Close, "a close there ends the attempt as an abort does, and is counted as one"),
    (State::SynReceived, Event::Fin, "the ACK that comes with a FIN opens the connection first (RFC 9293 3.10.7.4)"),
];

/// Kinds of segments that never meet a state here, each with its reason.
pub const UNMET: [(State, Kind, &str); 0] = [];

/// What many runs met together.
#[derive(Clone, Copy, Debug)]
pub struct Met(pub Coverage);

impl Default for Met {
    fn default() -> Self {
        Self(Coverage::NONE)
    }
}

/// One cell of a table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cell {
    /// The state.
    pub state: &'static str,
    /// The event of the table of states, or the kind of segment.
    pub met: &'static str,
    /// How often.
    pub count: u64,
}

impl Met {
    /// Every pair of state and event that can happen, and how often it did.
    pub fn events(&self) -> Vec<Cell> {
        let known = |state: State, event: Event| {
            state.after(event).is_some() && !UNREACHABLE.iter().any(|(s, e, _)| (*s, *e) == (state, event))
        };
        let pairs = State::ALL.iter().flat_map(|state| Event::ALL.iter().map(move |event| (*state, *event)));
        pairs
            .filter(|(state, event)| known(*state, *event))
            .map(|(state, event)| Cell {
                state: state.name(),
                met: event_name(event),
                count: self.0.events[state as usize][event as usize],
            })
            .collect()
    }

    /// Every pair of state and kind of segment that can happen, and how often it did.
    pub fn segments(&self) -> Vec<Cell> {
        let known = |state: State, kind: Kind| !UNMET.iter().any(|(s, k, _)| (*s, *k) == (state, kind));
        let pairs = State::ALL.iter().flat_map(|state| Kind::ALL.iter().map(move |kind| (*state, *kind)));
        pairs
            .filter(|(state, kind)| known(*state, *kind))
            .map(|(state, kind)| Cell {
                state: state.name(),
                met: kind_name(kind),
                count: self.0.segments[state as usize][kind as usize],
            })
            .collect()
    }
}

const fn event_name(event: Event) -> &'static str {
    match event {
        Event::PassiveOpen => "passive open",
        Event::ActiveOpen => "active open",
        Event::Syn => "SYN",
        Event::SynAck => "SYN-ACK",
        Event::AckOfSyn => "ACK of SYN",
        Event::Close => "close",
        Event::Fin => "FIN",
        Event::AckOfFin => "ACK of FIN",
        Event::TimeWaitOver => "2 MSL over",
        Event::ResetToListen => "back to LISTEN",
        Event::Kill => "RST, abort, time-out",
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Rst => "RST",
        Kind::SynAck => "SYN-ACK",
        Kind::Syn => "SYN",
        Kind::Fin => "FIN",
        Kind::Data => "data",
        Kind::Ack => "ACK",
        Kind::Bare => "no flags",
    }
}

/// Lines for one table: a state a line, what it met and how often.
fn table(f: &mut fmt::Formatter<'_>, title: &str, cells: &[Cell]) -> fmt::Result {
    let reached = cells.iter().filter(|cell| cell.count > 0).count();
    writeln!(f, "\n{title}: {reached} of {} reachable pairs reached", cells.len())?;
    for state in State::ALL.map(State::name) {
        let met: Vec<_> = cells
            .iter()
            .filter(|cell| cell.state == state)
            .map(|cell| format!("{} {}", cell.met, cell.count))
            .collect();
        writeln!(f, "  {state:<12}  {}", met.join(" · "))?;
    }
    for cell in cells.iter().filter(|cell| cell.count == 0) {
        writeln!(f, "  not reached: {} in {}", cell.met, cell.state)?;
    }
    Ok(())
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, "state x event", &self.events())?;
        table(f, "state x received segment, beside what header prediction takes", &self.segments())
    }
}

/// As JSON: the number of reachable pairs and of those reached, and every pair.
impl Serialize for Met {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Table {
            reachable: usize,
            reached: usize,
            pairs: Vec<Cell>,
        }
        #[derive(Serialize)]
        struct Tables {
            state_event: Table,
            state_segment: Table,
        }
        let table = |pairs: Vec<Cell>| Table {
            reachable: pairs.len(),
            reached: pairs.iter().filter(|cell| cell.count > 0).count(),
            pairs,
        };
        Tables { state_event: table(self.events()), state_segment: table(self.segments()) }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reached_is_named() {
        let mut one = Coverage::NONE;
        one.events[State::Closing as usize][Event::AckOfFin as usize] = 3;
        let met = Met(one);
        let text = met.to_string();
        assert!(text.contains("CLOSING       ACK of FIN 3 · RST, abort, time-out 0"), "{text}");
        assert!(text.contains("not reached: FIN in ESTABLISHED"), "{text}");
        assert!(text.contains("1 of 28 reachable pairs"), "{text}");
    }

    #[test]
    fn only_what_the_table_of_states_knows_is_called_unreachable() {
        assert!(UNREACHABLE.iter().all(|(state, event, why)| state.after(*event).is_some() && !why.is_empty()));
    }
}
