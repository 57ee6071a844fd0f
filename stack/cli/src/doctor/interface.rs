//! Judgements about a network interface.

use super::system::{Interface, State};
use super::{Check, Needs};
use corelane::config::Mode;

/// Drivers with zero-copy AF_XDP in the kernel's own tree.
const ZERO_COPY: &[&str] =
    &["i40e", "ice", "igb", "igc", "ixgbe", "ixgbevf", "mlx5_core", "stmmac", "gve", "virtio_net", "nfp"];
/// Drivers that run the program natively, but copy each frame into the UMEM.
const NATIVE: &[&str] = &[
    "veth",
    "tun",
    "ena",
    "bnxt_en",
    "bnx2x",
    "mlx4_en",
    "mlx4_core",
    "hv_netvsc",
    "vmxnet3",
    "sfc",
    "qede",
    "netvsc",
];

/// Every check of the interface, in the order in which they are shown.
pub(super) fn all(interface: &Interface, needs: &Needs) -> Vec<Check> {
    let name = interface.name.as_str();
    let Some(state) = &interface.state else {
        let remedy = format!("name one of: {}", interface.others.join(", "));
        return vec![Check::fail(
            "interface",
            format!("there is no interface {name} in this network namespace"),
            remedy,
        )];
    };
    vec![
        link(name, state),
        driver(state, needs),
        queues(name, state, needs),
        mtu(name, state, needs),
        offloads(name, state),
        program(name, state),
    ]
}

fn link(name: &str, state: &State) -> Check {
    if !state.is_up {
        return Check::fail("interface", format!("{name} is down"), format!("sudo ip link set dev {name} up"));
    }
    if !state.has_carrier {
        let remedy = "look at the cable, the switch or the other end of the veth pair";
        return Check::warn("interface", format!("{name} is up, but there is nobody at the other end"), remedy);
    }
    Check::ok("interface", format!("{name} is up and has a carrier"))
}

fn driver(state: &State, needs: &Needs) -> Check {
    let name = "driver";
    let Some(driver) = state.driver.as_deref() else {
        let message = "the driver is unknown, so its modes are too";
        return Check::warn(name, message, "sudo apt-get install ethtool, then run this again");
    };
    if ZERO_COPY.contains(&driver) {
        return Check::ok(name, format!("{driver} is known to have zero-copy; the mode in force is shown at start"));
    }
    if needs.mode == Mode::RequireZerocopy {
        let message = format!("{driver} is not known to have zero-copy, and the configuration requires it");
        return Check::fail(name, message, "set interface.mode = \"prefer-zerocopy\" or \"copy\"");
    }
    if NATIVE.contains(&driver) {
        return Check::ok(name, format!("{driver} runs the program natively, and copies each frame"));
    }
    let message = format!("{driver} is not known to run XDP programs natively");
    Check::warn(
        name,
        message,
        "set interface.mode = \"skb\" when the start fails; it is slower, and every driver has it",
    )
}

fn queues(interface: &str, state: &State, needs: &Needs) -> Check {
    let name = "queues";
    let text = format!("{} to receive, {} to send", state.rx_queues, state.tx_queues);
    let there = state.rx_queues.min(state.tx_queues);
    if let Some(missing) = needs.queues.iter().find(|queue| **queue >= there) {
        let message = format!("{text}, and the configuration wants queue {missing}");
        let remedy = format!(
            "set interface.queues within 0-{}, or `sudo ethtool -L {interface} combined {}`",
            there.max(1) - 1,
            missing + 1
        );
        return Check::fail(name, message, remedy);
    }
    let served = needs.queues.len() as u64;
    if served < u64::from(state.rx_queues) {
        let message = format!("{text}, {served} served: connections that the card puts elsewhere stay with the kernel");
        let remedy = format!("leave interface.queues out, or `sudo ethtool -L {interface} combined {served}`");
        return Check::warn(name, message, remedy);
    }
    Check::ok(name, text)
}

fn mtu(interface: &str, state: &State, needs: &Needs) -> Check {
    let (mtu, largest) = (state.mtu, needs.largest_mtu);
    if mtu <= largest {
        return Check::ok("mtu", format!("{mtu} bytes, a frame holds {largest}"));
    }
    let remedy = if largest < 3822 && mtu <= 3822 {
        format!("set memory.frame_size = 4096, or `sudo ip link set dev {interface} mtu 1500`")
    } else {
        format!("sudo ip link set dev {interface} mtu 1500")
    };
    Check::fail("mtu", format!("{mtu} bytes, but a frame holds only {largest}"), remedy)
}

fn offloads(interface: &str, state: &State) -> Check {
    let name = "offloads";
    let Some(on) = &state.offloads else {
        let remedy = "sudo apt-get install ethtool, then run this again";
        return Check::warn(name, "they could not be seen without ethtool", remedy);
    };
    // Both make one packet of several before XDP sees it; many drivers refuse the program then.
    let harmful = [("large-receive-offload", "lro"), ("rx-gro-hw", "rx-gro-hw")];
    let harmful: Vec<&str> =
        harmful.iter().filter(|(long, _)| on.iter().any(|name| name == long)).map(|(_, short)| *short).collect();
    if !harmful.is_empty() {
        let switches: Vec<String> = harmful.iter().map(|short| format!("{short} off")).collect();
        let message = format!("{} merges packets before the program sees them", harmful.join(" and "));
        return Check::warn(name, message, format!("sudo ethtool -K {interface} {}", switches.join(" ")));
    }
    if state.driver.as_deref() == Some("veth") {
        let message = "a veth's other end leaves TCP checksums unfinished, and such segments are dropped as corrupt";
        return Check::warn(name, message, "at the other end: sudo ethtool -K PEER tx off (`scripts/veth up` does it)");
    }
    Check::ok(name, "none that hurts is on")
}

