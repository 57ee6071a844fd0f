//! Numbers for people: three significant digits and a unit.

/// A time in nanoseconds, as `812 ns`, `7.91 us`, `12.3 ms`, `1.20 s`.
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        _ if ns < 1e3 => return format!("{ns:.0} ns"),
        _ if ns < 1e6 => (ns / 1e3, "us"),
        _ if ns < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three(value))
}

/// A rate a second, as `950/s`, `12.4 k/s`, `1.07 M/s`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        _ if per_second < 1e3 => format!("{}/s", three(per_second)),
        _ if per_second < 1e6 => format!("{} k/s", three(per_second / 1e3)),
        _ => format!("{} M/s", three(per_second / 1e6)),
    }
}

/// Bytes a second as bits a second.
pub fn bit_rate(bytes_per_second: f64) -> String {
    let bits = bytes_per_second * 8.0;
    match bits {
        _ if bits < 1e6 => format!("{} kbit/s", three(bits / 1e3)),
        _ if bits < 1e9 => format!("{} Mbit/s", three(bits / 1e6)),
        _ => format!("{} Gbit/s", three(bits / 1e9)),
    }
}

/// A count with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn three(value: f64) -> String {
    match value {
        _ if value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(812.0), "812 ns");
        assert_eq!(time(7_911.0), "7.91 us");
        assert_eq!(time(99_960.0), "100 us");
        assert_eq!(time(12_345_678.0), "12.3 ms");
        assert_eq!(rate(0.0), "0.00/s");
        assert_eq!(rate(166_812.4), "167 k/s");
        assert_eq!(bit_rate(1.25e9), "10.0 Gbit/s");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
    }
}
