//! What each command does, and its answer.

use super::store::{Refused, SetOptions, Store};

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Goes,
    Ends,
}

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// Does the command that `words` (at least one) are and appends its answer to `reply`. The error is the text of an
/// error reply.
pub(super) fn execute(words: &[&[u8]], store: &Store, reply: &mut Vec<u8>) -> Result<Next, String> {
    let name = words[0].to_ascii_uppercase();
    let rest = &words[1..];
    match (&*name, rest) {
        (b"GET", [key]) => store.get(key, |value| bulk_or_nil(reply, value)),
        (b"SET", [key, value, options @ ..]) => return set(key, value, options, store, reply),
        (b"DEL", [_, ..]) => integer(reply, rest.iter().filter(|key| store.delete(key)).count() as i64),
        (b"EXISTS", [_, ..]) => {
            integer(reply, rest.iter().filter(|key| store.get(key, |value| value.is_some())).count() as i64);
        }
        (b"INCR", [key]) => integer(reply, store.increment(key).map_err(|refused| text(refused).to_owned())?),
        (b"EXPIRE", [key, seconds]) => integer(reply, store.expire(key, number(seconds)?).into()),
        (b"TTL", [key]) => integer(reply, store.ttl(key)),
        (b"PING", []) => simple(reply, "PONG"),
        (b"PING" | b"ECHO", [word]) => bulk_or_nil(reply, Some(word)),
        (b"DBSIZE", []) => integer(reply, store.len() as i64),
        (b"FLUSHALL" | b"FLUSHDB", _) => {
            store.clear();
            simple(reply, "OK");
        }
        (b"QUIT", _) => {
            simple(reply, "OK");
            return Ok(Next::Ends);
        }
        (b"SELECT", [b"0"]) | (b"CLIENT", [_, ..]) => simple(reply, "OK"),
        (b"COMMAND" | b"CONFIG", _) => reply.extend_from_slice(b"*0\r\n"),
        (b"INFO", _) => bulk_or_nil(reply, Some(b"# Server\r\nserver_name:corelane-bench\r\n")),
        (
            b"GET" | b"SET" | b"DEL" | b"EXISTS" | b"INCR" | b"EXPIRE" | b"TTL" | b"PING" | b"ECHO" | b"DBSIZE"
            | b"CLIENT",
            _,
        ) => {
            let name = String::from_utf8_lossy(&name).to_lowercase();
            return Err(format!("ERR wrong number of arguments for '{name}' command"));
        }
        (b"SELECT", _) => return Err("ERR DB index is out of range".to_owned()),
        _ => {
            // The name is the peer's: only what can stand in a line of an answer.
            let name: String =
                name.iter().take(64).map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect();
            return Err(format!("ERR unknown command '{name}'"));
        }
    }
    Ok(Next::Goes)
}

fn set(key: &[u8], value: &[u8], mut words: &[&[u8]], store: &Store, reply: &mut Vec<u8>) -> Result<Next, String> {
    let syntax = || Err("ERR syntax error".to_owned());
    let mut options = SetOptions::default();
    while let [word, rest @ ..] = words {
        words = rest;
        match &*word.to_ascii_uppercase() {
            b"NX" if options.exists.is_none() => options.exists = Some(false),
            b"XX" if options.exists.is_none() => options.exists = Some(true),
            unit @ (b"EX" | b"PX") if options.ttl_ns.is_none() => {
                let [amount, rest @ ..] = words else { return syntax() };
                words = rest;
                let amount = u64::try_from(number(amount)?).ok().filter(|amount| *amount > 0);
                let amount = amount.ok_or("ERR invalid expire time in 'set' command")?;
                let unit_ns = if *unit == *b"EX" { 1_000_000_000 } else { 1_000_000 };
                options.ttl_ns = Some(amount.saturating_mul(unit_ns));
            }
            _ => return syntax(),
        }
    }
    match store.set(key, value, options) {
        Ok(()) => simple(reply, "OK"),
        Err(Refused::Condition) => bulk_or_nil(reply, None),
        Err(refused) => return Err(text(refused).to_owned()),
    }
    Ok(Next::Goes)
}

const fn text(refused: Refused) -> &'static str {
    match refused {
        Refused::Full => "OOM command not allowed when used memory > 'maxmemory'.",
        Refused::Condition | Refused::Number => NOT_A_NUMBER,
    }
}

fn number(word: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(word).ok().and_then(|text| text.parse().ok()).ok_or_else(|| NOT_A_NUMBER.to_owned())
}

fn simple(reply: &mut Vec<u8>, text: &str) {
    reply.push(b'+');
    reply.extend_from_slice(text.as_bytes());
    reply.extend_from_slice(b"\r\n");
}

