//! latency.hlog: an `HdrHistogram` V2 interval log, one interval a second; service times carry the tag `service_time`.

use crate::load::recorder::{Pair, histogram};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The tag of service times.
pub const SERVICE_TAG: &str = "service_time";

/// The log as text. `seconds` maps whole seconds since the measurement began to what was answered in them.
pub fn write(begin: SystemTime, seconds: &BTreeMap<u64, Pair>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[corelane-bench: nanoseconds; no tag: latency from the intended send time]")
        .with_base_time(begin)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut text, &mut serializer)?;
    for (second, pair) in seconds {
        let start = Duration::from_secs(*second);
        let length = Duration::from_secs(1);
        for (histogram, tag) in [(&pair.latency, None), (&pair.service, Tag::new(SERVICE_TAG))] {
            log.write_histogram(histogram, start, length, tag).map_err(std::io::Error::other)?;
        }
    }
    Ok(text)
}

/// The sum of all intervals of a log: latency and service time. The error is a clause for a sentence.
pub fn read(text: &[u8]) -> Result<Pair, String> {
    let mut sum = Pair::new();
    for pair in read_seconds(text)?.values() {
        sum.add(pair);
    }
    Ok(sum)
}

/// The intervals of a log by the whole second that they begin in, counted from the log's base time.
pub fn read_seconds(text: &[u8]) -> Result<BTreeMap<u64, Pair>, String> {
    let mut seconds = BTreeMap::new();
    let mut decoder = Deserializer::new();
    for entry in IntervalLogIterator::new(text) {
        let entry = entry.map_err(|error| format!("is not an HdrHistogram interval log: {error:?}"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let bytes = base64(interval.encoded_histogram()).ok_or("has an interval that is not base64")?;
        let part: Histogram<u64> = decoder
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("has an interval that cannot be decoded: {error}"))?;
        let sum: &mut Pair = seconds.entry(interval.start_timestamp().as_secs()).or_default();
        let into = if interval.tag().is_some() { &mut sum.service } else { &mut sum.latency };
        into.add(&part).map_err(|error| format!("has values out of range: {error:?}"))?;
    }
    Ok(seconds)
}

/// Decodes base64 (RFC 4648 4), padding required; `None` when it isn't.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0u32;
    for (at, byte) in text[..text.len() - padding].iter().enumerate() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        if at % 4 != 0 {
            bytes.push((bits >> (6 - 2 * (at % 4))) as u8);
        }
    }
    Some(bytes)
}

/// An empty pair with the range that logs have.
pub fn empty() -> Pair {
    Pair { latency: histogram(), service: histogram() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("+/8=").unwrap(), [0xfb, 0xff]);
        for bad in ["Z", "Zg=", "Z===", "Zg=a", "Z-9v"] {
            assert!(base64(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut seconds = BTreeMap::new();
        for second in 0..3u64 {
            let mut pair = empty();
            pair.latency.record_n(1_000 * (second + 1), 10).unwrap();
            pair.service.record_n(500, 10).unwrap();
            seconds.insert(second, pair);
        }
        let text = write(SystemTime::now(), &seconds).unwrap();
        let lines = String::from_utf8(text.clone()).unwrap();
        assert_eq!(lines.lines().filter(|line| line.starts_with("Tag=service_time,")).count(), 3, "{lines}");
        let sum = read(&text).unwrap();
        assert_eq!((sum.latency.len(), sum.service.len()), (30, 30));
        let back = read_seconds(&text).unwrap();
        assert_eq!(back.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((back[&1].latency.len(), back[&1].latency.max()), (10, 2_000));
        assert_eq!(sum.latency.max(), 3_000 | 1);
        assert!(read(b"1.0,x\n").is_err());
        assert!(read(b"1.0,1.0,1.0,!!!!\n").is_err());
    }
}
