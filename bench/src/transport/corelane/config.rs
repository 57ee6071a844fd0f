//! The stack's configuration from a file and from arguments, which override it.

use crate::cli::{Impair, StackArgs};
use crate::cores::CoreList;
use crate::failure::Failure;
use corelane::Config;
use corelane::config::{ConfigError, Strategy};

/// A configuration, and the cores that its workers run on.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// What the stack is started with.
    pub config: Config,
    /// One for each worker.
    pub cores: Vec<usize>,
}

impl StackConfig {
    /// Lays `args` over the file that they name, if any. `cores` are those of the command line; without them, the
    /// file's; without these, `default`.
    pub fn new(args: &StackArgs, cores: Option<&CoreList>, default: &CoreList) -> Result<Self, Failure> {
        let wrong = |error: ConfigError| Failure::Usage(error.to_string());
        let StackArgs { config: file, interface, address, gateway, mode, wait, impair, set } = args;
        let mut builder = match file {
            Some(path) => Config::load(path).map_err(wrong)?.into_builder(),
            None => Config::builder(),
        };
        if let Some(name) = interface {
            builder = builder.interface(name);
        }
        if let Some(prefix) = address {
            let len = prefix.len.unwrap_or(if prefix.ip.is_ipv4() { 32 } else { 128 });
            builder = builder.set("interface.address", vec![format!("{}/{len}", prefix.ip)]);
        }
        if let Some(gateway) = gateway {
            builder = builder.set("interface.gateway", vec![gateway.to_string()]);
        }
        for (key, value) in [("interface.mode", mode), ("waiting.strategy", wait)] {
            if let Some(value) = value {
                builder = builder.set(key, value.as_str());
            }
        }
        if let Some(Impair { loss, reorder, duplicate, corrupt }) = *impair {
            for direction in ["rx", "tx"] {
                for (name, share) in
                    [("loss", loss), ("reorder", reorder), ("duplicate", duplicate), ("corrupt", corrupt)]
                {
                    builder = builder.set(&format!("impair.{direction}.{name}"), share);
                }
            }
        }
        for assignment in set {
            builder = builder.set_text(assignment);
        }
        let config = builder.build().map_err(wrong)?;
        let listed = config.cores().list().to_vec();
        // One worker for each core named. What queues there are is another matter.
        let cores = match cores {
            Some(cores) => cores.as_slice().to_vec(),
            None if !listed.is_empty() => listed,
            None => match config.cores().workers() {
                Some(workers) => CoreList::allowed().as_slice().iter().copied().take(workers as usize).collect(),
                None => default.as_slice().to_vec(),
            },
        };
        let config = config.into_builder().cores(&cores).build().map_err(wrong)?;
        Ok(Self { config, cores })
    }
    /// Whether the workers never sleep.
    pub fn spins(&self) -> bool {
        self.config.waiting().strategy() == Strategy::Spin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn args(file: Option<&std::path::Path>) -> StackArgs {
        let address = crate::cli::Prefix { ip: [10, 0, 0, 2].into(), len: Some(24) };
        StackArgs {
            config: file.map(Into::into),
            interface: Some("eth7".into()),
            address: Some(address),
            wait: Some("spin".into()),
            impair: Some(Impair { loss: 0.02, ..Impair::default() }),
            set: vec!["tcp.rto_min_ms=100".into()],
            ..StackArgs::default()
        }
    }

    #[test]
    fn arguments_override_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "[interface]\nname = \"eth0\"\naddress = [\"10.0.0.9/24\"]\nqueues = [4, 5]\n[cores]\nlist = [0, 1]\n";
        file.write_all(text.as_bytes()).unwrap();
        let default = CoreList::parse("3").unwrap();
        let stack = StackConfig::new(&args(Some(file.path())), None, &default).unwrap();
        let config = &stack.config;
        assert_eq!((config.interface().name(), config.interface().queues()), ("eth7", &[4, 5][..]));
        assert_eq!(config.interface().address().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.2/24"]);
        assert_eq!((config.impair_rx().loss(), config.impair_tx().loss()), (0.02, 0.02));
        assert_eq!((config.tcp().rto_min_ms(), stack.spins()), (100, true));
        assert_eq!(stack.cores, [0, 1]);
    }

    #[test]
    fn there_is_a_worker_for_each_core_named() {
        let default = CoreList::parse("3").unwrap();
        let stack = StackConfig::new(&args(None), None, &default).unwrap();
        assert_eq!((stack.cores.as_slice(), stack.config.interface().queues()), (&[3][..], &[][..]));
        let cores = CoreList::parse("2,1").unwrap();
        let stack = StackConfig::new(&args(None), Some(&cores), &default).unwrap();
        assert_eq!((stack.cores.as_slice(), stack.config.interface().queues()), (&[2, 1][..], &[][..]));
        assert_eq!(stack.config.cores().list(), [2, 1]);
    }
}
