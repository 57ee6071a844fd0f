//! A process for the tests of `attach.rs` to kill or to take capabilities from: attaches the program to the
//! interface whose index is its argument, says how that went, and then waits.

use std::process::ExitCode;
use std::time::Duration;

use corelane_bpf::{AttachMode, Steering};

fn main() -> ExitCode {
    let index = std::env::args().nth(1).and_then(|index| index.parse().ok());
    let Some(index) = index else {
        println!("child: give the index of an interface");
        return ExitCode::FAILURE;
    };
    match Steering::attach(index, AttachMode::Native) {
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
