//! What proofs and secrets must not be able to do, checked by the compiler.
//!
//! This file compiles only while none of the types below has any of the traits beside it. What cannot be said with
//! traits (private fields, use after move) is in `src/compile_fail.rs`.

use std::fmt::{Debug, Display};

use casemate_attest::{Authentic, Verified};
use casemate_broker::store::ContentKey;
use casemate_broker::{BrokerState, Permit, Store};
use casemate_protocol::Plaintext;
use casemate_protocol::additional::AttestedComposite;
use casemate_protocol::jwe::TeePrivateKey;
use casemate_seal::ModelKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Fails to compile, for want of a unique implementation, if the type has one of the traits.
macro_rules! lacks {
    ($type:ty: $($trait:path),+) => {
        const _: fn() = || {
            trait Ambiguous<T> {
                fn item() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            $({
                struct Has;
                impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
            })+
            let _ = <$type as Ambiguous<_>>::item;
        };
    };
}

// A proof is made once, by the function that checked, and from nothing else.
lacks!(Authentic: Clone, Copy, Default, DeserializeOwned, Serialize);
lacks!(Verified: Clone, Copy, Default, DeserializeOwned, Serialize);
lacks!(AttestedComposite: Clone, Copy, Default, DeserializeOwned, Serialize);
lacks!(Permit: Clone, Copy, Default, DeserializeOwned, Serialize);

// A secret is not copied, printed or written by accident.
lacks!(ContentKey: Clone, Default, Debug, Display, AsRef<[u8]>, Serialize, DeserializeOwned);
lacks!(ModelKey: Clone, Default, Debug, Display, Serialize);
lacks!(TeePrivateKey: Clone, Default, Debug, Display, Serialize);
lacks!(Plaintext<String>: Clone, Display, Serialize);
lacks!(Store: Clone, Debug);
lacks!(BrokerState: Clone, Debug);

/// The check above can fail: a type that has a trait is ambiguous. Here the other way round, as a control.
#[test]
fn the_control_types_have_their_traits() {
    fn has<T: Clone + Default + Debug + Display + Serialize + DeserializeOwned>() {}
    has::<String>();
    assert_eq!(format!("{:?}", Plaintext::new(String::from("prompt"))), "Plaintext<alloc::string::String>");
}
