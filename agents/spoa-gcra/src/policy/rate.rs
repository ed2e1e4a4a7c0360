//! A rate as an operator writes it: `100/s`.

use std::str::FromStr;

/// So many requests a second, minute, hour or day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    interval: u64,
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRate {
    /// Another form.
    #[error(
        "not a rate; accepted: \"N/s\", \"N/m\", \"N/h\" or \"N/d\", N a whole number from 1 on"
    )]
    Form,
    /// More than a request every µs.
    #[error("too high; accepted: up to 1000000 a second")]
    TooHigh,
}

impl Rate {
    /// µs between two requests, rounded up: never more requests than were asked for.
    pub(super) const fn interval(self) -> u64 {
        self.interval
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let (requests, unit) = text.split_once('/').ok_or(BadRate::Form)?;
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(BadRate::Form),
        };
        if requests.is_empty() || !requests.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadRate::Form);
        }
        let micros = seconds * 1_000_000;
        match requests.parse() {
            Ok(0) => Err(BadRate::Form),
            Ok(requests) if requests <= micros => Ok(Self {
                interval: micros.div_ceil(requests),
            }),
            _ => Err(BadRate::TooHigh),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_operators_write() {
        for (text, interval) in [
            ("100/s", 10_000),
            ("1000000/s", 1),
            ("3/s", 333_334),
            ("700000/s", 2),
            ("60/m", 1_000_000),
            ("100/h", 36_000_000),
            ("1/d", 86_400_000_000),
            ("86400000000/d", 1),
        ] {
            assert_eq!(text.parse(), Ok(Rate { interval }), "{text}");
        }
        for bad in [
            "", "/", "/s", "100", "100/", "0/s", "-1/s", "+1/s", "1.5/s", "1e3/s", "100/sec",
            "100/S", "100 /s", "100/ s", "s/100", "1/s/s", "1/w", "١/s",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(BadRate::Form), "{bad}");
        }
        for high in ["1000001/s", "60000001/m", "99999999999999999999999/d"] {
            assert_eq!(high.parse::<Rate>(), Err(BadRate::TooHigh), "{high}");
        }
    }

    proptest! {
        /// At the interval, no more pass in the unit than were asked for, and one less µs
        /// would be too many.
        #[test]
        fn never_more_than_was_asked_for(
            (unit, micros) in prop::sample::select(&[("s", 1_000_000_u64), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)]),
            part in 0.0..=1.0,
        ) {
            let requests = ((micros as f64).powf(part) as u64).clamp(1, micros);
            let interval = format!("{requests}/{unit}").parse::<Rate>().unwrap().interval();
            prop_assert!(interval * requests >= micros);
            prop_assert!((interval - 1) * requests < micros);
        }
    }
}
