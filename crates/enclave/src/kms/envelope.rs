//! What KMS encrypts for an enclave (KMS-09): a CMS EnvelopedData (RFC 5652 §6) of one form.
//!
//! ```text
//! ContentInfo { envelopedData, [0] EnvelopedData {
//!   2,
//!   SET { KeyTransRecipientInfo { 2, [0] subject key identifier,
//!         { RSAES-OAEP, { [0] { SHA-256 }, [1] { MGF1, { SHA-256 } } } }, OCTET STRING encrypted key } },
//!   { data, { AES-256-CBC, OCTET STRING iv }, [0] IMPLICIT OCTET STRING content } } }
//! ```
//!
//! The service writes the outer values with indefinite lengths, and the content in one or more parts; both are BER, and read so.

use super::KmsError;
use super::ber::Ber;

/// What an envelope holds, all of it encrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The content's key, encrypted to the recipient's.
    pub(super) key: Vec<u8>,
    /// Where the content's chain begins.
    pub(super) iv: [u8; 16],
    /// The content.
    pub(super) content: Vec<u8>,
}

impl Envelope {
    /// Reads the one form.
    ///
    /// # Errors
    /// [`KmsError::Envelope`], with the first departure from it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KmsError> {
        let mut ber = Ber::new(bytes);
        let whole = ber.open(SEQUENCE, "is no ContentInfo")?;
        ber.exactly(OID, &ENVELOPED_DATA, "is not EnvelopedData")?;
        let explicit = ber.open(CONTEXT_0, "has no content")?;
        let enveloped = ber.open(SEQUENCE, "is not EnvelopedData")?;
        ber.exactly(INTEGER, &[2], "is of another version than 2")?;
        let key = recipient(&mut ber)?;
        let (iv, content) = content(&mut ber)?;
        const BEHIND: &str = "has something behind its end";
        ber.close(enveloped, BEHIND)?;
        ber.close(explicit, BEHIND)?;
        ber.close(whole, BEHIND)?;
        ber.end_of_all(BEHIND)?;
        Ok(Self { key, iv, content })
    }
}

/// The one recipient. Which key its identifier names shows when it is opened.
fn recipient(ber: &mut Ber<'_>) -> Result<Vec<u8>, KmsError> {
    let set = ber.open(SET, "has no recipients")?;
    let info = ber.open(SEQUENCE, "has no recipient with a transported key")?;
    ber.exactly(INTEGER, &[2], "names its recipient in another way than by key identifier")?;
    ber.primitive(IDENTIFIER, "names its recipient in another way than by key identifier")?;
    oaep(ber)?;
    let key = ber.primitive(OCTET_STRING, "has no encrypted key")?;
    if key.len() != KEY_BYTES {
        return Err(ber.wrong("has an encrypted key of another length than RSA-2048 has"));
    }
    ber.close(info, "has something behind its recipient's key")?;
    ber.close(set, "has more than one recipient")?;
    Ok(key.to_vec())
}

/// RSAES-OAEP with SHA-256 in both places, and no label (RFC 4055 §4.1).
fn oaep(ber: &mut Ber<'_>) -> Result<(), KmsError> {
    const WHAT: &str = "encrypts its key with another algorithm than RSAES-OAEP with SHA-256";
    let algorithm = ber.open(SEQUENCE, WHAT)?;
    ber.exactly(OID, &RSAES_OAEP, WHAT)?;
    let parameters = ber.open(SEQUENCE, WHAT)?;
    let hash = ber.open(CONTEXT_0, WHAT)?;
    sha256(ber, WHAT)?;
    ber.close(hash, WHAT)?;
    let mask = ber.open(CONTEXT_1, WHAT)?;
    let mgf1 = ber.open(SEQUENCE, WHAT)?;
    ber.exactly(OID, &MGF1, WHAT)?;
    sha256(ber, WHAT)?;
    ber.close(mgf1, WHAT)?;
    ber.close(mask, WHAT)?;
    ber.close(parameters, WHAT)?;
    ber.close(algorithm, WHAT)
}

/// Its parameters are NULL or absent.
fn sha256(ber: &mut Ber<'_>, what: &'static str) -> Result<(), KmsError> {
    let algorithm = ber.open(SEQUENCE, what)?;
    ber.exactly(OID, &SHA256, what)?;
    if ber.peek() == Some(NULL) {
        ber.exactly(NULL, &[], what)?;
    }
    ber.close(algorithm, what)
}

