//! Keeps the processor from halting deeply while something is measured.
//!
//! An idle core halts, and waking it can cost more than the thing measured (about 50 us on a virtual machine). While
//! `/dev/cpu_dma_latency` is held open with the value 0, the kernel polls instead (kernel doc
//! `Documentation/power/pm_qos_interface.rst`).

use crate::failure::Failure;
use std::fs::{File, OpenOptions};
use std::io::Write;

const DEVICE: &str = "/dev/cpu_dma_latency";

/// The request; it lasts as long as this value lives.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

/// Asks for a wake-up latency of 0 us when `wanted`.
pub fn hold(wanted: bool) -> Result<Option<Held>, Failure> {
    if !wanted {
        return Ok(None);
    }
    let request = || -> std::io::Result<File> {
        let mut file = OpenOptions::new().write(true).open(DEVICE)?;
        file.write_all(&0u32.to_ne_bytes())?;
        Ok(file)
    };
    request().map(|file| Some(Held { _file: file })).map_err(|error| {
        Failure::Machine(format!(
            "--hold-cpu-dma-latency cannot write to {DEVICE}: {error}; run as root or leave the option out"
        ))
    })
}
