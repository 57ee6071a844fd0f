//! Who asks whom: `CLIENT-to-SERVER`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Whose TCP one end has, and how it waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// Our own, spinning.
    Corelane,
    /// The kernel's, sleeping in epoll.
    Kernel,
    /// The kernel's, spinning.
    KernelSpin,
    /// The kernel's, through an `io_uring`, sleeping in it.
    KernelUring,
    /// The kernel's, sleeping, without checksum or segmentation offload: as if its frames went over a wire.
    KernelPlain,
    /// None: bare frames.
    Raw,
}

impl End {
    const ALL: [Self; 6] =
        [Self::Corelane, Self::Kernel, Self::KernelSpin, Self::KernelUring, Self::KernelPlain, Self::Raw];

    /// The name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corelane => "corelane",
            Self::Kernel => "kernel",
            Self::KernelSpin => "kernel-spin",
            Self::KernelUring => "kernel-uring",
            Self::KernelPlain => "kernel-plain",
            Self::Raw => "raw",
        }
    }

    /// What `--transport` calls it.
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Corelane => "corelane",
            Self::Kernel | Self::KernelSpin | Self::KernelPlain => "kernel",
            Self::KernelUring => "kernel-uring",
            Self::Raw => "raw",
        }
    }
}

/// A client and a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pair {
    /// Who asks.
    pub client: End,
    /// Who answers.
    pub server: End,
}

impl Pair {
    /// Nothing but frames.
    pub const RAW: Self = Self { client: End::Raw, server: End::Raw };
    /// The kernel on both sides, as it comes.
    pub const KERNEL: Self = Self { client: End::Kernel, server: End::Kernel };

    /// Whether it is the floor.
    pub fn is_raw(self) -> bool {
        self == Self::RAW
    }

    /// How the links between the two are set.
    pub fn link(self) -> LinkKind {
        let ends = [self.client, self.server];
        if ends.contains(&End::KernelPlain) {
            LinkKind::Plain
        } else if ends.iter().any(|end| matches!(end, End::Corelane | End::Raw)) {
            LinkKind::Checksums
        } else {
            LinkKind::AsItComes
        }
    }
}

/// What the kernel leaves to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// Checksums and segmentation: what a veth pair has by itself, which is the kernel's best.
    AsItComes,
    /// Segmentation: a stack that is not the kernel needs finished checksums.
    Checksums,
    /// Nothing.
    Plain,
}

impl LinkKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AsItComes, Self::Checksums, Self::Plain];
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-to-{}", self.client.name(), self.server.name())
    }
}

impl From<Pair> for String {
    fn from(pair: Pair) -> Self {
        pair.to_string()
    }
}

impl TryFrom<String> for Pair {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = |name: &str| {
            let known = End::ALL.into_iter().find(|end| end.name() == name);
            known.ok_or_else(|| {
                let names = End::ALL.map(End::name).join(", ");
                format!("`{name}` in the pair `{text}` is none of {names}")
            })
        };
        let (client, server) = text
            .split_once("-to-")
            .ok_or_else(|| format!("`{text}` is not CLIENT-to-SERVER, such as corelane-to-kernel"))?;
        let pair = Self { client: end(client)?, server: end(server)? };
        if (pair.client == End::Raw) != (pair.server == End::Raw) {
            return Err(format!("`{text}`: raw goes with raw only, since nobody else answers its frames"));
        }
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_written() {
        for client in End::ALL {
            for server in End::ALL {
                let pair = Pair { client, server };
                let back = pair.to_string().parse::<Pair>();
                let goes = (client == End::Raw) == (server == End::Raw);
                assert_eq!(back.ok(), goes.then_some(pair), "{pair}");
            }
        }
        for bad in ["", "corelane", "corelane-to-", "tcp-to-kernel", "kernel-to-corelane-spin"] {
            assert!(bad.parse::<Pair>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_kernel_has_its_best_link_against_itself() {
        let link = |text: &str| text.parse::<Pair>().unwrap().link();
        assert_eq!(link("kernel-to-kernel-spin"), LinkKind::AsItComes);
        assert_eq!(link("kernel-spin-to-corelane"), LinkKind::Checksums);
        assert_eq!(link("kernel-plain-to-kernel"), LinkKind::Plain);
        assert_eq!(link("raw-to-raw"), LinkKind::Checksums);
    }
}