fn content(ber: &mut Ber<'_>) -> Result<([u8; 16], Vec<u8>), KmsError> {
    const ALGORITHM: &str = "encrypts its content with another algorithm than AES-256-CBC";
    const BEHIND: &str = "has something behind its content";
    let info = ber.open(SEQUENCE, "has no encrypted content")?;
    ber.exactly(OID, &DATA, "has a content that is not plain data")?;
    let algorithm = ber.open(SEQUENCE, ALGORITHM)?;
    ber.exactly(OID, &AES_256_CBC, ALGORITHM)?;
    let iv = ber.primitive(OCTET_STRING, ALGORITHM)?;
    let iv =
        iv.try_into().map_err(|_| ber.wrong("has an initialisation vector of another length than 16"))?;
    ber.close(algorithm, ALGORITHM)?;
    let content = if ber.peek() == Some(CONTEXT_0) {
        let parts = ber.open(CONTEXT_0, "has no encrypted content")?;
        let mut content = Vec::new();
        while ber.peek() == Some(OCTET_STRING) {
            content.extend(ber.primitive(OCTET_STRING, "has a content whose parts are none")?);
        }
        ber.close(parts, "has a content whose parts are none")?;
        content
    } else {
        ber.primitive(IDENTIFIER, "has no encrypted content")?.to_vec()
    };
    ber.close(info, BEHIND)?;
    Ok((iv, content))
}

/// Octets of RSA-2048.
pub(super) const KEY_BYTES: usize = 256;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// [0], primitive: a key identifier, or a content in one part.
const IDENTIFIER: u8 = 0x80;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;

