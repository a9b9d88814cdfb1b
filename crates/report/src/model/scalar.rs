//! Numbers that JSON has as strings, and numbers that are contents of memory.
//!
//! **Invariant:** an address is `0x…`, whether it is hashed or not.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sysak_base::Va;

/// A kernel address: `"0xffff888003605e00"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub Va);

/// An offset, or a size that goes with one: `"0x7c"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex(pub u64);

/// A word of memory: `"0x0000000300000001"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contents(pub u64);

/// The number of a page of RAM; it tells where in memory something lies, as an address does.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub struct PageNumber(pub u64);

/// Names under which these types are serialised: `redact` goes by them.
pub(crate) const ADDRESS: &str = "Address";
pub(crate) const HEX: &str = "Hex";
pub(crate) const CONTENTS: &str = "Contents";
pub(crate) const PAGE_NUMBER: &str = "PageNumber";

impl From<Va> for Address {
    fn from(at: Va) -> Address {
        Address(at)
    }
}

impl From<u64> for Hex {
    fn from(number: u64) -> Hex {
        Hex(number)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Display for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number as the string that it is displayed as.
macro_rules! as_string {
    ($($type:ident, $name:ident, $inner:expr;)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_newtype_struct($name, &self.to_string())
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^0x[0-9a-f]{1,16}$" })
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let text = String::deserialize(from)?;
                let number = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
                match number {
                    Some(Ok(number)) => Ok($type($inner(number))),
                    _ => {
                        let wanted = "0x and at most 16 hexadecimal digits";
                        Err(D::Error::invalid_value(Unexpected::Str(&text), &wanted))
                    }
                }
            }
        }
    )*};
}

as_string! {
    Address, ADDRESS, Va;
    Hex, HEX, std::convert::identity;
    Contents, CONTENTS, std::convert::identity;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        let at = Address(Va(0xffff_8880_0360_5e00));
        let written = serde_json::to_string(&(at, Hex(0x7c), Contents(3), PageNumber(9))).unwrap();
        assert_eq!(written, r#"["0xffff888003605e00","0x7c","0x0000000000000003",9]"#);
        let read = serde_json::from_str::<(Address, Hex, Contents, PageNumber)>(&written).unwrap();
        assert_eq!(read, (at, Hex(0x7c), Contents(3), PageNumber(9)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [r#""""#, r#""0x""#, r#""7c""#, r#""0xg""#, r#""0x11112222333344445""#, "7"] {
            assert!(serde_json::from_str::<Hex>(bad).is_err(), "{bad}");
        }
    }
}
