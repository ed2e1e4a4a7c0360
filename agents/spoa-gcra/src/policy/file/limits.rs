//! The limits of a policy: one by rate and burst, several by name, or none.

use std::time::Duration;

use toml::Spanned;

use super::tables::{LimitTable, PolicyTable};
use super::{Place, Reading, is_name};
use crate::gcra::{MAX_MICROS, Quota};
use crate::policy::problem::Mistake;
use crate::policy::rate::Rate;
use crate::policy::{DEFAULT, Limit, MAX_LIMITS};

/// A limit as it is written, in a policy of its own or among others.
struct Numbers<'a> {
    rate: &'a Option<Spanned<String>>,
    interval_us: &'a Option<Spanned<i64>>,
    burst: &'a Option<Spanned<i64>>,
}

impl Reading<'_> {
    pub(super) fn limits(&mut self, place: &Place<'_>, table: &PolicyTable) -> Option<Vec<Limit>> {
        let PolicyTable {
            rate,
            interval_us,
            burst,
            limits,
            unlimited,
            ..
        } = table;
        let own = [
            ("rate", rate.as_ref().map(Spanned::span)),
            ("interval_us", interval_us.as_ref().map(Spanned::span)),
            ("burst", burst.as_ref().map(Spanned::span)),
        ];
        let own = own.into_iter().find_map(|(key, span)| Some((key, span?)));
        let unlimited = unlimited.as_ref().filter(|unlimited| *unlimited.get_ref());
        let name = place.policy.unwrap_or(DEFAULT);
        match (own, limits, unlimited) {
            (Some((key, _)), Some(limits), _) => {
                self.problem(&place.at(limits.span()), Mistake::Both(key, "limits"))
            }
            (Some((key, _)), None, Some(unlimited)) => {
                let both = Mistake::Both(key, "unlimited = true");
                self.problem(&place.at(unlimited.span()), both)
            }
            (None, Some(_), Some(unlimited)) => {
                let both = Mistake::Both("limits", "unlimited = true");
                self.problem(&place.at(unlimited.span()), both)
            }
            (None, None, Some(_)) => Some(Vec::new()),
            (None, None, None) => self.problem(place, Mistake::NoLimit),
            (Some((_, span)), None, None) => {
                let numbers = Numbers {
                    rate,
                    interval_us,
                    burst,
                };
                let quota = self.quota(&place.at(span), &numbers)?;
                if name == DEFAULT {
                    // So that it goes on where the one-policy agent left off.
                    return Some(vec![Limit::only(quota)]);
                }
                Some(vec![self.named(place, name, quota)?])
            }
            (None, Some(limits), None) => self.several(&place.at(limits.span()), name, limits),
        }
    }

    fn several(
        &mut self,
        place: &Place<'_>,
        policy: &str,
        limits: &Spanned<Vec<Spanned<LimitTable>>>,
    ) -> Option<Vec<Limit>> {
        let limits = limits.get_ref();
        if !(1..=MAX_LIMITS).contains(&limits.len()) {
            return self.problem(place, Mistake::Limits(limits.len()));
        }
        let mut names: Vec<&str> = Vec::new();
        let mut read = Vec::new();
        for limit in limits {
            let place = place.at(limit.span());
            let LimitTable {
                name,
                rate,
                interval_us,
                burst,
            } = limit.get_ref();
            let (at, name) = (place.at(name.span()), name.get_ref());
            if !is_name(name) {
                self.problem::<()>(&at, Mistake::Name(name.clone()));
            } else if names.contains(&name.as_str()) {
                self.problem::<()>(&at, Mistake::LimitTwice(name.clone()));
            }
            names.push(name);
            let numbers = Numbers {
                rate,
                interval_us,
                burst,
            };
            if let Some(quota) = self.quota(&place, &numbers) {
                // No policy's own name has a dot in it.
                read.extend(self.named(&place, &format!("{policy}.{name}"), quota));
            }
        }
        Some(read)
    }

    fn named(&mut self, place: &Place<'_>, name: &str, quota: Quota) -> Option<Limit> {
        match self.ids.of(name) {
            Ok(id) => Some(Limit::named(name, id, quota)),
            Err(error) => self.problem(place, error),
        }
    }

    fn quota(&mut self, place: &Place<'_>, numbers: &Numbers<'_>) -> Option<Quota> {
        let interval = match (numbers.rate, numbers.interval_us) {
            (Some(rate), None) => match rate.get_ref().parse::<Rate>() {
                Ok(rate) => rate.interval(),
                Err(error) => {
                    let mistake = Mistake::Rate(rate.get_ref().clone(), error);
                    return self.problem(&place.at(rate.span()), mistake);
                }
            },
            (None, Some(interval)) => match u64::try_from(*interval.get_ref()) {
                Ok(micros) if (1..=MAX_MICROS).contains(&micros) => micros,
                _ => {
                    let mistake = Mistake::Interval(*interval.get_ref());
                    return self.problem(&place.at(interval.span()), mistake);
                }
            },
            (Some(_), Some(interval)) => {
                let both = Mistake::Both("rate", "interval_us");
                return self.problem(&place.at(interval.span()), both);
            }
            (None, None) => return self.problem(place, Mistake::Missing("rate")),
        };
        let Some(burst) = numbers.burst else {
            return self.problem(place, Mistake::Missing("burst"));
        };
        let (place, burst) = (place.at(burst.span()), *burst.get_ref());
        let within = |micros: u64| micros.checked_div(interval).unwrap_or(0);
        let quota = u64::try_from(burst)
            .ok()
            .and_then(|burst| Quota::new(interval, interval.checked_mul(burst)?).ok());
        let Some(quota) = quota else {
            let most = within(MAX_MICROS);
            return self.problem(&place, Mistake::Burst { burst, most });
        };
        let ttl = self.defaults.ttl;
        if Duration::from_micros(quota.burst()) > ttl {
            let mistake = Mistake::BurstBeyondTtl {
                burst,
                seconds: quota.burst().div_ceil(1_000_000),
                ttl: ttl.as_secs(),
                most: within(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)),
            };
            return self.problem(&place, mistake);
        }
        Some(quota)
    }
}
