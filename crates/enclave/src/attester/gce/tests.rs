//! What needs no TPM of its own; the others are in `tests/gce_vtpm`.

use super::*;
use crate::attester::tpm::lying::{Lying, attest, digest_of_zeros};

/// RSA-2048, named by SHA-256, restricted, with this modulus.
fn public(modulus: &[u8; 256]) -> Vec<u8> {
    let head = [0, 1, 0, 0x0b, 0, 5, 0, 0x72, 0, 0, 0, 0x10, 0, 0x14, 0, 0x0b, 8, 0, 0, 0, 0, 0, 1, 0];
    [&head[..], modulus].concat()
}

fn vtpm(quote: Vec<u8>) -> GceVtpm {
    let tpm: Box<dyn Transport> = Box::new(Lying::quoting(quote));
    GceVtpm {
        tpm: Tpm::new(tpm),
        key: Primary { handle: 0x8000_0000, public: public(&[0xff; 256]) },
        certificate: vec![0x30, 0],
        event_log: vec![1, 2, 3],
        patience: Patience { attempts: 3, pause: Duration::ZERO },
    }
}

/// As [`attest`] says: bank, selection.
const RIGHT: [u8; 10] = [0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0];

#[test]
fn an_attestation_is_read_as_it_was_written() {
    let written = vtpm(attest(&RIGHT, &digest_of_zeros())).attestation(&[5; 32]).unwrap();
    let read = GceEvidence::parse(&written).unwrap();
    assert_eq!(read.event_log(), [1, 2, 3]);
    assert_eq!(read.quote().extra_data(), [5; 32]);
    assert_eq!(read.public().name()[..2], [0, 0x0b]);
    let mut bare = vtpm(attest(&RIGHT, &digest_of_zeros()));
    bare.event_log.clear();
    assert!(GceEvidence::parse(&bare.attestation(&[5; 32]).unwrap()).unwrap().event_log().is_empty());
}

#[test]
fn a_quote_over_something_else_has_a_name() {
    let code = |quote| vtpm(quote).quote(&[5; 32]).err().map_or("none", |e| e.code());
    assert_eq!(code(attest(&RIGHT, &digest_of_zeros())), "none");
    assert_eq!(code(attest(&RIGHT, &[9; 32])), "attester.gce.unsteady");
    let one_less = [0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0x7f, 0];
    assert_eq!(code(attest(&one_less, &digest_of_zeros())), "attester.gce.selection");
    assert_eq!(code(Vec::new()), "attester.gce.quote");
}

#[test]
fn it_stands_beside_hardware_that_binds_the_statement_itself() {
    let code = |platform| beside(platform).err().map_or("none", |e| e.code());
    for platform in [Platform::SevSnp, Platform::Tdx] {
        assert_eq!(code(platform), "none");
    }
    for platform in [Platform::AzureVtpm, Platform::AzureVtpmTdx, Platform::Nitro, Platform::GceVtpm] {
        assert_eq!(code(platform), "attester.gce.beside");
    }
}

#[test]
fn a_log_is_whole_or_none() {
    let path = std::env::temp_dir().join(format!("casemate-gce-log-{}", std::process::id()));
    assert_eq!(log(&path).unwrap(), Vec::<u8>::new());
    std::fs::write(&path, [7; 1000]).unwrap();
    assert_eq!(log(&path).unwrap(), [7; 1000]);
    std::fs::write(&path, vec![7; 512 * 1024 + 1]).unwrap();
    assert_eq!(log(&path).unwrap_err().code(), "attester.gce.log");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(log(&path).unwrap_err().code(), "attester.device");
    std::fs::remove_dir(&path).unwrap();
}