pub(super) fn error(reply: &mut Vec<u8>, text: &str) {
    reply.push(b'-');
    reply.extend_from_slice(text.as_bytes());
    reply.extend_from_slice(b"\r\n");
}

fn integer(reply: &mut Vec<u8>, value: i64) {
    reply.extend_from_slice(format!(":{value}\r\n").as_bytes());
}

fn bulk_or_nil(reply: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else { return reply.extend_from_slice(b"$-1\r\n") };
    reply.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
    reply.extend_from_slice(value);
    reply.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(store: &Store, line: &str) -> String {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut reply = Vec::new();
        if let Err(text) = execute(&words, store, &mut reply) {
            error(&mut reply, &text);
        }
        String::from_utf8(reply).unwrap()
    }

    #[test]
    fn commands_are_answered_as_redis_does() {
        let store = Store::default();
        for (line, answer) in [
            ("ping", "+PONG\r\n"),
            ("PING a", "$1\r\na\r\n"),
            ("GET a", "$-1\r\n"),
            ("SET a 1", "+OK\r\n"),
            ("get a", "$1\r\n1\r\n"),
            ("INCR a", ":2\r\n"),
            ("INCR b", ":1\r\n"),
            ("SET a x NX", "$-1\r\n"),
            ("SET c x XX", "$-1\r\n"),
            ("SET a x XX", "+OK\r\n"),
            ("INCR a", "-ERR value is not an integer or out of range\r\n"),
            ("SET big 9223372036854775807", "+OK\r\n"),
            ("INCR big", "-ERR value is not an integer or out of range\r\n"),
            ("EXISTS a b c", ":2\r\n"),
            ("DBSIZE", ":3\r\n"),
            ("DEL a b c", ":2\r\n"),
            ("TTL a", ":-2\r\n"),
            ("TTL big", ":-1\r\n"),
            ("EXPIRE a 1", ":0\r\n"),
            ("EXPIRE big x", "-ERR value is not an integer or out of range\r\n"),
            ("EXPIRE big 0", ":1\r\n"),
            ("DBSIZE", ":0\r\n"),
            ("SET a 1 EX", "-ERR syntax error\r\n"),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command\r\n"),
            ("SET a 1 NX XX", "-ERR syntax error\r\n"),
            ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
            ("LPUSH a 1", "-ERR unknown command 'LPUSH'\r\n"),
            ("SELECT 1", "-ERR DB index is out of range\r\n"),
            ("COMMAND DOCS", "*0\r\n"),
        ] {
            assert_eq!(ask(&store, line), answer, "{line}");
        }
    }

    #[test]
    fn what_has_expired_is_gone() {
        let store = Store::default();
        assert_eq!(ask(&store, "SET a 1 EX 10"), "+OK\r\n");
        assert_eq!(ask(&store, "SET b 1 PX 1500"), "+OK\r\n");
        assert_eq!(ask(&store, "INCR a"), ":2\r\n");
        assert_eq!(ask(&store, "TTL a"), ":10\r\n");
        store.skip(2_000_000_000);
        assert_eq!((ask(&store, "GET b"), ask(&store, "TTL a")), ("$-1\r\n".to_owned(), ":8\r\n".to_owned()));
        store.skip(8_000_000_000);
        assert_eq!(ask(&store, "EXISTS a"), ":0\r\n");
        assert_eq!(ask(&store, "SET a 1"), "+OK\r\n");
        assert_eq!((ask(&store, "EXPIRE a 5"), ask(&store, "TTL a")), (":1\r\n".to_owned(), ":5\r\n".to_owned()));
        assert_eq!((ask(&store, "SET a 2"), ask(&store, "TTL a")), ("+OK\r\n".to_owned(), ":-1\r\n".to_owned()));
    }

    #[test]
    fn the_store_is_bounded() {
        let store = Store::with_limit(400);
        let value = "x".repeat(100);
        assert_eq!(ask(&store, &format!("SET a {value}")), "+OK\r\n");
        assert_eq!(ask(&store, &format!("SET b {value}")), "+OK\r\n");
        assert!(ask(&store, &format!("SET c {value}")).starts_with("-OOM"));
        assert_eq!(ask(&store, &format!("SET a {value}")), "+OK\r\n", "what is replaced makes room");
        assert_eq!(ask(&store, "DEL b"), ":1\r\n");
        assert_eq!(ask(&store, &format!("SET c {value}")), "+OK\r\n");
        assert_eq!(ask(&store, "FLUSHALL"), "+OK\r\n");
        assert_eq!(ask(&store, &format!("SET d {}", "y".repeat(300))), "+OK\r\n");
    }
}
