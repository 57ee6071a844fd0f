//! Frames in huge pages where they are to be had.

use crate::Error;
use crate::config::HugePages;
use crate::device::xdp::XdpError;
use corelane_xdp::OpenError;
use serde::Serialize;
use std::fmt;

/// What a worker's frames lie in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pages {
    /// The machine's ordinary pages.
    Normal,
    /// Huge pages.
    Huge,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Huge => "huge",
        })
    }
}

/// Calls `open` with huge pages or without, as `wanted` says, for frames of `bytes` bytes together. `Auto` tries with
/// them where they are reserved, and then without.
///
/// # Errors
///
/// What `open` says to its last call; [`Error::HugePages`] when they are required and not there.
pub(super) fn open_with<T>(
    wanted: HugePages,
    bytes: u64,
    mut open: impl FnMut(bool) -> Result<T, XdpError>,
) -> Result<(T, Pages), Error> {
    open_on(wanted, &Reserved::of_machine(), bytes, &mut open)
}

fn open_on<T>(
    wanted: HugePages,
    reserved: &Reserved,
    bytes: u64,
    open: &mut dyn FnMut(bool) -> Result<T, XdpError>,
) -> Result<(T, Pages), Error> {
    let with = match wanted {
        HugePages::Off => false,
        HugePages::Auto => reserved.hold(bytes),
        HugePages::Require => true,
    };
    if !with {
        if wanted == HugePages::Auto {
            let remedy = reserved.remedy(bytes);
            tracing::info!(remedy, "the frames lie in normal pages: too few huge pages are free");
        }
        return Ok((open(false)?, Pages::Normal));
    }
    match open(true) {
        // Somebody else took them since, or another NUMA node has them.
        Err(XdpError::Open(OpenError::HugePages { .. })) if wanted == HugePages::Auto => {
            tracing::info!("the frames lie in normal pages: the kernel gave no huge ones");
            Ok((open(false)?, Pages::Normal))
        }
        Err(XdpError::Open(OpenError::HugePages { .. })) => {
            Err(Error::HugePages { bytes, remedy: reserved.remedy(bytes) })
        }
        opened => Ok((opened?, Pages::Huge)),
    }
}

/// The huge pages of the kernel's default size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Reserved {
    /// Neither in use nor promised to anybody.
    free: u64,
    /// All of them.
    total: u64,
    /// Bytes of one; 0 when the kernel has none.
    page_bytes: u64,
}

impl Reserved {
    fn of_machine() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(meminfo: &str) -> Self {
        let number = |key: &str| {
            let value = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            value.split_whitespace().next()?.parse::<u64>().ok()
        };
        let get = |key| number(key).unwrap_or(0);
        Self {
            free: get("HugePages_Free").saturating_sub(get("HugePages_Rsvd")),
            total: get("HugePages_Total"),
            page_bytes: get("Hugepagesize") * 1024,
        }
    }

    /// Whether frames of `bytes` bytes find room. A part of a page would waste the rest of it: those lie in normal ones.
    fn hold(self, bytes: u64) -> bool {
        self.page_bytes > 0 && bytes.is_multiple_of(self.page_bytes) && bytes / self.page_bytes <= self.free
    }

    /// How to reserve what is missing.
    fn remedy(self, bytes: u64) -> String {
        if self.page_bytes == 0 {
            return "boot a kernel with CONFIG_HUGETLBFS=y".into();
        }
        if !bytes.is_multiple_of(self.page_bytes) {
            let page = self.page_bytes;
            return format!("set memory.frame_count so that the frames fill pages of {page} bytes");
        }
        let missing = (bytes / self.page_bytes).saturating_sub(self.free);
        format!("sysctl -w vm.nr_hugepages={}", self.total + missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ENOUGH: Reserved = Reserved { free: 8, total: 8, page_bytes: 2 * MIB };
    const NONE: Reserved = Reserved { free: 0, total: 0, page_bytes: 2 * MIB };

    /// Opens with `refuse` saying which calls are refused for want of huge pages; says what was tried.
    fn tried(wanted: HugePages, reserved: Reserved, refuse: bool) -> (Vec<bool>, Result<Pages, String>) {
        let mut tried = Vec::new();
        let opened = open_on(wanted, &reserved, 16 * MIB, &mut |huge| {
            tried.push(huge);
            if huge && refuse { Err(OpenError::HugePages { bytes: 16 * MIB, pages: 8 }.into()) } else { Ok(()) }
        });
        (tried, opened.map(|((), pages)| pages).map_err(|error| error.to_string()))
    }

    #[test]
    fn auto_takes_them_where_they_are_and_does_without_else() {
        assert_eq!(tried(HugePages::Auto, ENOUGH, false), (vec![true], Ok(Pages::Huge)));
        assert_eq!(tried(HugePages::Auto, NONE, false), (vec![false], Ok(Pages::Normal)));
        assert_eq!(tried(HugePages::Auto, ENOUGH, true), (vec![true, false], Ok(Pages::Normal)));
        assert_eq!(tried(HugePages::Off, ENOUGH, false), (vec![false], Ok(Pages::Normal)));
    }

    #[test]
    fn require_does_not_do_without() {
        assert_eq!(
            tried(HugePages::Require, NONE, false),
            (vec![true], Ok(Pages::Huge)),
            "the kernel has the last word"
        );
        let (calls, refused) = tried(HugePages::Require, NONE, true);
        assert_eq!(calls, [true]);
        let refused = refused.unwrap_err();
        assert!(refused.contains("`sysctl -w vm.nr_hugepages=8`"), "{refused}");
    }

    #[test]
    fn another_error_is_not_tried_away() {
        let mut calls = 0;
        let opened = open_on(HugePages::Auto, &ENOUGH, 16 * MIB, &mut |_| -> Result<(), XdpError> {
            calls += 1;
            Err(OpenError::Privilege.into())
        });
        assert!(opened.is_err() && calls == 1);
    }

    #[test]
    fn the_kernels_figures_are_read_and_the_remedy_is_computed() {
        let text = "HugePages_Total:      10\nHugePages_Free:        9\nHugePages_Rsvd:        4\nHugePages_Surp: 0\n\
                    Hugepagesize:       2048 kB\n";
        let reserved = Reserved::parse(text);
        assert_eq!(reserved, Reserved { free: 5, total: 10, page_bytes: 2 * MIB });
        assert!(reserved.hold(10 * MIB) && !reserved.hold(12 * MIB) && !reserved.hold(MIB));
        assert_eq!(reserved.remedy(16 * MIB), "sysctl -w vm.nr_hugepages=13");
        assert!(reserved.remedy(MIB).contains("memory.frame_count"));
        assert!(Reserved::parse("").remedy(MIB).contains("CONFIG_HUGETLBFS"));
    }
}