/// 1.2.840.113549.1.7.3
const ENVELOPED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3];
/// 1.2.840.113549.1.7.1
const DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 1.2.840.113549.1.1.7
const RSAES_OAEP: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 7];
/// 1.2.840.113549.1.1.8
const MGF1: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
/// 2.16.840.1.101.3.4.2.1
const SHA256: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a];

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of the service's, of which the parts are known: the test of AWS's own SDK for C, `tests/cms_test.c`. Its key is not
    /// known.
    const OF_AWS: &str = include_str!("of_aws.hex");

    fn of_aws() -> Vec<u8> {
        hex::decode(OF_AWS.split_whitespace().collect::<String>()).unwrap()
    }

    #[test]
    fn an_answer_of_the_service_is_read() {
        let envelope = Envelope::parse(&of_aws()).unwrap();
        assert_eq!(hex::encode(envelope.iv), "688c6d5f7f31b0fecedf09f2e7c99ac9");
        assert_eq!(
            hex::encode(&envelope.content),
            "70e5caaffd49ad24efe15bf903be9d19895b777d269b57b025f6f67e7ef93f94464515f2ebe034ea0b7621a1ff19292e"
        );
        assert_eq!(envelope.key.len(), KEY_BYTES);
        assert!(hex::encode(&envelope.key).starts_with("a0614593a030ee33"));
        assert!(hex::encode(&envelope.key).ends_with("c15f75b90ab0dd"));
    }

    #[test]
    fn no_prefix_of_it_is_one_nor_anything_longer() {
        let whole = of_aws();
        for length in 0..whole.len() {
            assert!(Envelope::parse(&whole[..length]).is_err(), "{length}");
        }
        for behind in [&[0][..], &[0, 0], b"x"] {
            assert!(Envelope::parse(&[&whole, behind].concat()).is_err());
        }
    }

    /// Whatever one changed bit makes of it, nothing panics, and what is neither encrypted nor an identifier is refused.
    #[test]
    fn one_changed_bit_changes_what_is_encrypted_or_is_refused() {
        let whole = of_aws();
        let good = Envelope::parse(&whole).unwrap();
        let identifier = 33..65;
        let mut read = 0;
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let Ok(found) = Envelope::parse(&changed) else { continue };
                assert!(found != good || identifier.contains(&at), "byte {at}, bit {bit}");
                read += 1;
            }
        }
        // The key, the vector, the content and the identifier, and nothing else.
        assert_eq!(read, (KEY_BYTES + 16 + 48 + 32) * 8);
    }

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = match content.len() {
            short @ 0..0x80 => vec![short as u8],
            long @ 0x80..0x100 => vec![0x81, long as u8],
            longer => vec![0x82, (longer >> 8) as u8, longer as u8],
        };
        [vec![tag], length, content].concat()
    }

    /// An envelope in DER, from parts that a case replaces.
    struct Parts {
        kind: Vec<u8>,
        version: Vec<u8>,
        originator: Vec<u8>,
        recipients: Vec<Vec<u8>>,
        algorithm: Vec<u8>,
        content: Vec<u8>,
        attributes: Vec<u8>,
    }

    fn null_sha256() -> Vec<u8> {
        tlv(SEQUENCE, &[&tlv(OID, &[&SHA256]), &[NULL, 0]])
    }

    fn oaep_with(hash: &[u8], mask: &[u8], more: &[u8]) -> Vec<u8> {
        let mgf1 = tlv(SEQUENCE, &[&tlv(OID, &[&MGF1]), mask]);
        let parameters = tlv(SEQUENCE, &[&tlv(CONTEXT_0, &[hash]), &tlv(CONTEXT_1, &[&mgf1]), more]);
        tlv(SEQUENCE, &[&tlv(OID, &[&RSAES_OAEP]), &parameters])
    }

    fn recipient_with(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        tlv(
            SEQUENCE,
            &[&[INTEGER, 1, 2], &tlv(IDENTIFIER, &[&[7; 32]]), algorithm, &tlv(OCTET_STRING, &[key])],
        )
    }

    impl Parts {
        fn good() -> Self {
            let oaep = oaep_with(&null_sha256(), &null_sha256(), &[]);
            Self {
                kind: ENVELOPED_DATA.to_vec(),
                version: vec![INTEGER, 1, 2],
                originator: Vec::new(),
                recipients: vec![recipient_with(&oaep, &[9; KEY_BYTES])],
                algorithm: tlv(SEQUENCE, &[&tlv(OID, &[&AES_256_CBC]), &tlv(OCTET_STRING, &[&[3; 16]])]),
                content: tlv(IDENTIFIER, &[&[5; 48]]),
                attributes: Vec::new(),
            }
        }

        fn parse(&self) -> Result<Envelope, KmsError> {
            let info = tlv(SEQUENCE, &[&tlv(OID, &[&DATA]), &self.algorithm, &self.content]);
            let recipients = tlv(SET, &[&self.recipients.concat()]);
            let enveloped = [&self.version[..], &self.originator, &recipients, &info, &self.attributes];
            let enveloped = tlv(SEQUENCE, &enveloped);
            Envelope::parse(&tlv(SEQUENCE, &[&tlv(OID, &[&self.kind]), &tlv(CONTEXT_0, &[&enveloped])]))
        }
    }

    fn with(change: impl FnOnce(&mut Parts)) -> Result<Envelope, KmsError> {
        let mut parts = Parts::good();
        change(&mut parts);
        parts.parse()
    }

    #[test]
    fn der_is_read_and_a_content_in_parts() {
        let good = with(|_| ()).unwrap();
        assert_eq!((good.key, good.iv, good.content.clone()), (vec![9; KEY_BYTES], [3; 16], vec![5; 48]));
        let halves = tlv(CONTEXT_0, &[&tlv(OCTET_STRING, &[&[5; 32]]), &tlv(OCTET_STRING, &[&[5; 16]])]);
        assert_eq!(with(|parts| parts.content = halves).unwrap().content, good.content);
        let plain = tlv(SEQUENCE, &[&tlv(OID, &[&SHA256])]);
        let oaep = oaep_with(&plain, &plain, &[]);
        assert!(with(|parts| parts.recipients = vec![recipient_with(&oaep, &[9; KEY_BYTES])]).is_ok());
    }

    #[test]
    fn one_departure_each_is_refused() {
        const SHA1: [u8; 5] = [0x2b, 0x0e, 3, 2, 0x1a];
        const RSA_PKCS1: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
        const AES_128_CBC: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 2];
        const AES_256_GCM: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2e];
        let sha1 = tlv(SEQUENCE, &[&tlv(OID, &[&SHA1]), &[NULL, 0]]);
        let good = oaep_with(&null_sha256(), &null_sha256(), &[]);
        let to = |algorithm: &[u8], length: usize| recipient_with(algorithm, &vec![9; length]);
        let pkcs1 = tlv(SEQUENCE, &[&tlv(OID, &[&RSA_PKCS1]), &[NULL, 0]]);
        let label = tlv(0xa2, &[&[0x30, 0]]);
        let bare = tlv(SEQUENCE, &[&tlv(OID, &[&RSAES_OAEP])]);
        let defaults = tlv(SEQUENCE, &[&tlv(OID, &[&RSAES_OAEP]), &[SEQUENCE, 0]]);
        let by_issuer =
            tlv(SEQUENCE, &[&[INTEGER, 1, 0], &tlv(SEQUENCE, &[]), &good, &tlv(OCTET_STRING, &[&[9; 256]])]);
        let cipher =
            |oid: &[u8], iv: usize| tlv(SEQUENCE, &[&tlv(OID, &[oid]), &tlv(OCTET_STRING, &[&vec![3; iv]])]);
        type Case<'a> = (&'a str, Box<dyn FnOnce(&mut Parts) + 'a>);
        let cases: Vec<Case<'_>> = vec![
            ("plain data", Box::new(|p| p.kind = DATA.to_vec())),
            ("version 0", Box::new(|p| p.version = vec![INTEGER, 1, 0])),
            ("version 2 in two octets", Box::new(|p| p.version = vec![INTEGER, 2, 0, 2])),
            ("an originator", Box::new(|p| p.originator = tlv(CONTEXT_0, &[]))),
            ("attributes", Box::new(|p| p.attributes = tlv(CONTEXT_1, &[]))),
            ("no recipient", Box::new(|p| p.recipients.clear())),
            ("two recipients", Box::new(|p| p.recipients.push(to(&good, 256)))),
            ("a recipient by issuer", Box::new(|p| p.recipients = vec![by_issuer])),
            ("PKCS #1 v1.5", Box::new(|p| p.recipients = vec![to(&pkcs1, 256)])),
            ("OAEP without parameters", Box::new(|p| p.recipients = vec![to(&bare, 256)])),
            ("OAEP with SHA-1, by default", Box::new(|p| p.recipients = vec![to(&defaults, 256)])),
            (
                "OAEP with SHA-1",
                Box::new(|p| p.recipients = vec![to(&oaep_with(&sha1, &null_sha256(), &[]), 256)]),
            ),
            (
                "MGF1 with SHA-1",
                Box::new(|p| p.recipients = vec![to(&oaep_with(&null_sha256(), &sha1, &[]), 256)]),
            ),
            (
                "a label",
                Box::new(|p| {
                    p.recipients = vec![to(&oaep_with(&null_sha256(), &null_sha256(), &label), 256)]
                }),
            ),
            ("a key of 255 octets", Box::new(|p| p.recipients = vec![to(&good, 255)])),
            ("a key of 512 octets", Box::new(|p| p.recipients = vec![to(&good, 512)])),
            ("AES-128-CBC", Box::new(|p| p.algorithm = cipher(&AES_128_CBC, 16))),
            ("AES-256-GCM", Box::new(|p| p.algorithm = cipher(&AES_256_GCM, 16))),
            ("a vector of 12", Box::new(|p| p.algorithm = cipher(&AES_256_CBC, 12))),
            ("a vector of 17", Box::new(|p| p.algorithm = cipher(&AES_256_CBC, 17))),
            ("no content", Box::new(|p| p.content.clear())),
            ("a content that is not implicit", Box::new(|p| p.content = tlv(OCTET_STRING, &[&[5; 48]]))),
            ("a content of something else", Box::new(|p| p.content = tlv(CONTEXT_0, &[&[INTEGER, 1, 5]]))),
            ("two contents", Box::new(|p| p.content.extend(tlv(IDENTIFIER, &[&[5; 48]])))),
        ];
        for (name, change) in cases {
            let code = with(change).err().map(|error| error.code());
            assert_eq!(code, Some("kms.envelope"), "{name}");
        }
    }

    #[test]
    fn lengths_have_their_shortest_form() {
        let whole = Parts::good();
        assert!(whole.parse().is_ok());
        // 30 81 05, 30 82 00 05, 30 84 …, and primitive values without an end.
        for wrong in [
            &[0x30, 0x81, 0x02, 0x05, 0x00][..],
            &[0x30, 0x82, 0x00, 0x02, 0x05, 0x00],
            &[0x30, 0x84, 0, 0, 0, 2, 0x05, 0x00],
            &[0x30, 0xff],
            &[0x30],
            &[],
        ] {
            assert_eq!(Envelope::parse(wrong).unwrap_err().code(), "kms.envelope", "{wrong:02x?}");
        }
        let endless = [&[IDENTIFIER, 0x80][..], &[5; 48], &[0, 0]].concat();
        assert!(with(|parts| parts.content = endless).is_err());
    }
}
