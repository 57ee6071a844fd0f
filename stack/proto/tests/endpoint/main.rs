//! What an endpoint does around its connections: opening, listening, TIME-WAIT, ICMP.

mod beside;
mod fast_open;
mod hosts;
mod icmp;
mod interfaces;
mod listening;
mod moving;
mod opening;
mod ownership;
mod source_route;
mod time_wait;
