//! A made-up Nitro Security Module, with payloads that a case changes a member of before it is signed.

#[path = "authorities.rs"]
#[allow(dead_code)] // the client's and the command line's cases use more of it
pub(crate) mod authorities;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use casemate_attest::{TrustAnchors, UnixTime};
pub(crate) use casemate_sim::nitro::NitroPathMistake as Path;
use casemate_sim::nitro::{NitroConfig, NitroModule, NitroVendor};

/// 2026-01-01T12:00:00Z: the leaf is valid in that hour.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

/// What is in a document; a case changes one thing.
pub(crate) struct Payload {
    pub(crate) members: Vec<(&'static str, Vec<u8>)>,
}

pub(crate) struct Vendor {
    pub(crate) anchors: TrustAnchors,
    aws: NitroVendor,
}

/// Certificates of a module, and the key that signs for it.
pub(crate) struct Module {
    signer: Signer,
    leaf: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
}

enum Signer {
    Simulated(Box<NitroModule>),
    /// Of the authorities that name lists.
    Key(EcdsaKeyPair),
}

impl Vendor {
    pub(crate) fn new() -> Self {
        // Its root is older than every recording.
        let mut aws = NitroVendor::create(UnixTime(1_577_880_000)).expect("a vendor");
        aws.renew(NOON).expect("renewed");
        Self { anchors: TrustAnchors::danger_only_pem(&aws.root_pem()).expect("a danger bundle"), aws }
    }

    pub(crate) fn module(&self, path: Path) -> Module {
        let config = NitroConfig { path, ..NitroConfig::new([0x10; 48]) };
        let module = self.aws.module(&config).expect("a module");
        let (leaf, cabundle) = (module.certificate().to_vec(), module.cabundle().to_vec());
        Module { signer: Signer::Simulated(Box::new(module)), leaf, cabundle }
    }
}

impl Module {
    /// A good payload: PCR n is 48 bytes of 0x10 + n, the user data 64 bytes of 0xd5.
    pub(crate) fn payload(&self) -> Payload {
        let pcrs = (0..16_u8).map(|index| (uint(index.into()), bytes(&[0x10 + index; 48])));
        Payload {
            members: vec![
                ("module_id", text("i-0123456789abcdef0-enc0123456789abcdef")),
                ("digest", text("SHA384")),
                ("timestamp", uint(NOON.0 * 1000)),
                ("pcrs", map(pcrs)),
                ("certificate", bytes(&self.leaf)),
                ("cabundle", array(self.cabundle.iter().map(|der| bytes(der)))),
                ("public_key", vec![0xf6]),
                ("user_data", bytes(&[0xd5; 64])),
                ("nonce", vec![0xf6]),
            ],
        }
    }

    pub(crate) fn sign(&self, payload: &[u8]) -> Vec<u8> {
        match &self.signer {
            Signer::Simulated(module) => module.sign(payload).expect("a document"),
            Signer::Key(key) => {
                let protected = [0x44, 0xa1, 0x01, 0x38, 0x22];
                let signed =
                    [&[0x84][..], &text("Signature1"), &protected, &[0x40], &bytes(payload)].concat();
                let signature = key.sign(&SystemRandom::new(), &signed).expect("a signature");
                envelope(payload, signature.as_ref())
            }
        }
    }
}

impl Payload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        map(self.members.iter().map(|(key, value)| (text(key), value.clone())))
    }

    /// With another value for a member.
    pub(crate) fn with(mut self, key: &str, value: Vec<u8>) -> Self {
        self.members.iter_mut().find(|(name, _)| *name == key).expect("a member").1 = value;
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.members.retain(|(name, _)| *name != key);
        self
    }

    pub(crate) fn and(mut self, key: &'static str, value: Vec<u8>) -> Self {
        self.members.push((key, value));
        self
    }
}

pub(crate) fn envelope(payload: &[u8], signature: &[u8]) -> Vec<u8> {
    [&[0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0][..], &bytes(payload), &bytes(signature)].concat()
}

pub(crate) fn map(entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let entries: Vec<_> = entries.collect();
    let body = entries.iter().flat_map(|(key, value)| [key.as_slice(), value].concat());
    head(0xa0, entries.len()).into_iter().chain(body).collect()
}

pub(crate) fn array(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.collect();
    head(0x80, items.len()).into_iter().chain(items.into_iter().flatten()).collect()
}

pub(crate) fn bytes(value: &[u8]) -> Vec<u8> {
    [head(0x40, value.len()), value.to_vec()].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [head(0x60, value.len()), value.as_bytes().to_vec()].concat()
}

pub(crate) fn uint(value: u64) -> Vec<u8> {
    match value {
        0..=23 => vec![value as u8],
        24..=255 => vec![0x18, value as u8],
        _ => [&[0x1b][..], &value.to_be_bytes()].concat(),
    }
}

fn head(major: u8, length: usize) -> Vec<u8> {
    match length {
        0..=23 => vec![major | length as u8],
        24..=255 => vec![major | 24, length as u8],
        _ => [&[major | 25][..], &(length as u16).to_be_bytes()].concat(),
    }
}
