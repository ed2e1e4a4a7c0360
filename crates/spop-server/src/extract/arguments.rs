//! The arguments of a message for serde: to structs and maps by name, to tuples and
//! sequences by position. What the values become is [`Value`]'s.

use serde_core::de::value::{BorrowedBytesDeserializer, BorrowedStrDeserializer, UnitDeserializer};
use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_core::forward_to_deserialize_any;
use spop_codec::{Arg, Args, Message};

use super::error::ArgId;
use super::fault::Fault;
use super::value::Value;

/// All arguments of a message. Of none, where there is no message.
pub(super) struct Arguments<'de>(Option<Args<'de>>);

impl<'de> Arguments<'de> {
    pub(super) fn new(message: Option<Message<'de>>) -> Self {
        Self(message.map(|message| message.args()))
    }

    const fn by_name(self, fields: Option<&'static [&'static str]>) -> ByName<'de> {
        ByName {
            args: self.0,
            position: 0,
            fields,
            seen: 0,
            current: None,
        }
    }

    const fn by_position(self, at_least: usize) -> ByPosition<'de> {
        ByPosition {
            args: self.0,
            position: 0,
            at_least,
        }
    }
}

impl<'de> Deserializer<'de> for Arguments<'de> {
    type Error = Fault;

    /// A map, unless a sequence is asked for: also what a single value then fails on.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self.by_name(None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(self.by_name(Some(fields)))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.by_position(0))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.by_position(len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.by_position(len))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option map enum identifier ignored_any
    }
}

/// Arguments for a struct, whose `fields` are known, or a map.
struct ByName<'de> {
    args: Option<Args<'de>>,
    /// Of the argument after `current`.
    position: usize,
    fields: Option<&'static [&'static str]>,
    /// A bit for each of the first 128 fields whose argument has come.
    seen: u128,
    /// The argument whose name was given out, and whose value is next.
    current: Option<Arg<'de>>,
}

impl<'de> ByName<'de> {
    /// Whether serde is to see the argument: a field's first one, if it is not NULL; of those
    /// that are no field's, all, for serde to ignore or deny.
    fn counts(&mut self, arg: &Arg<'de>) -> bool {
        let Some(fields) = self.fields else {
            return !arg.value.is_null();
        };
        let Some(field) = fields.iter().position(|field| arg.name == *field) else {
            return true;
        };
        // Beyond the 128th field repetitions are not noticed here; serde's derive denies them.
        let bit = u32::try_from(field)
            .ok()
            .and_then(|field| 1_u128.checked_shl(field))
            .unwrap_or(0);
        let first = self.seen & bit == 0;
        self.seen |= bit;
        first && !arg.value.is_null()
    }

    /// How errors call `arg`, the one before `position`.
    fn id(&self, arg: &Arg<'_>) -> ArgId {
        if arg.name.is_empty() {
            ArgId::Position(self.position.saturating_sub(1))
        } else {
            ArgId::Name(arg.name.to_string().into())
        }
    }
}

impl<'de> MapAccess<'de> for ByName<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let arg = loop {
            let Some(arg) = self.args.as_mut().and_then(Iterator::next) else {
                return Ok(None);
            };
            self.position += 1;
            if self.counts(&arg) {
                break arg;
            }
        };
        self.current = Some(arg);
        match arg.name.to_str() {
            Ok(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Err(_) => seed.deserialize(BorrowedBytesDeserializer::new(arg.name.as_bytes())),
        }
        .map(Some)
        .map_err(|fault: Fault| fault.at::<K::Value>(self.id(&arg), &arg.value))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let arg = self
            .current
            .take()
            .ok_or_else(|| Fault::custom("a value was asked for before its name"))?;
        seed.deserialize(Value(arg.value))
            .map_err(|fault| fault.at::<V::Value>(self.id(&arg), &arg.value))
    }
}

/// Arguments for a tuple, which has at least so many, or a sequence, which has those that
/// came.
struct ByPosition<'de> {
    args: Option<Args<'de>>,
    position: usize,
    at_least: usize,
}

impl<'de> SeqAccess<'de> for ByPosition<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let id = ArgId::Position(self.position);
        let arg = self.args.as_mut().and_then(Iterator::next);
        let element = match arg {
            Some(arg) => seed
                .deserialize(Value(arg.value))
                .map_err(|fault| fault.at::<T::Value>(id, &arg.value))?,
            None if self.position < self.at_least => seed
                .deserialize(UnitDeserializer::new())
                .map_err(|_: Fault| Fault::missing(id))?,
            None => return Ok(None),
        };
        self.position += 1;
        Ok(Some(element))
    }

    fn size_hint(&self) -> Option<usize> {
        self.args.map_or(Some(0), |args| args.size_hint().1)
    }
}
