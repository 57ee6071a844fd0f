//! The built program, and how it gets into the kernel.

use std::io;
use std::sync::Mutex;

use libbpf_rs::{Object, ObjectBuilder, PrintLevel, set_print};

use crate::error::AttachError;
use crate::info::os_error;

/// ELF is read in place, so its start must lie where its 8-byte fields are aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../steer.bpf.o"));

/// The program's name in the object, and in `bpftool prog`.
pub(crate) const PROGRAM: &str = "corelane_steer";

/// How much of libbpf's explanation an error carries, in bytes.
const LOG_LEN: usize = 2000;

/// libbpf explains failures by printing them. Here they are kept for the error; a library does not print.
static LOG: Mutex<String> = Mutex::new(String::new());

#[expect(clippy::needless_pass_by_value, reason = "the signature is libbpf-rs's")]
fn keep(level: PrintLevel, message: String) {
    if level == PrintLevel::Warn
        && let Ok(mut log) = LOG.lock()
    {
        log.push_str(&message);
    }
}

/// The program with its maps, loaded and attached to nothing.
pub(crate) fn load() -> Result<Object, AttachError> {
    // Printing is global to the process: one load at a time, and what was set before is set again after.
    static LOADING: Mutex<()> = Mutex::new(());
    let _loading = LOADING.lock();
    let previous = set_print(Some((PrintLevel::Warn, keep)));
    let loaded = ObjectBuilder::default().open_memory(&OBJECT.0).and_then(libbpf_rs::OpenObject::load);
    set_print(previous);
    let log = LOG.lock().map(|mut log| std::mem::take(&mut *log)).unwrap_or_default();
    loaded.map_err(|error| {
        let source = os_error(&error);
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if !is_verifier_log(&log) => AttachError::Permission { what: "load" },
            _ => AttachError::Load { source, log: tail(&log) },
        }
    })
}

/// The verifier also answers EACCES to a program that it does not like, but then it says why.
fn is_verifier_log(log: &str) -> bool {
    log.contains("BEGIN PROG LOAD LOG")
}

/// The last lines of the log on one line: that is where the reason stands.
fn tail(log: &str) -> String {
    let mut start = log.len().saturating_sub(LOG_LEN);
    while !log.is_char_boundary(start) {
        start += 1;
    }
    log[start..].lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

/// An object without what this crate expects in it: it was built from another source.
pub(crate) fn lacks(what: &str) -> AttachError {
    AttachError::Load {
        source: io::Error::new(io::ErrorKind::NotFound, format!("bpf/steer.bpf.o has no {what}")),
        log: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_aligned_elf() {
        assert_eq!(OBJECT.0.as_ptr().align_offset(8), 0);
        assert_eq!(&OBJECT.0[..4], b"\x7fELF");
    }

    #[test]
    fn the_object_opens_with_the_program_and_the_maps_at_their_sizes() {
        use libbpf_rs::MapType;

        let object = ObjectBuilder::default().open_memory(&OBJECT.0).unwrap();
        let program = object.progs().find(|program| program.name() == PROGRAM).unwrap();
        assert_eq!(program.section(), "xdp.frags");
        let mut maps: Vec<_> = object.maps().map(|map| (map.name().to_owned(), map.map_type())).collect();
        maps.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("config", MapType::Array),
            ("counters", MapType::PercpuArray),
            ("listeners", MapType::Hash),
            ("own_addresses", MapType::Hash),
            ("xsks", MapType::Xskmap),
        ];
        assert_eq!(maps.len(), expected.len());
        for (map, expected) in maps.iter().zip(expected) {
            assert_eq!((map.0.to_str().unwrap(), map.1), expected);
        }
    }

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        let log = "é\n".repeat(LOG_LEN) + "the reason\n";
        let tail = tail(&log);
        assert!(tail.ends_with("| the reason"));
        assert!(tail.len() <= 2 * LOG_LEN);
    }
}
