//! The engines of the fuzz targets: what a run does with its bytes, and what has to hold after each step.
//!
//! The targets in `fuzz_targets/` hand libFuzzer's bytes to [`wire::run`], [`endpoint::run`] and [`pair::run`]; the
//! tests hand them the corpora, and every input that ever failed, so that a stable Rust without libFuzzer replays them.
//! A run depends on its bytes alone.

pub mod endpoint;
mod input;
mod mend;
pub mod pair;
mod route;
pub mod wire;

pub use input::Input;
pub use mend::mend;
