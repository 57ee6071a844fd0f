//! A process for the tests of `attach.rs` to kill or to take capabilities from: attaches the program to the
//! interface whose index is its argument, says how that went, and then waits.

use std::process::ExitCode;
use std::time::Duration;

use corelane_bpf::{AttachMode, FlowHash, Layout, Setup, SocketsPerQueue, Steering};

fn main() -> ExitCode {
    let index = std::env::args().nth(1).and_then(|index| index.parse().ok());
    let Some(index) = index else {
        println!("child: give the index of an interface");
        return ExitCode::FAILURE;
    };
    // All that the program can do, so that the verifier has all of it to judge.
    let layout = Layout { base_queue: 0, queues: 2, cores: 3, sockets_per_queue: SocketsPerQueue::All };
    let setup = Setup::new(layout, FlowHash::new([1; 16]));
    match Steering::attach_with(index, AttachMode::Native, &setup) {
        Ok(_steering) => {
            println!("child: attached");
            std::thread::sleep(Duration::from_secs(60));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("child: {error}");
            ExitCode::FAILURE
        }
    }
}
