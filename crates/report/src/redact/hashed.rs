//! A serializer that gives JSON values with all hashed that is not harmless.
//!
//! Names of fields and of variants are the model's own: they stay. So do the keys of maps, which
//! serde makes of flattened structs: no model has a map of its own.

use serde::ser::{
    self, Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct,
    SerializeStructVariant, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};
use serde_json::{Error, Map, Value};

use super::{Salt, Treatment};

type Result<T> = std::result::Result<T, Error>;

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Hashed {
    salt: Salt,
    treatment: Treatment,
}

impl Hashed {
    pub(super) fn new(salt: Salt) -> Hashed {
        Hashed { salt, treatment: Treatment::Usual }
    }

    /// For what is inside: each type says for itself what it is.
    fn inner(self) -> Hashed {
        Hashed::new(self.salt)
    }

    fn list(self, variant: Option<&'static str>) -> List {
        List { hashed: self.inner(), variant, values: Vec::new() }
    }

    fn fields(self, variant: Option<&'static str>) -> Fields {
        Fields { hashed: self.inner(), variant, values: Map::new(), key: None }
    }
}

/// The value of a variant under the variant's name.
fn under(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(variant) => Value::Object(Map::from_iter([(variant.to_owned(), value)])),
        None => value,
    }
}

impl ser::Serializer for Hashed {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    /// What is a name for people tells its parts.
    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<Value> {
        Ok(value.into())
    }

    fn serialize_i8(self, value: i8) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<Value> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<Value> {
        match u64::try_from(value) {
            Ok(value) => self.serialize_u64(value),
            Err(_) => Ok(value.into()),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<Value> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<Value> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<Value> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<Value> {
        Ok(self.salt.number(value, self.treatment).into())
    }

    fn serialize_f32(self, value: f32) -> Result<Value> {
        Ok(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Value> {
        Ok(value.into())
    }

    fn serialize_char(self, value: char) -> Result<Value> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Value> {
        Ok(self.salt.text(value, self.treatment).into())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Value> {
        Err(Error::custom("bytes have no form in a report"))
    }

    fn serialize_none(self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &str, _: u32, variant: &'static str) -> Result<Value> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value> {
        value.serialize(Hashed { treatment: Treatment::of(name), ..self })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value> {
        Ok(under(Some(variant), value.serialize(self.inner())?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List> {
        Ok(self.list(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<List> {
        Ok(self.list(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List> {
        Ok(self.list(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List> {
        Ok(self.list(Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields> {
        Ok(self.fields(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields> {
        Ok(self.fields(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields> {
        Ok(self.fields(Some(variant)))
    }
}

/// Values one after the other.
pub(super) struct List {
    hashed: Hashed,
    variant: Option<&'static str>,
    values: Vec<Value>,
}

/// Values by name.
pub(super) struct Fields {
    hashed: Hashed,
    variant: Option<&'static str>,
    values: Map<String, Value>,
    key: Option<String>,
}

macro_rules! lists {
    ($($kind:ident $add:ident;)*) => {$(
        impl $kind for List {
            type Ok = Value;
            type Error = Error;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.values.push(value.serialize(self.hashed)?);
                Ok(())
            }

            fn end(self) -> Result<Value> {
                Ok(under(self.variant, Value::Array(self.values)))
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! structs {
    ($($kind:ident)*) => {$(
        impl $kind for Fields {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.values.insert(name.to_owned(), value.serialize(self.hashed)?);
                Ok(())
            }

            fn end(self) -> Result<Value> {
                Ok(under(self.variant, Value::Object(self.values)))
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Fields {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let keep = Hashed { treatment: Treatment::Keep, ..self.hashed };
        match key.serialize(keep)? {
            Value::String(key) => {
                self.key = Some(key);
                Ok(())
            }
            _ => Err(Error::custom("the name of a field is a string")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let key = self.key.take().ok_or_else(|| Error::custom("a value without a name"))?;
        self.values.insert(key, value.serialize(self.hashed)?);
        Ok(())
    }

    fn end(self) -> Result<Value> {
        Ok(Value::Object(self.values))
    }
}
