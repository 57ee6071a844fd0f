//! The engines of the fuzz targets.
pub mod wire;
pub mod endpoint;
pub mod pair;
