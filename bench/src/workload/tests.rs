//! Workloads fed in any cut, with any room, from friends and from enemies.

use super::size::{Draw, Sizes};
use super::*;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// Plays the transport: gives `input` in pieces of the `cuts`' sizes, takes output away in steps of at most `room`
/// bytes, and ends where the server does. Checks the rules of the module's head on the way.
fn converse(kind: ServeKind, input: &[u8], cuts: &[usize], room: usize, stop_at: usize) -> (Vec<u8>, Tally, bool) {
    let mut server = Servers::new(kind).fresh();
    let mut tally = Tally::default();
    let mut sent = Vec::new();
    let mut stage = Vec::new();
    let mut cuts = cuts.iter().copied().cycle();
    let mut given = 0;
    let mut unread: Vec<u8> = Vec::new();
    while !server.is_finished() && sent.len() < stop_at {
        if unread.is_empty() {
            if given == input.len() && !server.wants_write() {
                break;
            }
            let piece = cuts.next().unwrap_or(1).clamp(1, 1 << 16).min(input.len() - given);
            unread.extend_from_slice(&input[given..given + piece]);
            given += piece;
        }
        let mut out = Bounded::new(&mut stage, room);
        let wanted = server.wants_write();
        if wanted {
            server.on_writable(&mut out);
        }
        if !unread.is_empty() && !server.is_finished() {
            let used = server.on_bytes(&unread, &mut out, &mut tally);
            assert!(used == unread.len() || server.wants_write() || server.is_finished(), "it left bytes unasked");
            unread.drain(..used);
        }
        assert!(stage.len() <= room);
        sent.append(&mut stage);
    }
    (sent, tally, server.is_finished())
}

fn whole(kind: ServeKind, input: &[u8]) -> (Vec<u8>, Tally, bool) {
    converse(kind, input, &[1 << 16], 1 << 16, usize::MAX)
}

