//! Our own TCP over AF_XDP: the workloads as level-1 applications of the stack.

use crate::cli::{LoadArgs, ServeArgs};
use crate::cores::CoreList;
use crate::failure::Failure;
use crate::load::{CoreOutcome, Setup};
use crate::stop::Stop;
use crate::transport::ServeSummary;
use std::net::SocketAddr;

/// The congestion control of the stack.
pub const CONGESTION_CONTROL: &str = "newreno";

fn missing() -> Failure {
    Failure::Machine("this build has no corelane transport yet; take --transport kernel".to_owned())
}

/// Serves until `stop` is raised. `ready` is called once every core listens.
pub fn run_serve(
    _args: &ServeArgs,
    _cores: &CoreList,
    _stop: &Stop,
    _ready: impl FnOnce(SocketAddr),
) -> Result<ServeSummary, Failure> {
    Err(missing())
}

/// Runs the load with one thread for each core of the set-up.
pub fn run_load(_args: &LoadArgs, _setup: &Setup, _stop: &Stop) -> Result<Vec<CoreOutcome>, Failure> {
    Err(missing())
}
