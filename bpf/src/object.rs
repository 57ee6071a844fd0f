//! The built program, and how it gets into the kernel.

use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;

use libbpf_rs::{Object, ObjectBuilder, OpenObject, PrintLevel, set_print};
use zerocopy::IntoBytes;

use crate::error::AttachError;
use crate::info::os_error;
use crate::relay::RelayFds;
use crate::setup::Setup;
use crate::shared::Settings;

/// ELF is read in place, so its start must lie where its 8-byte fields are aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../steer.bpf.o"));

/// The program's name in the object, and in `bpftool prog`.
pub(crate) const PROGRAM: &str = "corelane_steer";

/// The map of `struct in_use`.
pub(crate) const IN_USE: &str = ".data.in_use";

/// The map of `struct settings`.
const SETTINGS: &str = ".rodata.settings";

/// The map of the flows of a predecessor, and the ring with their packets.
pub(crate) const RELAYED: &str = "relayed";
pub(crate) const RELAY: &str = "relay";

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

/// The program with its maps for this setup, loaded and attached to nothing. `settings` are those of the setup.
///
/// `inherited` are the maps of the process that is taken over from.
pub(crate) fn load(setup: &Setup, settings: &Settings, inherited: Option<&RelayFds>) -> Result<Object, AttachError> {
    // Printing is global to the process: one load at a time, and what was set before is set again after.
    static LOADING: Mutex<()> = Mutex::new(());
    let _loading = LOADING.lock();
    let previous = set_print(Some((PrintLevel::Warn, keep)));
    let loaded = open(setup, settings, inherited).and_then(OpenObject::load);
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

/// The object with its maps at the sizes of the setup and its settings filled in.
fn open(setup: &Setup, settings: &Settings, inherited: Option<&RelayFds>) -> libbpf_rs::Result<OpenObject> {
    let mut object = ObjectBuilder::default().open_memory(&OBJECT.0)?;
    for mut map in object.maps_mut() {
        let name = map.name().to_os_string();
        match (name.to_str(), inherited) {
            (Some(RELAYED), Some(fds)) => map.reuse_fd(fds.flows.as_fd())?,
            (Some(RELAY), Some(fds)) => map.reuse_fd(fds.ring.as_fd())?,
            (Some("xsks"), _) => map.set_max_entries(setup.layout.sockets())?,
            (Some(RELAYED), None) => map.set_max_entries(setup.max_flows)?,
            (Some(RELAY), None) | (Some("held"), _) => map.set_max_entries(setup.kept_bytes)?,
            (Some("table"), _) => map.set_max_entries(setup.buckets)?,
            (Some("flows"), _) => map.set_max_entries(setup.max_flows)?,
            (Some("pinned"), _) => map.set_max_entries(setup.max_pinned)?,
            (Some(SETTINGS), _) => map.set_initial_value(settings.as_bytes())?,
            _ => {}
        }
    }
    Ok(object)
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

        use crate::{FlowHash, Layout, MAX_LISTENERS, MAX_OWN_ADDRESSES, SocketsPerQueue};

        let layout = Layout { base_queue: 1, queues: 6, cores: 7, sockets_per_queue: SocketsPerQueue::All };
        let setup =
            Setup { buckets: 256, max_flows: 1000, max_pinned: 2000, ..Setup::new(layout, FlowHash::new([3; 16])) };
        let (settings, _) = setup.check().unwrap();
        let object = open(&setup, &settings, None).unwrap();
        let program = object.progs().find(|program| program.name() == PROGRAM).unwrap();
        assert_eq!(program.section(), "xdp.frags");
        let mut maps: Vec<_> = object
            .maps()
            .map(|map| (map.name().to_str().unwrap().to_owned(), map.map_type(), map.max_entries()))
            .collect();
        maps.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            (IN_USE, MapType::Array, 1),
            (SETTINGS, MapType::Array, 1),
            ("counters", MapType::PercpuArray, crate::Counter::ALL.len() as u32),
            ("flows", MapType::Hash, 1000),
            ("held", MapType::RingBuf, 4096),
            ("listeners", MapType::Hash, MAX_LISTENERS),
            ("own_addresses", MapType::Hash, MAX_OWN_ADDRESSES),
            ("pinned", MapType::Hash, 2000),
            ("relay", MapType::RingBuf, 4096),
            ("relayed", MapType::Hash, 1000),
            ("table", MapType::Array, 256),
            ("xsks", MapType::Xskmap, 42),
        ];
        assert_eq!(maps, expected.map(|(name, kind, size)| (name.to_owned(), kind, size)));
        let filled_in = object.maps().find(|map| map.name() == SETTINGS).unwrap();
        assert_eq!(filled_in.initial_value().unwrap(), settings.as_bytes());
    }

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        let log = "é\n".repeat(LOG_LEN) + "the reason\n";
        let tail = tail(&log);
        assert!(tail.ends_with("| the reason"));
        assert!(tail.len() <= 2 * LOG_LEN);
    }
}