fn program(interface: &str, state: &State) -> Check {
    let name = "xdp-program";
    match &state.program {
        Ok(None) => Check::ok(name, "none is attached"),
        Ok(Some(program)) => {
            let whose = match program.name.as_deref() {
                Some(known) if known.starts_with("corelane") || known.starts_with("steer") => {
                    "perhaps a running Corelane"
                }
                _ => "not Corelane's",
            };
            let message = format!("{} is attached, {whose}; it will not be replaced", program.text);
            let remedy =
                format!("end its owner (`sudo bpftool link` names it), or `sudo ip link set dev {interface} xdp off`");
            Check::fail(name, message, remedy)
        }
        Err(error) => {
            let remedy = format!("look with `ip -d link show dev {interface}`");
            Check::warn(name, format!("whether one is attached could not be seen: {error}"), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::doctor::checks::tests::needs;
    use crate::doctor::system::Program;

    fn good() -> State {
        State {
            is_up: true,
            has_carrier: true,
            driver: Some("ice".into()),
            rx_queues: 1,
            tx_queues: 1,
            mtu: 1500,
            offloads: Some(vec!["rx-checksumming".into()]),
            program: Ok(None),
        }
    }

    fn checks(state: State) -> Vec<Check> {
        all(&Interface { name: "eth0".into(), state: Some(state), others: vec!["eth0".into()] }, &needs())
    }

    /// The one check that is not ok.
    fn wrong(state: State) -> (&'static str, Level, String) {
        let mut wrong = checks(state).into_iter().filter(|check| check.level != Level::Ok);
        let check = wrong.next().unwrap_or_else(|| panic!("nothing is wrong"));
        assert_eq!(wrong.next(), None, "one thing is wrong");
        (check.name, check.level, check.remedy.unwrap_or_else(|| panic!("{} has no remedy", check.name)))
    }

    #[test]
    fn nothing_is_wrong_with_a_good_interface() {
        assert!(checks(good()).iter().all(|check| check.level == Level::Ok && check.remedy.is_none()));
    }

    #[test]
    fn an_absent_interface_names_those_there_are() {
        let absent = Interface { name: "eth9".into(), state: None, others: vec!["eth0".into(), "lo".into()] };
        let checks = all(&absent, &needs());
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].level, checks[0].remedy.as_deref()), (Level::Fail, Some("name one of: eth0, lo")));
    }

    #[test]
    fn links_that_are_down_say_how_to_get_up() {
        let down = wrong(State { is_up: false, has_carrier: false, ..good() });
        assert_eq!(down, ("interface", Level::Fail, "sudo ip link set dev eth0 up".into()));
        assert_eq!(wrong(State { has_carrier: false, ..good() }).1, Level::Warn);
    }

    #[test]
    fn drivers_are_judged_by_the_mode_that_is_wanted() {
        let judge = |name: Option<&str>, mode| {
            driver(&State { driver: name.map(Into::into), ..good() }, &Needs { mode, ..needs() }).level
        };
        assert_eq!(judge(Some("ice"), Mode::RequireZerocopy), Level::Ok);
        assert_eq!(judge(Some("veth"), Mode::RequireZerocopy), Level::Fail);
        assert_eq!(judge(Some("veth"), Mode::PreferZerocopy), Level::Ok);
        assert_eq!(judge(Some("newcomer"), Mode::Copy), Level::Warn);
        assert_eq!(judge(None, Mode::Copy), Level::Warn);
    }

    #[test]
    fn queues_are_counted() {
        assert_eq!(wrong(State { rx_queues: 4, tx_queues: 4, ..good() }).0, "queues");
        let needs = Needs { queues: vec![0, 1], ..needs() };
        let check = queues("eth0", &good(), &needs);
        assert_eq!(check.level, Level::Fail);
        assert!(check.remedy.is_some_and(|remedy| remedy.ends_with("`sudo ethtool -L eth0 combined 2`")));
        assert_eq!(queues("eth0", &State { rx_queues: 2, tx_queues: 2, ..good() }, &needs).level, Level::Ok);
    }

    #[test]
    fn a_packet_has_to_fit_a_frame() {
        let larger = wrong(State { mtu: 3000, ..good() });
        assert_eq!((larger.0, larger.1), ("mtu", Level::Fail));
        assert!(larger.2.contains("frame_size = 4096"));
        assert_eq!(wrong(State { mtu: 9000, ..good() }).2, "sudo ip link set dev eth0 mtu 1500");
        assert!(checks(State { mtu: 1774, ..good() }).iter().all(|check| check.level == Level::Ok));
    }

    #[test]
    fn offloads_that_hurt_are_named() {
        let merging = vec!["large-receive-offload".into(), "rx-gro-hw".into()];
        let (_, level, remedy) = wrong(State { offloads: Some(merging), ..good() });
        assert_eq!((level, remedy.as_str()), (Level::Warn, "sudo ethtool -K eth0 lro off rx-gro-hw off"));
        assert_eq!(wrong(State { offloads: None, ..good() }).1, Level::Warn);
        assert_eq!(wrong(State { driver: Some("veth".into()), ..good() }).0, "offloads");
    }

    #[test]
    fn a_foreign_program_is_in_the_way() {
        let program = Program { id: 7, name: Some("other".into()), text: "program 7".into() };
        let (name, level, remedy) = wrong(State { program: Ok(Some(program)), ..good() });
        assert_eq!((name, level), ("xdp-program", Level::Fail));
        assert!(remedy.contains("ip link set dev eth0 xdp off"));
        assert_eq!(wrong(State { program: Err("no".into()), ..good() }).1, Level::Warn);
    }
}
