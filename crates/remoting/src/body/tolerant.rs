//! Deserializers for what clients write differently.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Null is the default.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A 64-bit integer written as a number or as text; null is 0.
pub(super) fn integer<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    struct Integer;

    impl Visitor<'_> for Integer {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer, as a number or as text")
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(|_| E::custom("an integer beyond 64 bits"))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
            text.trim().parse().map_err(|_| E::custom("text that is no integer"))
        }

        fn visit_unit<E: Error>(self) -> Result<i64, E> {
            Ok(0)
        }
    }

    from.deserialize_any(Integer)
}

/// A list of hash codes, as numbers or as text; what is no 32-bit integer is left out, for receivers compute hashes
/// anew.
pub(super) fn codes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i32>, D::Error> {
    let codes = Option::<Vec<Code>>::deserialize(from)?.unwrap_or_default();
    Ok(codes.into_iter().filter_map(|Code(code)| code).collect())
}

/// An element of [`codes`]; any value is one.
struct Code(Option<i32>);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Option<i32>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Option<i32>, E> {
                Ok(number.try_into().ok())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Option<i32>, E> {
                Ok(number.try_into().ok())
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Option<i32>, E> {
                Ok(None)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Option<i32>, E> {
                Ok(text.parse().ok())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Option<i32>, E> {
                Ok(None)
            }

            fn visit_unit<E: Error>(self) -> Result<Option<i32>, E> {
                Ok(None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<i32>, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(None)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Option<i32>, A::Error> {
                while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
        }

        from.deserialize_any(Any).map(Self)
    }
}

/// An enum that Java and Go write by name and C++ by number.
pub(super) trait Named: Copy + Default + 'static {
    /// Every value with its name, in the order of the numbers.
    const NAMES: &'static [(Self, &'static str)];

    fn name(self) -> &'static str
    where
        Self: PartialEq,
    {
        Self::NAMES.iter().find(|(value, _)| *value == self).map_or("", |(_, name)| name)
    }
}

/// Reads a [`Named`]; null is the default.
pub(super) fn named<'de, D: Deserializer<'de>, T: Named>(from: D) -> Result<T, D::Error> {
    struct Name<T>(PhantomData<T>);

    impl<T: Named> Visitor<'_> for Name<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name or a number of an enum")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            let found = T::NAMES.iter().find(|(_, name)| *name == text);
            found.map(|(value, _)| *value).ok_or_else(|| E::custom(format_args!("unknown name {text:?}")))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            let found = usize::try_from(number).ok().and_then(|index| T::NAMES.get(index));
            found.map(|(value, _)| *value).ok_or_else(|| E::custom(format_args!("unknown number {number}")))
        }

        fn visit_unit<E: Error>(self) -> Result<T, E> {
            Ok(T::default())
        }
    }

    from.deserialize_any(Name(PhantomData))
}

/// Declares enums that are written by name and read by name or number.
macro_rules! named_enums {
    ($($(#[$meta:meta])* $enum:ident { $($(#[$value_meta:meta])* $value:ident = $name:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub enum $enum {
            $($(#[$value_meta])* $value,)*
        }

        impl $crate::body::tolerant::Named for $enum {
            const NAMES: &'static [(Self, &'static str)] = &[$((Self::$value, $name),)*];
        }

        impl serde::Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str($crate::body::tolerant::Named::name(*self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::body::tolerant::named(from)
            }
        }
    )*};
}

pub(super) use named_enums;
