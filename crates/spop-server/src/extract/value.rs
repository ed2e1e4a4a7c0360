//! One value of an argument, for serde. It converts between the kinds of integers and of
//! text, and between nothing else.

use std::fmt::Display;
use std::io::{Cursor, Write};
use std::iter;

use serde_core::de::value::{
    BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer, SeqDeserializer,
};
use serde_core::de::{Deserializer, Error, IntoDeserializer, Unexpected, Visitor};
use serde_core::forward_to_deserialize_any;
use spop_codec::TypedData;

use super::fault::Fault;

/// The value.
#[derive(Clone, Copy)]
pub(super) struct Value<'de>(pub(super) TypedData<'de>);

impl<'de> Value<'de> {
    /// STRING or BINARY as text.
    fn text(&self) -> Option<Result<&'de str, Fault>> {
        let bytes = self.0.to_bytes()?;
        Some(str::from_utf8(bytes).map_err(|_| Fault::not_utf8()))
    }

    fn wrong_type<V: Visitor<'de>>(&self, visitor: &V) -> Fault {
        Fault::invalid_type(Unexpected::Other(self.0.type_name()), visitor)
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Fault;

    /// Hands over the value as it is; a visitor that wants another type says so, and checks
    /// the range of an integer.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            TypedData::Null => visitor.visit_unit(),
            TypedData::Bool(value) => visitor.visit_bool(value),
            TypedData::Int32(value) => visitor.visit_i64(value.into()),
            TypedData::Uint32(value) => visitor.visit_u64(value.into()),
            TypedData::Int64(value) => visitor.visit_i64(value),
            TypedData::Uint64(value) => visitor.visit_u64(value),
            TypedData::Ipv4(ip) => visit_as_text(ip, visitor),
            TypedData::Ipv6(ip) => visit_as_text(ip, visitor),
            TypedData::String(text) => match text.to_str() {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => visitor.visit_borrowed_bytes(text.as_bytes()),
            },
            TypedData::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
            _ => Err(self.wrong_type(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor.visit_borrowed_str(text?),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.to_bytes() {
            Some(bytes) => visitor.visit_borrowed_bytes(bytes),
            None => Err(self.wrong_type(&visitor)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    /// `Vec<u8>`, to serde, is a sequence.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.to_bytes() {
            Some(bytes) => visit_octets(bytes, visitor),
            None => Err(self.wrong_type(&visitor)),
        }
    }

    /// `[u8; N]`, and with it an address that is not read as text.
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            TypedData::Ipv4(ip) if len == 4 => visit_octets(&ip.octets(), visitor),
            TypedData::Ipv6(ip) if len == 16 => visit_octets(&ip.octets(), visitor),
            TypedData::Ipv4(_) if len == 16 => Err(other_family("IPv6 address")),
            TypedData::Ipv6(_) if len == 4 => Err(other_family("IPv4 address")),
            _ => match self.0.to_bytes() {
                Some(bytes) if bytes.len() == len => visit_octets(bytes, visitor),
                Some(bytes) => Err(Fault::invalid_length(bytes.len(), &visitor)),
                None => Err(self.wrong_type(&visitor)),
            },
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            TypedData::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Text is the name of a unit variant, an address the content of `V4` or `V6`, which is
    /// how `IpAddr` asks for it.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Some(text) = self.text() {
            return visitor.visit_enum(BorrowedStrDeserializer::new(text?));
        }
        let family = match self.0 {
            TypedData::Ipv4(_) => "V4",
            TypedData::Ipv6(_) => "V6",
            _ => return Err(self.wrong_type(&visitor)),
        };
        if !variants.contains(&family) {
            return Err(self.wrong_type(&visitor));
        }
        let content = MapDeserializer::new(iter::once((family, self)));
        visitor.visit_enum(MapAccessDeserializer::new(content))
    }

    /// No float is sent, and of an integer not every one is a float.
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Err(self.wrong_type(&visitor))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        Err(self.wrong_type(&visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    /// An address is handed over as one; everything else that has a text form, as text.
    fn is_human_readable(&self) -> bool {
        self.0.to_ip().is_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 unit unit_struct map struct identifier
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn visit_octets<'de, V: Visitor<'de>>(octets: &[u8], visitor: V) -> Result<V::Value, Fault> {
    visitor.visit_seq(SeqDeserializer::new(octets.iter().copied()))
}

/// An address for what takes text or does not say what it takes.
fn visit_as_text<'de, V: Visitor<'de>>(ip: impl Display, visitor: V) -> Result<V::Value, Fault> {
    // The longest is IPv6 that ends in dotted IPv4.
    let mut buffer = Cursor::new([0_u8; 45]);
    write!(buffer, "{ip}").map_err(Fault::custom)?;
    let length = usize::try_from(buffer.position()).unwrap_or(0);
    let text = buffer.get_ref().get(..length).unwrap_or_default();
    visitor.visit_str(str::from_utf8(text).map_err(Fault::custom)?)
}

fn other_family(expected: &'static str) -> Fault {
    Fault::invalid_type(Unexpected::Seq, &expected)
}
