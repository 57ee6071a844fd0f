//! Requirements of RFC 9293 that it takes an endpoint to see: each test stands on the words that it shows.

mod bench;
mod icmp;
mod opening;
mod options;
mod receiving;
mod sending;
mod settings;
