//! A made-up provider of virtual TPMs: no certificate of an Azure attestation key was recorded.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};

use super::*;

/// 2026-01-01T12:00:00Z: every certificate is valid on that day.
const NOON: UnixTime = UnixTime(1_767_268_800);
const ROOT: &str = "TEST Azure Virtual TPM Root Certificate Authority 2023";
const AIK: [u64; 5] = [2, 23, 133, 8, 3];
const EK: [u64; 5] = [2, 23, 133, 8, 1];

/// What a case changes.
struct Made {
    root_name: &'static str,
    intermediate_purposes: Vec<ExtendedKeyUsagePurpose>,
    leaf_purposes: Vec<ExtendedKeyUsagePurpose>,
    leaf_is_authority: bool,
    leaf_on_a_curve: bool,
    signed_by_another: bool,
    without_intermediates: bool,
    behind: Vec<u8>,
    other_key: bool,
    provider: Provider,
    now: UnixTime,
}

fn made() -> Made {
    Made {
        root_name: ROOT,
        intermediate_purposes: vec![purpose(&EK), purpose(&AIK)],
        leaf_purposes: vec![purpose(&AIK)],
        leaf_is_authority: false,
        leaf_on_a_curve: false,
        signed_by_another: false,
        without_intermediates: false,
        behind: Vec::new(),
        other_key: false,
        provider: Provider::Microsoft,
        now: NOON,
    }
}

fn purpose(oid: &[u64]) -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(oid.to_vec())
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn modulus_of(certificate: &Certificate) -> AttestationKey {
    let (_, key) = der::public_key(&certificate.spki).expect("a key");
    AttestationKey::new(der::rsa_public_key(key).expect("RSA").0).expect("RSA-2048")
}

fn code(change: impl FnOnce(&mut Made)) -> &'static str {
    let mut made = made();
    change(&mut made);
    let root_key = rsa();
    let root_params = authority(made.root_name);
    let root_der = root_params.self_signed(&root_key).expect("a root").der().to_vec();
    let root = Issuer::new(root_params, root_key);
    let intermediate_key = rsa();
    let mut params = authority("TEST Global Virtual TPM CA");
    params.extended_key_usages = made.intermediate_purposes;
    let intermediate_der = params.signed_by(&intermediate_key, &root).expect("an authority").der().to_vec();
    let signer = if made.signed_by_another { rsa() } else { intermediate_key };
    let intermediate = Issuer::new(params, signer);
    let mut params = if made.leaf_is_authority { authority("key") } else { named("key") };
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    params.extended_key_usages = made.leaf_purposes;
    let leaf_key = if made.leaf_on_a_curve {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
    } else {
        rsa()
    };
    let leaf_der = params.signed_by(&leaf_key, &intermediate).expect("a leaf").der().to_vec();
    let key = match Certificate::parse(&leaf_der).expect("a certificate") {
        leaf if made.other_key || made.leaf_on_a_curve => {
            drop(leaf);
            modulus_of(&Certificate::parse(&root_der).expect("a certificate"))
        }
        leaf => modulus_of(&leaf),
    };
    let certificate = Certificate::parse(&root_der).expect("a certificate");
    let roots = [VtpmRoot { provider: Provider::Microsoft, certificate }];
    let intermediates = if made.without_intermediates { Vec::new() } else { vec![intermediate_der] };
    let nv = [leaf_der, made.behind].concat();
    let of = (AIK_CERTIFICATE, LeafPurpose::Required);
    match certify(&key, &nv, &intermediates, (&roots, made.provider), of, made.now) {
        Ok(certified) => {
            assert_eq!(
                (certified.root.as_str(), certified.issuer.as_str()),
                (ROOT, "TEST Global Virtual TPM CA")
            );
            "certified"
        }
        Err(error) => error.code(),
    }
}

#[test]
fn a_certificate_vouches_for_its_own_key_only() {
    assert_eq!(code(|_| {}), "certified");
    assert_eq!(code(|made| made.other_key = true), "tpm.certificate.other-key");
    assert_eq!(code(|made| made.leaf_on_a_curve = true), "x509.key-type");
}

#[test]
fn zeros_after_the_certificate_are_the_nv_indexs() {
    assert_eq!(code(|made| made.behind = vec![0; 500]), "certified");
    assert_eq!(code(|made| made.behind = vec![1]), "x509.malformed");
    assert_eq!(code(|made| made.behind = [vec![0; 500], vec![1]].concat()), "x509.malformed");
}

#[test]
fn the_path_leads_to_the_providers_root() {
    assert_eq!(code(|made| made.provider = Provider::Google), "tpm.certificate.root-missing");
    assert_eq!(code(|made| made.without_intermediates = true), "tpm.certificate.intermediates");
    assert_eq!(code(|made| made.signed_by_another = true), "x509.signature");
    assert_eq!(code(|made| made.leaf_is_authority = true), "x509.leaf-is-authority");
    assert_eq!(code(|made| made.now = UnixTime(1_700_000_000)), "x509.not-yet-valid");
    assert_eq!(code(|made| made.now = UnixTime(1_900_000_000)), "x509.expired");
}

#[test]
fn every_certificate_below_the_root_is_for_keys_of_tpms() {
    assert_eq!(code(|made| made.leaf_purposes.clear()), "tpm.certificate.purpose");
    assert_eq!(code(|made| made.leaf_purposes = vec![purpose(&EK)]), "tpm.certificate.purpose");
    assert_eq!(code(|made| made.leaf_purposes.push(purpose(&EK))), "certified");
    let web = || vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(code(|made| made.leaf_purposes = web()), "tpm.certificate.purpose");
    assert_eq!(code(|made| made.intermediate_purposes = web()), "tpm.certificate.purpose");
    assert_eq!(code(|made| made.intermediate_purposes.clear()), "tpm.certificate.purpose");
}

#[test]
fn a_root_is_known_by_its_name() {
    assert_eq!(Provider::of_root(ROOT), Some(Provider::Microsoft));
    assert_eq!(Provider::of_root("TEST EK/AK CA Root"), Some(Provider::Google));
    for name in
        ["", "EK/AK CA Intermediate", "Global Virtual TPM CA - 03", "tpm_ek_v1_cloud_host-signer-0-2020"]
    {
        assert_eq!(Provider::of_root(name), None, "{name}");
    }
}
