//! The type of prompts and answers.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

/// A prompt or an answer: text that belongs to the client and that nothing may print.
///
/// There is no `Display` and no `Serialize`; `Debug` prints the type's name only, so a log field cannot hold the text
/// by accident (invariant 6). Reading it is an explicit [`expose`](Plaintext::expose), which a reviewer can search for.
/// The memory is overwritten when the value is dropped.
pub struct Plaintext<T: Zeroize>(T);

impl<T: Zeroize> Plaintext<T> {
    /// Takes custody of `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The text, for the engine and for the wire to the client that it belongs to.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Default> Plaintext<T> {
    /// The text itself, at the border where it leaves our custody (the engine, the client's own terminal).
    pub fn into_inner(mut self) -> T {
        std::mem::take(&mut self.0)
    }
}

impl<T: Zeroize> Drop for Plaintext<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Plaintext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext<{}>", std::any::type_name::<T>())
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Plaintext<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_the_type_and_not_the_text() {
        let text = Plaintext::new(String::from("the patient's name"));
        assert_eq!(format!("{text:?}"), "Plaintext<alloc::string::String>");
        assert_eq!(text.into_inner(), "the patient's name");
    }
}
