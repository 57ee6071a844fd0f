//! The congestion controls that the tables compare.

pub use corelane_proto::tcp::algorithm::Algorithm;
use corelane_proto::tcp::config::TcpConfig;

/// The settings of a sender with `algorithm`.
pub(super) fn equip(algorithm: Algorithm, config: &mut TcpConfig) {
    config.congestion = algorithm;
}
