//! Durations as HAProxy, systemd and compose write them.

use std::time::Duration;

/// `15ms`, `5s`, `1m30s`, `2min`; a number alone counts `unit`.
pub(super) fn parse(text: &str, unit: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (name, after) = after.split_at(letters);
        let name = if name.is_empty() { unit } else { name };
        let micros: u64 = match name {
            "us" => 1,
            "ms" => 1_000,
            "s" | "sec" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        total += Duration::from_micros(number.parse::<u64>().ok()?.checked_mul(micros)?);
        rest = after.trim_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_s_way_to_write_them_is_read() {
        let read = |text, unit| parse(text, unit).map(|time| time.as_millis());
        assert_eq!(read("15ms", "ms"), Some(15));
        assert_eq!(read("12000", "ms"), Some(12_000));
        assert_eq!(read("30", "s"), Some(30_000));
        assert_eq!(read("1m30s", "s"), Some(90_000));
        assert_eq!(read("1min 30s", "s"), Some(90_000));
        assert_eq!(read("2h", "s"), Some(7_200_000));
        assert_eq!(read("soon", "s"), None);
        assert_eq!(read("", "s"), None);
        assert_eq!(read("5 parsecs", "s"), None);
    }
}
