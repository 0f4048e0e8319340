//! Enumerations whose values have a name in the file and a sentence in the reference.
//!
//! Not a general derive: one macro, so that the name that is read, the name that is printed and the name in the documents are
//! the same text.

/// A value that is written as one of a few words.
pub trait Named: Sized + Copy + 'static {
    /// Every word and what it means, in the order of the reference.
    const NAMES: &'static [(&'static str, &'static str)];

    /// The value of a word of [`Self::NAMES`].
    fn from_name(name: &str) -> Option<Self>;

    /// The word in the file.
    fn name(self) -> &'static str;
}

/// Define enumerations with their words: `Variant "word" "what it means"`.
macro_rules! named {
    ($($(#[$meta:meta])* pub enum $type:ident { $($variant:ident $word:literal $about:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        pub enum $type {
            $(#[doc = $about] #[serde(rename = $word)] $variant,)+
        }

        impl $crate::names::Named for $type {
            const NAMES: &'static [(&'static str, &'static str)] = &[$(($word, $about)),+];

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str($crate::names::Named::name(*self))
            }
        }
    )+};
}

pub(crate) use named;
