//! Which kinds of a message this node knows: for telling a newer node's message from damage.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};

/// Finds out what variants an enum has, in the order of their numbers.
struct Variants;

impl<'de> Deserializer<'de> for Variants {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(""))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom(variants.join(" ")))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Names of the variants of an enum.
pub(super) fn variants<T: DeserializeOwned>() -> String {
    T::deserialize(Variants).err().map(|names| names.to_string()).unwrap_or_default()
}

/// The number of the variant that these bytes begin with, if it is none that is known.
pub(super) fn unknown<T: DeserializeOwned>(bytes: &[u8]) -> Option<u32> {
    let (number, _) = postcard::take_from_bytes::<u32>(bytes).ok()?;
    let known = variants::<T>().split_whitespace().count();
    (usize::try_from(number).ok()? >= known && known > 0).then_some(number)
}
