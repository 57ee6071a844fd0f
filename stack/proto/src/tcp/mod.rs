//! One connection: values in, values out.

pub mod segment;
pub mod seq;
