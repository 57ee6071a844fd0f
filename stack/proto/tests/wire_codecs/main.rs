//! The wire codecs from outside: round trips, etherparse as the oracle, and hostile input.

mod frames;
mod hostile;
mod round_trip;
