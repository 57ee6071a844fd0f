//! Every attack of the simulator, with few packets: its bounds hold, and the victims lose nothing.

use corelane_sim::attack;

fn held(name: &str) {
    let attack = attack::named(name).expect("there is such an attack");
    let report = attack::run(attack, None);
    assert!(report.held(), "{}", attack::Table(std::slice::from_ref(&report)));
    assert!(report.packets >= attack.packets.0 / 2 && report.victim_bytes > 0, "{report:?}");
}

#[test]
fn each_attack_is_tested_by_its_name() {
    let known: Vec<_> = attack::all().map(|attack| attack.name).collect();
    assert_eq!(known, NAMES);
}

macro_rules! attacks {
    ($($name:ident,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name),)*];
        $(
            #[test]
            fn $name() {
                held(stringify!($name));
            }
        )*
    };
}

attacks! {
    blind_rst,
    blind_syn,
    blind_data,
    challenge_ack_side_channel,
    sequence_prediction,
    off_path_icmp,
    syn_flood,
    ack_flood,
    rst_flood,
    tiny_segments,
    sack_with_minimal_mss,
    optimistic_acks,
    ack_division,
    duplicate_ack_spoofing,
    shrinking_windows,
    zero_window_hoarding,
    data_after_close,
    overlapping_segments,
    slow_reader,
    sack_flood,
}
