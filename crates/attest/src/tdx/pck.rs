//! What the PCK certificate says of the platform: its extension 1.2.840.113741.1.13.1. Source: Intel SGX PCK Certificate and
//! CRL Profile. "Configuration" is in certificates of the Platform CA; those of the Processor CA have none.
//!
//! ```text
//! SEQUENCE of SEQUENCE { OBJECT IDENTIFIER, value }, all below 1.2.840.113741.1.13.1:
//! .1  PPID       OCTET STRING, 16          .4  FMSPC          OCTET STRING, 6
//! .2  TCB        SEQUENCE of the same      .5  SGX type       ENUMERATED
//! .2.17 PCESVN   INTEGER                   .7  Configuration  SEQUENCE of the same
//! .2.18 CPUSVN   OCTET STRING, 16          .7.1 dynamic platform, .7.2 cached keys, .7.3 SMT: BOOLEAN
//! .3  PCE id     OCTET STRING, 2
//! ```

use serde::{Deserialize, Serialize};

use crate::der;
use crate::x509::Certificate;

/// The extension, in dotted decimal.
const EXTENSION: &str = "1.2.840.113741.1.13.1";
/// The same as the content of an OBJECT IDENTIFIER: what is in it begins so.
const PREFIX: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// The platform by its PCK certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pck {
    /// Family, model, stepping, platform type and custom SKU.
    pub(crate) fmspc: [u8; 6],
    pub(crate) pce_id: [u8; 2],
    /// Security versions of the processor's TCB components.
    pub(crate) cpu_svn: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub(crate) pce_svn: u16,
    pub(crate) flags: Vec<PlatformFlag>,
}

/// Something about the platform that a policy may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformFlag {
    /// Processor packages can be added to the platform later.
    DynamicPlatform,
    /// Intel's registration service keeps the platform's root keys.
    CachedKeys,
    /// Simultaneous multithreading is on.
    Smt,
    /// The certificate does not say: it is of the Processor CA, or leaves a flag out.
    Unstated,
}

impl Pck {
    /// `None` where something is missing, there twice, or of another form.
    pub(crate) fn read(certificate: &Certificate) -> Option<Self> {
        let entries = Entries::read(certificate.extension(EXTENSION)?)?;
        let tcb = Entries::read_content(entries.only(&[2], der::SEQUENCE)?)?;
        entries.octets::<16>(&[1])?;
        entries.only(&[5], der::ENUMERATED)?;
        let configuration = match entries.find(&[7]) {
            None => None,
            Some(_) => Some(Entries::read_content(entries.only(&[7], der::SEQUENCE)?)?),
        };
        let pce_svn = match der::unsigned(tcb.only(&[2, 17], der::INTEGER)?)? {
            [] => 0,
            [low] => u16::from(*low),
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => return None,
        };
        Some(Self {
            fmspc: entries.octets(&[4])?,
            pce_id: entries.octets(&[3])?,
            cpu_svn: tcb.octets(&[2, 18])?,
            pce_svn,
            flags: PlatformFlag::of(configuration.as_ref())?,
        })
    }
}

impl PlatformFlag {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::DynamicPlatform, Self::CachedKeys, Self::Smt, Self::Unstated];

    /// As in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DynamicPlatform => "dynamic-platform",
            Self::CachedKeys => "cached-keys",
            Self::Smt => "smt",
            Self::Unstated => "unstated",
        }
    }

    /// Those that a certificate has. One that leaves any of the three out has [`PlatformFlag::Unstated`].
    fn of(configuration: Option<&Entries<'_>>) -> Option<Vec<Self>> {
        let mut flags = Vec::new();
        let mut unstated = configuration.is_none();
        for (flag, number) in [(Self::DynamicPlatform, 1), (Self::CachedKeys, 2), (Self::Smt, 3)] {
            let Some(configuration) = configuration else { continue };
            match configuration.find(&[7, number]) {
                None => unstated = true,
                Some((der::BOOLEAN, [0x00])) => {}
                Some((der::BOOLEAN, [0xff])) => flags.push(flag),
                Some(_) => return None,
            }
        }
        if unstated {
            flags.push(Self::Unstated);
        }
        Some(flags)
    }
}

