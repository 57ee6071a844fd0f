//! The scheduling priority of a worker's thread.

use crate::Error;
use crate::config::Priority;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::io;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// Gives the calling thread its priority.
pub(super) fn apply(priority: Priority) -> Result<(), Error> {
    match priority {
        Priority::Inherited => Ok(()),
        // Linux has a nice value for each thread, by its number.
        Priority::Nice(nice) => {
            let set = setpriority_process(Some(gettid()), nice.into());
            set.map_err(|error| refused(priority, error.into()))
        }
        Priority::Fifo(number) => fifo(number).map_err(|error| refused(priority, error)),
    }
}

fn fifo(number: u8) -> io::Result<()> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let wanted = number.try_into().map_err(io::Error::other)?;
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(wanted), policy).map_err(|error| {
        match error {
            thread_priority::Error::OS(errno) => io::Error::from_raw_os_error(errno),
            other => io::Error::other(format!("{other:?}")),
        }
    })
}

/// What stands in the way, and how it goes away.
fn refused(priority: Priority, error: io::Error) -> Error {
    let limit = match priority {
        Priority::Fifo(number) => format!("LimitRTPRIO={number} in the systemd unit (`ulimit -r {number}`)"),
        // RLIMIT_NICE counts from 1 for nice 19 up to 40 for nice -20.
        Priority::Nice(nice) => format!("LimitNICE={} in the systemd unit", 20 - i16::from(nice)),
        Priority::Inherited => String::new(),
    };
    Error::Priority { priority, remedy: format!("run it as root or with CAP_SYS_NICE, or set {limit}"), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_nicer_needs_no_privilege_and_is_the_threads_own() {
        let nice = || rustix::process::getpriority_process(Some(gettid())).unwrap();
        let before = nice();
        let wanted = i8::try_from(before).unwrap().saturating_add(1).min(19);
        let inside = std::thread::spawn(move || {
            apply(Priority::Nice(wanted)).unwrap();
            rustix::process::getpriority_process(Some(gettid())).unwrap()
        });
        assert_eq!(inside.join().unwrap(), i32::from(wanted));
        assert_eq!(nice(), before);
    }

    #[test]
    fn real_time_is_granted_or_refused_with_the_remedy() {
        let tried = std::thread::spawn(|| apply(Priority::Fifo(3)).map(|()| policy()));
        match tried.join().unwrap() {
            Ok(policy) => assert_eq!(policy, (1, 3), "SCHED_FIFO is 1"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("CAP_SYS_NICE") && text.contains("LimitRTPRIO=3"), "{text}");
                assert_eq!(error.exit_code(), 3);
            }
        }
    }

    /// The policy and the real-time priority of the calling thread, as proc(5) counts the fields of `stat`.
    fn policy() -> (u32, u32) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let field = |number: usize| fields.split(' ').nth(number - 3).unwrap().parse().unwrap();
        (field(41), field(40))
    }

    #[test]
    fn limits_are_counted_as_the_kernel_does() {
        let text = refused(Priority::Nice(-20), io::Error::from_raw_os_error(13)).to_string();
        assert!(text.contains("LimitNICE=40") && text.contains("cores.priority = \"nice -20\""), "{text}");
    }
}
