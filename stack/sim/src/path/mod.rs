//! A path with a bottleneck: what lies between two hosts of the laboratory, one direction a [`Link`].
//!
//! A link is told the time and handed packets; it answers with packets that arrive. Drive it by
//! [`on_packet`](Link::on_packet), then [`poll_packet`](Link::poll_packet) until there is none, then wait until
//! [`poll_deadline`](Link::poll_deadline). Each impairment is a machine of its own, in the order in which a packet meets
//! them: ACK [`thinning`], [`policer`], bottleneck [`queue`], [`loss`], [`delay`] with jitter and reordering. All time is
//! whole nanoseconds, and chance comes from one seeded generator a link, so a seed gives the same arrivals everywhere.

pub mod delay;
pub mod link;
pub mod loss;
pub mod packet;
pub mod policer;
pub mod queue;
pub mod rate;
pub mod thinning;

pub use delay::{DelayPlan, Extra, Reordering};
pub use link::{Change, Drop, Link, LinkCounters, LinkPlan};
pub use loss::{Burst, Loss};
pub use packet::Packet;
pub use policer::PolicerPlan;
pub use queue::QueuePlan;
pub use rate::Rate;
pub use thinning::ThinningPlan;
