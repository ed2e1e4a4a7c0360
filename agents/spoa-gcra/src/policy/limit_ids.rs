//! The numbers that limits are known by while the process lives.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::LimitId;

/// Names that a process can have known at most, in all files that it has read; about
/// 100 bytes each.
const MAX_NAMES: usize = 65_536;

/// Hands out [`LimitId`]s: a name keeps its number over every reload, and no other name
/// gets it, also when the first is gone. So what a store remembers under a number is always
/// about the limit of one name.
#[derive(Debug, Default)]
pub(super) struct LimitIds {
    numbers: HashMap<Box<str>, LimitId>,
}

/// 65 536 names have been given a number already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this process has known {MAX_NAMES} names of limits; restart it to read new ones")]
pub struct NoMoreNames;

impl LimitIds {
    /// The number of the limit called `name`, the same each time.
    ///
    /// # Errors
    /// If the name is new, and there have been too many.
    pub(super) fn of(&mut self, name: &str) -> Result<LimitId, NoMoreNames> {
        if let Some(id) = self.numbers.get(name) {
            return Ok(*id);
        }
        let known = self.numbers.len();
        let number = u32::try_from(known + 1).ok().and_then(NonZeroU32::new);
        let id = number
            .filter(|_| known < MAX_NAMES)
            .map(LimitId::new)
            .ok_or(NoMoreNames)?;
        self.numbers.insert(name.into(), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_shares_it_with_nobody() {
        let mut ids = LimitIds::default();
        let (a, b) = (ids.of("a").unwrap(), ids.of("b").unwrap());
        assert_ne!(a, b);
        assert_eq!(ids.of("a"), Ok(a));
        let bare = crate::policy::Limit::only(crate::gcra::Quota::new(1, 1).unwrap());
        assert_ne!(a, bare.id());
    }

    #[test]
    fn names_run_out() {
        let mut ids = LimitIds::default();
        for name in 0..MAX_NAMES {
            ids.of(&name.to_string()).unwrap();
        }
        assert_eq!(ids.of("one more"), Err(NoMoreNames));
        assert!(ids.of("0").is_ok());
    }
}
