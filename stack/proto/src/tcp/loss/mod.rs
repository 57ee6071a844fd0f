//! The machines that find out what was lost, and when. Each says *which* bytes; how many may be in flight is not theirs,
//! except in fast recovery, where PRR brings the flight down to what the congestion control has set.

pub mod delivery;
pub mod dsack;
pub mod frto;
pub mod min_rtt;
pub mod prr;
pub mod rack;
pub mod recovery;
pub mod rto;
pub mod rtt;
pub mod tlp;
pub mod undo;
