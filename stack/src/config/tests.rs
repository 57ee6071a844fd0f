//! Every key wrong in turn, and the rules that bind several keys.

use super::*;

/// One wrong type, and one value out of range where the key has a range, for each kind of setting.
fn wrong_values(field: &Field<'_>) -> Vec<&'static str> {
    let mut wrong = match field.kind.as_str() {
        "a whole number" => vec!["\"text\"", "1.5", "-1", "true", "[]", "99999999999999999999"],
        "true or false" => vec!["1", "\"true\""],
        "a number" => vec!["\"text\"", "2.0", "-0.1", "nan", "7"],
        "a string" => vec!["1", "[]"],
        kind if kind.starts_with("a list") => vec!["1", "{ a = 1 }", "[true]", "[-1]", "[[]]"],
        kind if kind.contains("a nice value") => vec!["20", "-21", "true", "\"fifo 0\"", "\"nonsense\"", "\"\""],
        _ => vec!["1", "\"nonsense\"", "\"\""],
    };
    match field.rule {
        Rule::Range(low, _) if low > 0 && !field.kind.starts_with("a list") => wrong.push("0"),
        Rule::PowerOfTwo(..) => wrong.extend(["0", "2047", "4294967295"]),
        Rule::NotEmpty => wrong.push("[]"),
        _ => {}
    }
    wrong
}

/// The section, key, kind, rule and wrong values of every setting.
fn table() -> Vec<(String, String, Vec<&'static str>)> {
    let mut all = Vec::new();
    each_field(&mut Config::default(), |field| {
        all.push((field.section.to_owned(), field.key.to_owned(), wrong_values(&field)));
    });
    all
}

#[test]
fn every_key_wrong_in_turn_is_named_with_its_line_and_a_remedy() {
    let table = table();
    assert!(table.len() >= 50, "the walk finds only {} settings", table.len());
    for (section, key, values) in &table {
        for value in values {
            let text = format!("# a comment\n\n[{section}]\n  {key} = {value}\n");
            let Err(error) = Config::from_toml(&text) else { panic!("accepted: {text}") };
            assert_eq!(error.key(), Some(format!("{section}.{key}").as_str()), "{error}");
            assert_eq!(error.place(), Some(Place { line: 4, column: 3 }), "{error}");
            let shown = error.to_string();
            assert!(shown.contains("give") && shown.lines().count() == 1, "{shown}");
        }
    }
}

#[test]
fn an_unknown_neighbour_of_every_key_is_answered_with_that_key() {
    for (section, key, _) in &table() {
        let text = format!("[{section}]\n{key}x = 1\n");
        let error = Config::from_toml(&text).unwrap_err();
        assert_eq!(error.key(), Some(format!("{section}.{key}x").as_str()));
        assert_eq!(error.place(), Some(Place { line: 2, column: 1 }));
        assert!(error.to_string().contains(&format!("the nearest one is {section}.{key} ")), "{error}");
    }
}

#[test]
fn one_table_and_a_list_of_tables_are_the_same_for_one_interface() {
    let one = Config::from_toml("[interface]\nname = \"eth0\"\nqueues = [1]\n").unwrap();
    assert_eq!(Config::from_toml("[[interface]]\nname = \"eth0\"\nqueues = [1]\n").unwrap(), one);
    assert_eq!(one.interfaces().map(Interface::name).collect::<Vec<_>>(), ["eth0"]);
}

const TWO: &str = "[[interface]]
name = \"eth0\"
address = [\"10.0.0.2/24\"]

[[interface]]
name = \"eth1\"
mode = \"copy\"
address = [\"10.0.1.2/24\"]
";

#[test]
fn several_interfaces_are_read_built_and_shown() {
    let read = Config::from_toml(TWO).unwrap();
    let built = Config::builder().interface("eth0").address("10.0.0.2/24");
    let built = built.another_interface("eth1").mode(Mode::Copy).address("10.0.1.2/24").build().unwrap();
    assert_eq!(read, built);
    let modes: Vec<_> = read.interfaces().map(|each| (each.name(), each.mode())).collect();
    assert_eq!(modes, [("eth0", Mode::PreferZerocopy), ("eth1", Mode::Copy)]);
    let shown = read.to_commented_toml();
    assert_eq!(shown.matches("[[interface]]").count(), 2, "{shown}");
    assert_eq!(Config::from_toml(&shown).unwrap(), read);
    assert_eq!(Config::from_toml(&toml::to_string(&read.to_table()).unwrap()).unwrap(), read);
}

#[test]
fn what_is_wrong_with_one_of_several_interfaces_names_it_and_its_line() {
    for (from, to, key, line, says) in [
        ("mode = \"copy\"", "mode = 1", "interface[1].mode", 7, "give"),
        ("mode = \"copy\"", "mood = 1", "interface[1].mood", 7, "the nearest one is interface.mode"),
        ("10.0.1.2/24", "10.0.0.2/16", "interface[1].address", 8, "another interface's"),
        ("eth1", "eth0", "interface[1].name", 6, "eth0 is there twice"),
        ("name = \"eth0\"\n", "", "interface.name", 0, "it is missing"),
        ("mode = \"copy\"", "queues = [3, 3]", "interface[1].queues", 7, "queue 3 is there twice"),
        ("mode = \"copy\"", "gateway = [\"10.9.0.1\"]", "interface[1].gateway", 7, "prefix of interface[1].address"),
    ] {
        let error = Config::from_toml(&TWO.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.key(), Some(key), "{error}");
        assert_eq!(error.place().map_or(0, |place| place.line), line, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
    let error = Config::from_toml("interface = [1]\n").unwrap_err();
    assert!(error.to_string().contains("[[interface]] for each of several"), "{error}");
    let error = Config::builder().interface("a").set("interface[2].name", "b").build().unwrap_err();
    assert!(error.to_string().contains("interface[2].name: the interfaces before it are missing"), "{error}");
    let taking = Config::from_toml(&format!("{TWO}[control]\nsocket = \"/run/a\"\ntakeover = true\n")).unwrap_err();
    assert_eq!(taking.key(), Some("control.takeover"));
    assert!(taking.message().contains("a stack on several interfaces cannot take over"), "{taking}");
    let many: String = (0..17).map(|at| format!("[[interface]]\nname = \"eth{at}\"\n")).collect();
    assert!(Config::from_toml(&many).unwrap_err().to_string().contains("at most 16 interfaces"));
}

#[test]
fn a_wrong_table_is_answered_with_the_right_one() {
    let error = Config::from_toml("[interfaces]\nname = \"a\"\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 2: interfaces: there is no such setting: the nearest one is interface \
         (`corelane config show` lists all)"
    );
    let error = Config::from_toml("interface = 1\n").unwrap_err();
    assert!(error.to_string().contains("write [interface]"), "{error}");
    // A right key in the wrong table.
    let error = Config::from_toml("[interface]\nrto_min_ms = 5\n").unwrap_err();
    assert!(error.to_string().contains("tcp.rto_min_ms"), "{error}");
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let error = Config::from_toml("[tcp]\nrto_min_ms = \n").unwrap_err();
    assert_eq!(error.place().map(|place| place.line), Some(2), "{error}");
    assert!(error.to_string().contains("not TOML") && error.to_string().lines().count() == 1, "{error}");
    let twice = Config::from_toml("[tcp]\nsack = true\nsack = true\n").unwrap_err();
    assert_eq!(twice.place().map(|place| place.line), Some(3), "{twice}");
}

#[test]
fn settings_that_contradict_each_other_name_a_key_and_its_line() {
    let cases = [
        ("[interface]\nqueues = [1, 1]\n", "interface.queues"),
        ("[interface]\nname = \"a/b\"\n", "interface.name"),
        ("[interface]\nmtu = 3000\n", "interface.mtu"),
        ("[interface]\ngateway = [\"10.0.0.1\"]\n", "interface.gateway"),
        ("[interface]\ngateway = [\"10.0.0.1\"]\naddress = [\"10.0.0.1/24\"]\n", "interface.gateway"),
        ("[interface]\naddress = [\"10.0.0.1/24\", \"10.0.0.1/8\"]\n", "interface.address"),
        ("[cores]\nlist = [0, 1]\nworkers = 3\n", "cores.list"),
        ("[steering]\nbuckets = 2\n[cores]\nworkers = 3\n", "steering.buckets"),
        ("[interface]\nqueues = [0, 64]\n", "interface.queues"),
        ("[cores]\nlist = [1, 1]\n", "cores.list"),
        ("[control]\nsocket = \"main.sock\"\n", "control.socket"),
        ("[control]\nsocket = \"/run/corelane/\"\n", "control.socket"),
        ("[memory]\nframe_count = 4096\n", "memory.frame_count"),
        ("[memory]\nlow_water_frames = 4096\n", "memory.low_water_frames"),
        ("[limits]\nfirst_port = 61000\n", "limits.first_port"),
        ("[interface]\ngateway = [\"10.0.0.1\", \"10.0.0.2\"]\n", "interface.gateway"),
        ("[tcp]\ndelayed_ack_ms = 300\n", "tcp.delayed_ack_ms"),
        ("[tcp]\nmss_bytes = 3000\n", "tcp.mss_bytes"),
    ];
    let long = format!("[control]\nsocket = \"/{}\"\n", "x".repeat(107));
    for (text, key) in cases.into_iter().chain([(long.as_str(), "control.socket")]) {
        let error = Config::from_toml(text).unwrap_err();
        assert_eq!(error.key(), Some(key), "{error}");
        assert_eq!(error.place().map(|place| place.line), Some(2), "{error}");
    }
}

#[test]
fn code_and_flags_obey_the_same_rules() {
    let config = Config::builder()
        .interface("eth0")
        .address("10.0.0.2/24")
        .address("10.0.1.2/24")
        .queues(&[3, 4])
        .cores(&[1, 0])
        .mode(Mode::Copy)
        .waiting(Strategy::Spin)
        .set_text("tcp.rto_min_ms = 10")
        .set("tcp.delayed_ack_ms", 5)
        .set_text("interface.gateway=[\"10.0.0.1\"]")
        .build()
        .unwrap();
    assert_eq!(config.interface().name(), "eth0");
    assert_eq!(config.interface().address().len(), 2);
    assert_eq!(config.interface().queues(), [3, 4]);
    assert_eq!(config.cores().list(), [1, 0]);
    assert_eq!(config.interface().mode(), Mode::Copy);
    assert_eq!(config.waiting().strategy(), Strategy::Spin);
    assert_eq!(config.tcp().to_proto().rto_min, std::time::Duration::from_millis(10));
    assert_eq!(config.interface().gateway(), [corelane_proto::Addr::v4([10, 0, 0, 1])]);

    let wrong = Config::builder().address("10.0.0.2").build().unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "interface.address: the string \"10.0.0.2\" will not do: give a unicast address with its prefix length such as \
         \"10.0.0.2/24\""
    );
    let wrong = Config::builder().set_text("tcp.rto_min_ms").build().unwrap_err();
    assert!(wrong.to_string().contains("KEY=VALUE"), "{wrong}");
    let wrong = Config::builder().set("tcp.nagle", true).build().unwrap_err();
    assert_eq!(wrong.key(), Some("tcp.nagle"));
}

#[test]
fn a_programs_default_gives_way_to_the_file() {
    let drop = |file: &str| {
        let builder = Builder::from_toml(file).unwrap().set_default("privileges.drop", "all");
        builder.build().unwrap().privileges().drop()
    };
    assert_eq!((drop(""), drop("[privileges]\ndrop = \"workers\"\n")), (Drop::All, Drop::Workers));
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let config = Config::builder()
        .interface("eth0")
        .address("2001:db8::2/64")
        .set("interface.mac", "02:00:00:00:00:09")
        .set("interface.mtu", 1500)
        .set("impair.rx.loss", 0.02)
        .build()
        .unwrap();
    let text = config.to_commented_toml();
    assert_eq!(Config::from_toml(&text).unwrap(), config);
    assert_eq!(Config::from_toml(&toml::to_string(&config).unwrap()).unwrap(), config);
    assert!(
        text.contains("# Probability that a frame is lost.\n# (a number, a fraction from 0.0 to 1.0)\nloss = 0.02\n")
    );
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
    assert_eq!(Config::from_toml(&Config::default().to_commented_toml()).unwrap(), Config::default());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load("no/such/file.toml").unwrap_err();
    assert!(error.to_string().starts_with("no/such/file.toml: the file cannot be read"), "{error}");
}
