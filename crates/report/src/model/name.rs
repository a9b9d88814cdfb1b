//! Names that may be told to strangers; every other string of the model is hashed by `--redact`.

use std::fmt;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name that is the kernel's or ours and says nothing of this machine's memory or of its users:
/// a slab cache, a module, a struct, a version.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Plain(String);

/// A place in the kernel's code or data, or a message of ours: `kmemdup+0x2a/0x60`. What looks like
/// an address in it is hashed.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Symbolic(String);

/// Names under which these types are serialised: `redact` goes by them.
pub(crate) const PLAIN: &str = "Plain";
pub(crate) const SYMBOLIC: &str = "Symbolic";

macro_rules! like_strings {
    ($($type:ident)*) => {$(
        impl From<String> for $type {
            fn from(text: String) -> $type {
                $type(text)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> $type {
                $type(text.to_owned())
            }
        }

        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    )*};
}

like_strings! { Plain Symbolic }
