//! Bytes as a script: each step takes what it needs off the front. What is missing counts as
//! zero, so that every input is a script and seeds can be written by hand.

use arbitrary::{Arbitrary, Unstructured};
use spop_codec::{Actions, NotifyBuilder, Scope, TypedData};

/// What is left of a script.
pub(crate) struct Script<'a> {
    rest: Unstructured<'a>,
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: Unstructured::new(bytes),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        [(); N].map(|()| self.next())
    }

    /// Two bytes, the low one first.
    pub(crate) fn number(&mut self) -> u16 {
        self.next()
    }

    /// A byte for the length, and as many bytes.
    pub(crate) fn counted(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.rest.len());
        self.rest.bytes(len).unwrap_or_default()
    }

    /// Up to three messages of up to three arguments.
    pub(crate) fn messages(&mut self) -> NotifyBuilder {
        let [messages, args] = self.bytes();
        let value = TypedData::Binary(self.counted());
        let mut notify = NotifyBuilder::new();
        for _ in 0..messages % 4 {
            let args = (0..args % 4).map(|_| ("a", value));
            notify = notify.message("m", args).expect("three arguments");
        }
        notify
    }

    /// Up to three variables of up to 2 KiB; rarely a list that is void.
    pub(crate) fn actions(&mut self) -> Actions {
        let vars = self.byte();
        let value = vec![b'x'; usize::from(self.number() % 2048)];
        let mut actions = Actions::new();
        for _ in 0..vars % 4 {
            actions = actions.set_var(Scope::Transaction, "v", value.as_slice());
        }
        if vars >= 250 {
            actions = actions.unset_var(Scope::Process, "not a name");
        }
        actions
    }

    fn next<T: Arbitrary<'a> + Default>(&mut self) -> T {
        self.rest.arbitrary().unwrap_or_default()
    }
}