fn served(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    pattern::fill(pattern::SERVED_SEED, 0, &mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Requests of every kind in one pipeline, and what must come back.
fn pipeline() -> (Vec<u8>, Vec<u8>) {
    let body: Vec<u8> = (0..3000u32).map(|place| (place % 251) as u8).collect();
    let mut input = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    input.extend_from_slice(b"HEAD /bytes/5000 HTTP/1.1\r\nhost: a\r\n\r\nGET /bytes/5000 HTTP/1.1\nHost: a\n\n");
    input.extend_from_slice(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\nExpect: 100-continue\r\n\r\n");
    input.extend_from_slice(&body);
    input.extend_from_slice(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(700) {
        input.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
        input.extend_from_slice(chunk);
        input.extend_from_slice(b"\r\n");
    }
    input.extend_from_slice(b"0\r\nTrailer: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    input.extend_from_slice(b"GET /bytes/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    input.extend_from_slice(b"PUT /upload HTTP/1.1\r\nHost: a\r\n\r\nDELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    input.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");

    let hello = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n";
    let octets = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ";
    let json = |body: &[u8]| {
        let text = format!("{{\"length\":{},\"sha256\":\"{}\"}}\n", body.len(), hex(body));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        format!("{head}{}\r\n\r\n{text}", text.len())
    };
    let mut output = format!("{hello}\r\nHello from Corelane\n{octets}5000\r\n\r\n{octets}5000\r\n\r\n").into_bytes();
    output.extend_from_slice(&served(5000));
    output.extend_from_slice(format!("HTTP/1.1 100 Continue\r\n\r\n{}{}", json(&body), json(&body)).as_bytes());
    output.extend_from_slice(
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n404 Not Found\n",
    );
    output.extend_from_slice(format!("{octets}0\r\n\r\n{}", json(b"")).as_bytes());
    output.extend_from_slice(
        b"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 23\r\nAllow: GET, HEAD\r\n\r\n\
          405 Method Not Allowed\n",
    );
    output.extend_from_slice(format!("{hello}Connection: close\r\n\r\nHello from Corelane\n").as_bytes());
    (input, output)
}

#[test]
fn a_pipeline_of_every_request_is_answered_in_order() {
    let (input, expected) = pipeline();
    let (output, tally, finished) = whole(ServeKind::Http, &input);
    assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(&expected));
    assert!(finished, "Connection: close ends it");
    assert_eq!(tally, Tally { requests: 8, rejected: 2 });
    let (bytewise, ..) = converse(ServeKind::Http, &input, &[1], 1, usize::MAX);
    assert_eq!(bytewise, expected);
}

#[test]
fn refusals_end_the_connection_where_the_next_head_is_unknown() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "a".repeat(http::HEAD_LIMIT));
    for (input, status) in [
        ("rubbish\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (long.as_str(), "431 Request Header Fields Too Large"),
        ("PUT /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400 Bad Request"),
        ("PUT /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", "404 Not Found"),
        ("PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: magic\r\n\r\n", "417 Expectation Failed"),
        ("GET / HTTP/3.1\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported"),
    ] {
        let (output, tally, finished) = whole(ServeKind::Http, input.as_bytes());
        let output = String::from_utf8(output).unwrap();
        assert!(output.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{output}");
        assert!(output.contains("Connection: close\r\n") && finished, "{output}");
        assert_eq!(tally.rejected, 1);
    }
}

#[test]
fn http_1_0_closes_unless_asked() {
    let (output, _, finished) = whole(ServeKind::Http, b"GET / HTTP/1.0\r\n\r\n");
    assert!(finished && String::from_utf8_lossy(&output).contains("Connection: close"));
    let (output, _, finished) = whole(ServeKind::Http, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(!finished && String::from_utf8_lossy(&output).contains("Connection: keep-alive"));
}

#[test]
fn a_big_body_is_made_as_there_is_room() {
    let mut server = Servers::new(ServeKind::Http).fresh();
    let mut stage = Vec::new();
    let request = b"GET /bytes/10000000000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let used = server.on_bytes(request, &mut Bounded::new(&mut stage, 10_000), &mut Tally::default());
    assert_eq!((used, stage.len()), (request.len(), 10_000));
    assert!(server.wants_write());
    // What comes meanwhile waits: nothing of it is kept.
    assert_eq!(server.on_bytes(request, &mut Bounded::new(&mut stage, 10_000), &mut Tally::default()), 0);
    assert!(size_of::<Server>() <= 160, "{}", size_of::<Server>());
}

#[test]
fn source_sends_the_pattern_and_sink_says_nothing() {
    let (output, ..) = converse(ServeKind::Source, b"x", &[1], 777, 10_000);
    assert_eq!(output[..10_000], served(10_000));
    let (output, ..) = whole(ServeKind::Sink, &[7; 5000]);
    assert!(output.is_empty());
}

#[test]
fn an_echo_client_sees_every_wrong_byte() {
    let mut client = Client::Echo(echo::Client::new(Sizes::Fixed(100), 5));
    client.begin();
    let mut sent = Vec::new();
    client.on_writable(&mut Bounded::new(&mut sent, 60));
    assert!(client.wants_write());
    client.on_writable(&mut Bounded::new(&mut sent, 1000));
    assert!(sent.len() == 100 && !client.wants_write());
    assert_eq!(client.on_bytes(&sent[..99]), Ok((99, Progress::Pending)));
    assert_eq!(client.on_bytes(&sent[99..]), Ok((1, Progress::Done { failed: false, close: false })));
    assert_eq!(client.on_bytes(b"?"), Err(Fault::Unexpected));
    for place in 0..100 {
        let mut client = Client::Echo(echo::Client::new(Sizes::Fixed(100), 5));
        client.begin();
        let mut echoed = Vec::new();
        client.on_writable(&mut Bounded::new(&mut echoed, 1000));
        echoed[place] ^= 0x20;
        assert_eq!(client.on_bytes(&echoed), Err(Fault::Corrupt));
    }
}

/// What an HTTP client makes of `answer`, fed in pieces of `step`.
fn answer(answer: &str, step: usize) -> Result<Progress, Fault> {
    let mut client = Client::Http(http::Client::new(http::Asks::path("a", "/")));
    client.begin();
    client.on_writable(&mut Bounded::new(&mut Vec::new(), 1000));
    let mut last = Progress::Pending;
    for piece in answer.as_bytes().chunks(step) {
        assert_eq!(last, Progress::Pending);
        let mut at = 0;
        while at < piece.len() {
            assert_eq!(last, Progress::Pending, "bytes after the answer are refused");
            let (used, progress) = client.on_bytes(&piece[at..])?;
            at += used;
            last = progress;
            if at < piece.len() && last != Progress::Pending {
                client.on_bytes(&piece[at..])?;
            }
        }
    }
    Ok(if last == Progress::Pending { client.on_eof().unwrap_or(last) } else { last })
}

#[test]
fn an_http_client_knows_where_answers_end() {
    let done = |failed, close| Ok(Progress::Done { failed, close });
    for step in [1, 7, 1000] {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", done(false, false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", done(false, false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", done(false, false)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx", done(true, false)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", done(false, false)),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", done(false, true)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", done(false, true)),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", done(false, true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Ok(Progress::Pending)),
            ("SSH-2.0-x\r\n\r\n", Err(Fault::Malformed)),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Err(Fault::Malformed)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Err(Fault::Malformed)),
        ] {
            assert_eq!(answer(text, step), expected, "{text} by {step}");
        }
    }
    assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", 1000), Err(Fault::Unexpected));
}

/// A client and a server that talk over a line which takes `room` bytes at a time: `requests` requests, `depth` of them
/// outstanding at most. Says how many were answered, and what the server counted.
fn talk(client: &mut Client, server: &mut Server, requests: usize, depth: usize, room: usize) -> (usize, Tally) {
    let (mut begun, mut answered, mut turns, mut tally) = (0, 0, 0, Tally::default());
    let (mut to_server, mut to_client): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    while answered < requests {
        while begun < requests && begun - answered < depth {
            client.begin();
            begun += 1;
        }
        turns += 1;
        assert!(turns < 1_000_000, "they wait for each other: {answered} of {requests} answered");
        client.on_writable(&mut Bounded::new(&mut to_server, room));
        while client.poll_written() {
            answered += 1;
        }
        let mut out = Bounded::new(&mut to_client, room);
        if server.wants_write() {
            server.on_writable(&mut out);
        }
        if !to_server.is_empty() {
            let used = server.on_bytes(&to_server, &mut out, &mut tally);
            assert!(used == to_server.len() || server.wants_write(), "it left bytes unasked");
            to_server.drain(..used);
        }
        while !to_client.is_empty() {
            let (used, progress) = client.on_bytes(&to_client).unwrap();
            to_client.drain(..used);
            answered += usize::from(progress == Progress::Done { failed: false, close: false });
        }
    }
    (answered, tally)
}

fn draw(text: &str) -> Draw {
    Draw::new(Sizes::parse(text).unwrap(), 3)
}

#[test]
fn every_client_understands_its_server_whatever_the_room_and_the_depth() {
    for (room, depth) in [(1, 1), (7, 3), (1000, 16), (1 << 16, 100)] {
        let echo = Client::Echo(echo::Client::new(Sizes::parse("uniform:1..200").unwrap(), 1));
        let rr = Client::Rr(rr::Client::new(draw("uniform:0..300"), draw("list:1,1000,0")));
        let http = Client::Http(http::Client::new(http::Asks::Sized("a".into(), draw("uniform:0..500"))));
        let kv = Client::Kv(kv::Client::new(kv::Mix { get_ratio: 0.6, keys: 10 }, draw("uniform:0..300"), 9));
        for (mut client, kind) in
            [(echo, ServeKind::Echo), (rr, ServeKind::Rr), (http, ServeKind::Http), (kv, ServeKind::Kv)]
        {
            let mut server = Servers::new(kind).fresh();
            let (answered, tally) = talk(&mut client, &mut server, 200, depth, room);
            assert_eq!(answered, 200);
            assert_eq!(tally.rejected, 0, "{kind:?}");
            if kind != ServeKind::Echo {
                assert_eq!(tally.requests, 200, "{kind:?}");
            }
            if kind == ServeKind::Kv {
                assert!((1..40).contains(&client.misses()), "{}", client.misses());
            }
        }
        let mut sender = Client::BulkSend(bulk::Sender::new(1000));
        assert_eq!(talk(&mut sender, &mut Servers::new(ServeKind::Sink).fresh(), 20, 2, room).0, 20);
        let mut receiver = Client::BulkRecv(bulk::Receiver::new(1000));
        assert_eq!(talk(&mut receiver, &mut Servers::new(ServeKind::Source).fresh(), 20, 2, room).0, 20);
    }
}

#[test]
fn clients_see_what_is_wrong_with_an_answer() {
    let mut kv = Client::Kv(kv::Client::new(kv::Mix { get_ratio: 1.0, keys: 1 }, draw("10"), 1));
    assert_eq!(kv.on_bytes(b"+OK\r\n"), Err(Fault::Unexpected));
    for (answer, fault) in [
        (&b"$3\r\nabc\r\n"[..], Fault::Corrupt),
        (b"+OK\r\n", Fault::Malformed),
        (b"$x\r\n", Fault::Malformed),
        (b"$99999999999\r\n", Fault::Malformed),
        (b"$0\r\nxx", Fault::Malformed),
        (&[b'a'; 600], Fault::Malformed),
    ] {
        kv.reset();
        kv.begin();
        assert_eq!(kv.on_bytes(answer), Err(fault), "{}", String::from_utf8_lossy(answer));
    }
    kv.reset();
    kv.begin();
    assert_eq!(kv.on_bytes(b"-ERR no\r\n"), Ok((9, Progress::Done { failed: true, close: false })));

    let mut rr = Client::Rr(rr::Client::new(draw("8"), draw("4")));
    assert_eq!(rr.on_bytes(b"x"), Err(Fault::Unexpected));
    rr.begin();
    assert_eq!(rr.on_bytes(b"abcd"), Err(Fault::Corrupt));
    let mut receiver = Client::BulkRecv(bulk::Receiver::new(10));
    assert_eq!(receiver.on_bytes(b"abcd"), Err(Fault::Corrupt));
}

#[test]
fn a_request_for_too_long_an_answer_ends_the_connection() {
    let mut request = 8u32.to_le_bytes().to_vec();
    request.extend_from_slice(&u32::MAX.to_le_bytes());
    request.extend_from_slice(&[0; 8]);
    let (output, tally, finished) = whole(ServeKind::Rr, &request);
    assert_eq!((output.len(), tally.rejected, finished), (0, 1, true));
}

#[test]
fn a_kv_server_answers_a_pipeline_and_quits() {
    let input = b"SET a 1\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n\r\nGET a\r\nNONE\r\nQUIT\r\nPING\r\n";
    let expected = "+OK\r\n:2\r\n$1\r\n2\r\n-ERR unknown command 'NONE'\r\n+OK\r\n";
    for (cuts, room) in [(1, 1), (3, 1000), (1 << 16, 1 << 16)] {
        let (output, tally, finished) = converse(ServeKind::Kv, input, &[cuts], room, usize::MAX);
        assert_eq!(String::from_utf8(output).unwrap(), expected);
        assert_eq!((tally, finished), (Tally { requests: 4, rejected: 1 }, true));
    }
    let (output, _, finished) = whole(ServeKind::Kv, b"*1\r\n+x\r\nPING\r\n");
    assert_eq!((&output[..], finished), (&b"-ERR Protocol error: expected '$'\r\n"[..], true));
}

proptest! {
    #[test]
    fn rubbish_is_survived_by_the_others(
        input in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(1usize..300, 1..10),
    ) {
        converse(ServeKind::Kv, &input, &cuts, 500, 1 << 16);
        converse(ServeKind::Rr, &input, &cuts, 500, 1 << 16);
    }

    #[test]
    fn no_cut_and_no_room_changes_the_answers(
        cuts in prop::collection::vec(1usize..200, 1..20),
        room in 1usize..3000,
    ) {
        let (input, expected) = pipeline();
        let (output, tally, finished) = converse(ServeKind::Http, &input, &cuts, room, usize::MAX);
        prop_assert_eq!(output, expected);
        prop_assert!(finished);
        prop_assert_eq!(tally, Tally { requests: 8, rejected: 2 });
        let (echoed, ..) = converse(ServeKind::Echo, &input, &cuts, room, usize::MAX);
        prop_assert_eq!(echoed, input);
    }

    #[test]
    fn rubbish_is_survived(
        mut input in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(1usize..300, 1..10),
        tail in any::<bool>(),
    ) {
        if tail {
            input.extend_from_slice(b"\r\n\r\n");
        }
        let (_, tally, _) = converse(ServeKind::Http, &input, &cuts, 500, 1 << 20);
        prop_assert_eq!(tally.requests, 0);
        let mut client = Client::Http(http::Client::new(http::Asks::path("a", "/")));
        client.begin();
        for piece in input.chunks(cuts[0]) {
            // An answer that is complete ends the client's interest.
            if !matches!(client.on_bytes(piece), Ok((_, Progress::Pending))) {
                break;
            }
        }
    }

    #[test]
    fn mutated_requests_are_survived(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cuts in prop::collection::vec(1usize..300, 1..10),
    ) {
        let (mut input, _) = pipeline();
        for (place, byte) in places {
            *place.get_mut(&mut input) = byte;
        }
        converse(ServeKind::Http, &input, &cuts, 4096, 1 << 20);
    }
}
