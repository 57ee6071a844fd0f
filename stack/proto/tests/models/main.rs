//! Machines of TCP beside naive models of themselves: sequence numbers as numbers that do not wrap, a stream as a map of
//! bytes, a queue as a list, a rule as the RFC has it.

mod numbers;
mod receiving;
mod sending;
