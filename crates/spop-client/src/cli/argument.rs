//! Arguments of a message as they are typed: `name=value` and `name:type=value`.

use std::net::IpAddr;
use std::str::FromStr;

use spop_client::spop_codec::TypedData;

/// An argument: its name, which may be empty, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    name: String,
    value: Value,
}

/// A value of one of the types that HAProxy sends.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Ip(IpAddr),
    Str(String),
    Bin(Vec<u8>),
}

/// Why it is no argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("expected NAME=VALUE, NAME:TYPE=VALUE or NAME:null")]
    Shape,
    #[error("`{0}` is not a type: use str, int, bool, ip, bin or null")]
    Type(String),
    #[error("`{0}` is not true or false")]
    Bool(String),
    #[error("`{0}` is not an integer of 64 bits, -9223372036854775808 to 9223372036854775807")]
    Int(String),
    #[error("`{0}` is not an IPv4 or IPv6 address")]
    Ip(String),
    #[error("`{0}` is not an even number of hexadecimal digits")]
    Bin(String),
    #[error("null has no value: write NAME:null")]
    Null,
}

impl Argument {
    /// The argument as a NOTIFY takes it.
    pub(crate) fn as_pair(&self) -> (&str, TypedData<'_>) {
        let value = match &self.value {
            Value::Null => TypedData::Null,
            Value::Bool(value) => TypedData::Bool(*value),
            Value::Int(value) => TypedData::Int64(*value),
            Value::Ip(ip) => (*ip).into(),
            Value::Str(text) => text.as_str().into(),
            Value::Bin(bytes) => TypedData::Binary(bytes),
        };
        (&self.name, value)
    }
}

impl FromStr for Argument {
    type Err = ArgumentError;

    fn from_str(text: &str) -> Result<Self, ArgumentError> {
        let (left, value) = match text.split_once('=') {
            Some((left, value)) => (left, Some(value)),
            None => (text, None),
        };
        let (name, kind) = match left.rsplit_once(':') {
            Some((name, kind)) => (name, Some(kind)),
            None => (left, None),
        };
        let value = match (kind, value) {
            (None, Some(value)) => Value::guess(value),
            (Some("null"), None) => Value::Null,
            (Some("null"), Some(_)) => return Err(ArgumentError::Null),
            (Some(kind), Some(value)) => Value::of_type(kind, value)?,
            (_, None) => return Err(ArgumentError::Shape),
        };
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}

impl Value {
    /// The type that the value looks like.
    fn guess(value: &str) -> Self {
        if let Ok(ip) = value.parse() {
            Self::Ip(ip)
        } else if let Ok(value) = value.parse() {
            Self::Bool(value)
        } else if let Ok(value) = value.parse() {
            Self::Int(value)
        } else {
            Self::Str(value.to_owned())
        }
    }

    fn of_type(kind: &str, value: &str) -> Result<Self, ArgumentError> {
        let owned = || value.to_owned();
        Ok(match kind {
            "str" => Self::Str(owned()),
            "int" => Self::Int(value.parse().map_err(|_| ArgumentError::Int(owned()))?),
            "bool" => Self::Bool(value.parse().map_err(|_| ArgumentError::Bool(owned()))?),
            "ip" => Self::Ip(value.parse().map_err(|_| ArgumentError::Ip(owned()))?),
            "bin" => Self::Bin(unhex(value).ok_or_else(|| ArgumentError::Bin(owned()))?),
            other => return Err(ArgumentError::Type(other.to_owned())),
        })
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, value: TypedData<'_>) {
        let argument: Argument = text.parse().unwrap();
        assert_eq!(argument.as_pair(), (name, value), "{text}");
    }

    #[test]
    fn guessed() {
        check("a=192.0.2.7", "a", TypedData::Ipv4([192, 0, 2, 7].into()));
        check("a=::1", "a", TypedData::Ipv6(1.into()));
        check("a=true", "a", true.into());
        check("a=false", "a", false.into());
        check("a=0", "a", 0_i64.into());
        check("a=-7", "a", (-7_i64).into());
        check("a=9223372036854775808", "a", "9223372036854775808".into());
        check("a=True", "a", "True".into());
        check("a=192.0.2", "a", "192.0.2".into());
        check("a=", "a", "".into());
        check("a=b=c:d", "a", "b=c:d".into());
    }

    #[test]
    fn unnamed() {
        check("=x", "", "x".into());
        check(":int=1", "", 1_i64.into());
        check(":null", "", TypedData::Null);
    }

    #[test]
    fn typed() {
        check("a:str=192.0.2.7", "a", "192.0.2.7".into());
        check("a:int=-9223372036854775808", "a", i64::MIN.into());
        check("a:bool=false", "a", false.into());
        check("a:ip=2001:db8::7", "a", {
            let ip: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
            ip.into()
        });
        check("a:bin=00fF", "a", TypedData::Binary(&[0, 0xff]));
        check("a:bin=", "a", TypedData::Binary(&[]));
        check("a:null", "a", TypedData::Null);
    }

    #[test]
    fn refused() {
        let refused = |text: &str| text.parse::<Argument>().unwrap_err();
        assert_eq!(refused("a"), ArgumentError::Shape);
        assert_eq!(refused(""), ArgumentError::Shape);
        assert_eq!(refused("a:int"), ArgumentError::Shape);
        assert_eq!(refused("a:null=1"), ArgumentError::Null);
        assert_eq!(refused("a:u8=1"), ArgumentError::Type("u8".into()));
        assert_eq!(refused("a:=1"), ArgumentError::Type("".into()));
        assert_eq!(refused("a:int=1.5"), ArgumentError::Int("1.5".into()));
        assert_eq!(refused("a:bool=1"), ArgumentError::Bool("1".into()));
        assert_eq!(refused("a:ip=x"), ArgumentError::Ip("x".into()));
        for odd in ["0", "0g", "+1", "é"] {
            assert_eq!(
                refused(&format!("a:bin={odd}")),
                ArgumentError::Bin(odd.into())
            );
        }
    }

    proptest! {
        #[test]
        fn text_arrives_as_typed(value in ".*") {
            check(&format!("a:str={value}"), "a", value.as_str().into());
        }

        #[test]
        fn every_integer_is_guessed(value: i64) {
            check(&format!("a={value}"), "a", value.into());
        }

        #[test]
        fn bytes_arrive_as_typed(value: Vec<u8>) {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            check(&format!("a:bin={hex}"), "a", TypedData::Binary(&value));
        }
    }
}
