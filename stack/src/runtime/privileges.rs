//! The capabilities that the set-up needs, and giving them up when it is done.
//!
//! Capabilities belong to threads. What was found on Linux 6.18 with `kernel.unprivileged_bpf_disabled = 2`, each shown
//! by a test of `bench/tests/veth/unprivileged.rs` that runs a whole server without any after its set-up:
//!
//! - Making maps and loading a program needs `CAP_BPF`, attaching it `CAP_NET_ADMIN`, an `AF_XDP` socket `CAP_NET_RAW`.
//! - The verifier wants no `CAP_PERFMON` as long as the program adds only constants to packet pointers; with a length that it
//!   read it would (unless `mitigations=off`), and so it may on another kernel. Then the error says so.
//! - Rings, `sendto` and `poll` on an open `AF_XDP` socket, and `XDP_STATISTICS`, need none.
//! - Maps can be read and written through descriptors that are open already (from Linux 5.19 on; Linux 5.18 wants
//!   `CAP_BPF` for each call while `unprivileged_bpf_disabled` is not 0, so that the steering counters stay empty).
//! - Closing the `bpf_link` detaches the program without any.
//! - Frames that the process locked stay locked, and `SCHED_FIFO` stays what it is.
//!
//! Asking the kernel for a neighbour (`RTM_NEWNEIGH`) needs `CAP_NET_ADMIN` each time, reading tables needs none: whoever
//! asks on the main thread names that capability as one to keep.

use crate::Error;
use crate::config::Drop;
use corelane_bpf::AttachError;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use std::io::ErrorKind;

/// What the set-up needs, each with its name.
pub const NEEDED: &[(&str, CapabilitySet)] = &[
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_BPF", CapabilitySet::BPF),
];

/// What some kernels' verifiers want beside those.
const PERFMON: (&str, CapabilitySet) = ("CAP_PERFMON", CapabilitySet::PERFMON);

/// What `CAP_SYS_ADMIN` includes, as it did before they were split off.
const OF_ADMIN: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// Fails when the calling thread lacks a capability that the set-up needs, and names it.
pub(crate) fn check() -> Result<(), Error> {
    check_set(effective()?)
}

/// What the calling thread has, with all that it includes.
fn effective() -> Result<CapabilitySet, Error> {
    let sets =
        capabilities(None).map_err(|error| Error::System { what: "reading the capabilities", error: error.into() })?;
    Ok(included(sets.effective))
}

fn included(set: CapabilitySet) -> CapabilitySet {
    if set.contains(CapabilitySet::SYS_ADMIN) { set | OF_ADMIN } else { set }
}

fn check_set(effective: CapabilitySet) -> Result<(), Error> {
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(_, set)| !effective.contains(*set)).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(lacks(&missing)) }
}

/// What a refusal to load the program means to a thread without `CAP_PERFMON`.
pub(super) fn explain(error: AttachError) -> Error {
    let verifier = matches!(&error, AttachError::Load { source, .. } if source.kind() == ErrorKind::PermissionDenied);
    match effective() {
        Ok(set) if verifier && !set.contains(CapabilitySet::PERFMON) => lacks(&[PERFMON.0]),
        _ => error.into(),
    }
}

fn lacks(missing: &[&str]) -> Error {
    let mut all: Vec<&str> = NEEDED.iter().map(|(name, _)| *name).collect();
    if missing.contains(&PERFMON.0) {
        all.push(PERFMON.0);
    }
    Error::Capabilities {
        missing: missing.join(", "),
        setcap: format!("{}+ep", all.join(",").to_lowercase()),
        ambient: format!("\"{}\"", all.join(" ")),
    }
}

/// To be called by a worker after its own set-up and its application's `on_start`.
pub(super) fn drop_on_worker(drop: Drop) -> Result<(), Error> {
    match drop {
        Drop::Off => Ok(()),
        Drop::Workers | Drop::All => drop_all_but(CapabilitySet::empty()),
    }
}

/// To be called by the thread that runs the stack when every socket is registered. `keep` is what it still needs.
pub(super) fn drop_on_main(drop: Drop, keep: CapabilitySet) -> Result<(), Error> {
    match drop {
        Drop::Off | Drop::Workers => Ok(()),
        Drop::All => drop_all_but(keep),
    }
}

/// Leaves the calling thread with those of `keep` that it has, and with no way to others.
fn drop_all_but(keep: CapabilitySet) -> Result<(), Error> {
    let dropped = |error: Errno| Error::Drop { error: error.into() };
    // No program that is executed from here on gains any, by file capabilities or as root.
    set_no_new_privs(true).map_err(dropped)?;
    clear_ambient_capability_set().map_err(dropped)?;
    let has = capabilities(None).map_err(dropped)?;
    // Emptying the bounding set is for those who may: it wants CAP_SETPCAP, which the set-up does not need.
    if has.effective.contains(CapabilitySet::SETPCAP) {
        empty_bounding_set(keep)?;
    }
    let kept = has.permitted & keep;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(dropped)
}

fn empty_bounding_set(keep: CapabilitySet) -> Result<(), Error> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel has no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(Error::Drop { error: error.into() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::no_new_privs;

    #[test]
    fn what_is_missing_is_named_with_both_remedies() {
        let has = CapabilitySet::NET_ADMIN | CapabilitySet::SYS_NICE;
        let error = check_set(has).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("lacks CAP_NET_RAW, CAP_BPF:"), "{text}");
        assert!(text.contains("setcap cap_net_admin,cap_net_raw,cap_bpf+ep FILE"), "{text}");
        assert!(text.contains("AmbientCapabilities=\"CAP_NET_ADMIN CAP_NET_RAW CAP_BPF\""), "{text}");
        let perfmon = lacks(&[PERFMON.0]).to_string();
        assert!(perfmon.contains("cap_bpf,cap_perfmon+ep"), "{perfmon}");
        let net = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        assert!(check_set(net | CapabilitySet::BPF).is_ok(), "the kernel says whether it wants CAP_PERFMON");
        assert!(check_set(included(net | CapabilitySet::SYS_ADMIN)).is_ok());
    }

    /// Whatever this process has, a thread that dropped has none, and the others have what they had.
    #[test]
    fn a_thread_drops_for_itself_alone() {
        let before = capabilities(None).unwrap();
        let after = std::thread::spawn(|| {
            drop_on_worker(Drop::Workers).unwrap();
            (capabilities(None).unwrap(), no_new_privs().unwrap())
        });
        let (sets, no_new_privs) = after.join().unwrap();
        assert!(sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty(), "{sets:?}");
        assert!(no_new_privs);
        assert_eq!(capabilities(None).unwrap().effective, before.effective);
    }

    #[test]
    fn the_main_thread_keeps_what_it_is_told_to_and_has() {
        let kept = std::thread::spawn(|| {
            let before = capabilities(None).unwrap().permitted;
            drop_on_main(Drop::Workers, CapabilitySet::empty()).unwrap();
            let still = capabilities(None).unwrap().permitted;
            drop_on_main(Drop::All, CapabilitySet::NET_ADMIN).unwrap();
            (before, still, capabilities(None).unwrap().effective)
        });
        let (before, still, after) = kept.join().unwrap();
        assert_eq!(before, still);
        assert_eq!(after, before & CapabilitySet::NET_ADMIN);
    }
}
