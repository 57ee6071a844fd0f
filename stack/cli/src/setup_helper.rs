//! `corelane setup-helper`: has the privileges that a stack without any needs.

use crate::{DONE, Failure, USAGE};
use corelane::config::Config;
use corelane::helper::{Server, Terms};
use corelane::steer::ports::PortSet;
use std::io::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    sudo corelane setup-helper --socket /run/corelane-helper/helper.sock --config server.toml --user www --ports 80,443\n  \
    corelane-bench serve --config server.toml --set privileges.helper=/run/corelane-helper/helper.sock   # as www\n\n\
    The helper needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF (and CAP_CHOWN for --user), and the stack none. It serves one\n\
    stack after the other; a stack goes on when the helper ends, and leaves nothing attached when it ends itself.")]
pub(crate) struct Arguments {
    /// Where to listen for the stack: its setting privileges.helper
    #[arg(long, short, value_name = "PATH")]
    socket: PathBuf,
    /// The configuration, which the stack has too; what it asks for is compared with this one
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The user that runs the stack, by name or number; without it only the helper's own user and root are served
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// The ports on which the stack may listen at addresses that it shares with the kernel, such as 80,443,8000-8999.
    /// What a socket of the kernel listens on is never taken from it
    #[arg(long, value_name = "LIST", default_value = "1-65535")]
    ports: PortSet,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let config = Config::load(&arguments.config).map_err(|error| Failure::new(USAGE, error.to_string()))?;
    let user = arguments.user.as_deref().map(number_of).transpose()?;
    let terms = Terms { socket: arguments.socket.clone(), user, ports: arguments.ports.clone() };
    let (socket, interface) = (arguments.socket.display().to_string(), config.interface().name().to_owned());
    let ready = || {
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "corelane: sets up {interface} for stacks that ask at {socket}");
    };
    Server::new(config, terms).run(ready).map_err(|error| Failure::new(error.exit_code(), error.to_string()))?;
    Ok(DONE)
}

/// The number of a user, who may be given by it.
fn number_of(user: &str) -> Result<u32, Failure> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| Failure::new(USAGE, format!("there is no user {user:?} in /etc/passwd: give one, or a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_a_number() {
        assert_eq!(number_of("root").unwrap(), 0);
        assert_eq!(number_of("65534").unwrap(), 65534);
        let failure = number_of("nobody at all").unwrap_err();
        assert_eq!(failure.code, USAGE);
        assert!(failure.message.contains("\"nobody at all\""), "{failure}");
    }
}