/// A SEQUENCE of pairs, none of them twice: what stands behind the prefix, the value's tag, its content.
struct Entries<'a>(Vec<(&'a [u8], u8, &'a [u8])>);

impl<'a> Entries<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        Self::read_content(der::only(input, der::SEQUENCE)?)
    }

    fn read_content(mut input: &'a [u8]) -> Option<Self> {
        let mut entries: Vec<(&[u8], u8, &[u8])> = Vec::new();
        while !input.is_empty() {
            let (pair, rest) = der::take(input, der::SEQUENCE)?;
            let (name, value) = der::take(pair.content, der::OBJECT_IDENTIFIER)?;
            let &tag = value.first()?;
            let number = name.content.strip_prefix(PREFIX)?;
            if entries.iter().any(|(seen, ..)| *seen == number) {
                return None;
            }
            entries.push((number, tag, der::only(value, tag)?));
            input = rest;
        }
        Some(Self(entries))
    }

    fn find(&self, number: &[u8]) -> Option<(u8, &'a [u8])> {
        self.0.iter().find(|(name, ..)| *name == number).map(|(_, tag, content)| (*tag, *content))
    }

    fn only(&self, number: &[u8], expected: u8) -> Option<&'a [u8]> {
        self.find(number).filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }

    fn octets<const N: usize>(&self, number: &[u8]) -> Option<[u8; N]> {
        self.only(number, der::OCTET_STRING)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        if length < 0x80 {
            [&[tag, length], content].concat()
        } else {
            [&[tag, 0x81, length], content].concat()
        }
    }

    fn pair(number: &[u8], tag: u8, content: &[u8]) -> Vec<u8> {
        der(0x30, &[der(0x06, &[PREFIX, number].concat()), der(tag, content)].concat())
    }

    fn flags(entries: &[Vec<u8>]) -> Option<Vec<PlatformFlag>> {
        PlatformFlag::of(Some(&Entries::read_content(&entries.concat())?))
    }

    #[test]
    fn a_flag_that_is_left_out_is_unstated() {
        use PlatformFlag::{CachedKeys, DynamicPlatform, Smt, Unstated};
        let flag = |number, value: &[u8]| pair(&[7, number], 0x01, value);
        let all = [flag(1, &[0xff]), flag(2, &[0xff]), flag(3, &[0xff])];
        assert_eq!(flags(&all), Some(vec![DynamicPlatform, CachedKeys, Smt]));
        assert_eq!(flags(&all[..2]), Some(vec![DynamicPlatform, CachedKeys, Unstated]));
        assert_eq!(flags(&[flag(1, &[0]), flag(2, &[0]), flag(3, &[0])]), Some(vec![]));
        assert_eq!(PlatformFlag::of(None), Some(vec![Unstated]));
        assert_eq!(flags(&[flag(1, &[1]), flag(2, &[0]), flag(3, &[0])]), None, "not a BOOLEAN of DER");
        assert_eq!(flags(&[pair(&[7, 1], 0x02, &[0])]), None, "not a BOOLEAN");
    }

    #[test]
    fn an_entry_is_one_pair_below_the_prefix_and_none_is_there_twice() {
        let fmspc = pair(&[4], 0x04, &[7; 6]);
        let read = |content: &[u8]| Entries::read_content(content).and_then(|all| all.octets::<6>(&[4]));
        assert_eq!(read(&fmspc), Some([7; 6]));
        assert_eq!(read(&[fmspc.clone(), fmspc.clone()].concat()), None, "twice");
        assert_eq!(read(&fmspc[..fmspc.len() - 1]), None, "cut");
        assert_eq!(read(&pair(&[4], 0x04, &[7; 5])), None, "short");
        assert_eq!(read(&pair(&[4], 0x0c, &[7; 6])), None, "of another type");
        assert_eq!(read(&[fmspc, der(0x30, &der(0x06, &[0x2a]))].concat()), None, "another's");
    }
}
