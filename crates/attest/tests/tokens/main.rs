//! Tokens of Microsoft Azure Attestation, Google Confidential Space and NVIDIA's remote attestation service, and EAT
//! attestation results: recorded ones, and one mistake each under an issuer of the test's own.

mod curve;
mod ear;
mod forms;
mod issuer;
mod made;
mod nras;
mod nras_bundle;
#[path = "../recorded/mod.rs"]
mod recorded;

use casemate_attest::token::{Token, TokenAnchors, TokenBinding, verify_token};
use casemate_attest::{Outcome, Policy, UnixTime};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::file;

/// Name, what is done, expected answer.
pub(crate) type Case = (&'static str, fn() -> String, &'static str);

fn main() {
    let arguments = Arguments::from_args();
    let recordings = recorded::folder().is_some();
    let recorded = RECORDED.iter().map(|case| trial("recorded", case).with_ignored_flag(!recordings));
    let made =
        [forms::FORMS, made::MAA, made::CONFIDENTIAL_SPACE, made::KEYS, nras::FORM, nras::CLAIMS, ear::EAR]
            .concat();
    let made: Vec<_> = made.into_iter().map(|case| trial("made", &case)).collect();
    let sweeps = [
        Trial::test("recorded: every bit of a token of Confidential Space", || {
            every_bit(PKI, &TokenAnchors::embedded(), PKI_NOW)
        }),
        Trial::test("recorded: every bit of a token of Azure", || {
            every_bit(MIDNIGHT, &midnight_anchors(), MIDNIGHT_NOW)
        }),
        Trial::test("recorded: every length", every_length),
        Trial::test("recorded: every bit of a bundle of a GPU", || {
            every_bit(HOPPER, &TokenAnchors::embedded().with_jwks(NRAS, &file(HOPPER_KEYS))?, HOPPER_NOW)
        }),
    ]
    .map(|trial| trial.with_ignored_flag(!recordings));
    let made_sweeps = [
        Trial::test("made: every bit of a bundle", || {
            let (bundle, anchors, now) = nras::small();
            every_bit_of(bundle.as_bytes(), &anchors, now)
        }),
        Trial::test("made: every bit of an attestation result", || {
            let (token, anchors) = ear::token();
            every_bit_of(token.as_bytes(), &anchors, issuer::NOON)
        }),
        Trial::test("made: every length of a bundle", || {
            let (bundle, anchors, now) = nras::small();
            every_length_of(bundle.as_bytes(), &anchors, now)
        }),
    ];
    libtest_mimic::run(&arguments, recorded.chain(made).chain(sweeps).chain(made_sweeps).collect()).exit();
}

fn trial(kind: &str, &(name, run, expected): &Case) -> Trial {
    Trial::test(format!("{kind}: {name}"), move || {
        let found = run();
        if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}").into()) }
    })
}

const PKI: &str = "gcp/confidential_space_pki/token_tdx_2025-09-05.jwt";
const PKI_NOW: UnixTime = UnixTime(1_757_060_300);
const PKI_NONCE: &str = "75a91c8dbe289f190d5e70ab1cb70c93cc14d7243f0ef3ff5326a622ead220a6";
const MIDNIGHT: &str = "maa/midnight_snp_2025-12-15.jwt";
const MIDNIGHT_NOW: UnixTime = UnixTime(1_765_826_700);
const POLICY: &str = include_str!("../policies/tokens.toml");

/// MANIFEST.md, MAA and GCP.
const RECORDED: &[Case] = &[
    (
        "a production token of Confidential Space",
        || confidential_space(PKI_NOW, PKI_NONCE, POLICY),
        "verified, waived: CS-16, CS-17",
    ),
    ("an hour later", || confidential_space(UnixTime(1_757_063_851), PKI_NONCE, POLICY), "token.expired"),
    (
        "two minutes early",
        || confidential_space(UnixTime(1_757_060_130), PKI_NONCE, POLICY),
        "token.not-yet-valid",
    ),
    (
        "under no root",
        || answer(&file(PKI), &TokenAnchors::none(), PKI_NOW, POLICY, &nonce(PKI_NONCE)),
        "token.root-missing",
    ),
    ("another nonce", || confidential_space(PKI_NOW, &PKI_NONCE[..63], POLICY), "token.nonce"),
    (
        "another audience",
        || confidential_space(PKI_NOW, PKI_NONCE, &POLICY.replace("z08381", "z08382")),
        "confidential-space.audience.not-accepted",
    ),
    (
        "another image",
        || confidential_space(PKI_NOW, PKI_NONCE, &POLICY.replace("sha256:e2e5", "sha256:e2e6")),
        "confidential-space.image.not-accepted",
    ),
    (
        "without a policy for it",
        || confidential_space(PKI_NOW, PKI_NONCE, include_str!("../policies/nitro.toml")),
        "policy.platform-not-accepted",
    ),
    ("a debug image, token_0", || debug("token_0"), "confidential-space.debug"),
    ("a debug image, token_1", || debug("token_1"), "confidential-space.debug"),
    (
        "a debug image's token without keys",
        || {
            answer(
                &file("gcp/confidential_space/token_1.jwt"),
                &TokenAnchors::embedded(),
                DEBUG_NOW,
                POLICY,
                &any(),
            )
        },
        "token.issuer",
    ),
    ("a machine on Azure", || midnight(&midnight_nonce(), POLICY), "verified, waived: MAA-12, MAA-15"),
    ("a machine on Azure, a nonce cut short", || midnight(&nonce("midnight-sr"), POLICY), "token.nonce"),
    ("a machine on Azure, an empty nonce", || midnight(&nonce(""), POLICY), "token.nonce"),
    (
        "a machine on Azure, another measurement",
        || midnight(&midnight_nonce(), &POLICY.replace("6a063be9", "6a063bea")),
        "maa.measurement.not-accepted",
    ),
    (
        "a machine on Azure, newer firmware wanted",
        || midnight(&midnight_nonce(), &POLICY.replace("microcode = 219", "microcode = 220")),
        "maa.svn.below-minimum",
    ),
    (
        "a machine on Azure, another provider",
        || midnight(&midnight_nonce(), &POLICY.replace("sharedeus2.eus2", "sharedweu.weu")),
        "maa.issuer.not-accepted",
    ),
    (
        "a machine on Azure, another machine",
        || midnight(&midnight_nonce(), &POLICY.replace("ABD9EA99", "ABD9EA98")),
        "maa.vm-id.not-accepted",
    ),
    ("SGX token 0 is genuine, and no confidential VM", || sgx(0), "maa.tee.not-accepted"),
    ("SGX token 1", || sgx(1), "maa.tee.not-accepted"),
    ("SGX token 2", || sgx(2), "maa.tee.not-accepted"),
    ("SGX token 3", || sgx(3), "maa.tee.not-accepted"),
    ("SGX token 4, of a legacy policy", || sgx(4), "maa.tee.not-accepted"),
    ("SGX token 5, of a legacy policy", || sgx(5), "maa.tee.not-accepted"),
    ("NRAS: a GPU", || hopper(HOPPER_NOW, NRAS_POLICY, &nras_nonce()), "verified"),
    (
        "NRAS: a GPU, at its last second",
        || hopper(UnixTime(1_749_605_457), NRAS_POLICY, &nras_nonce()),
        "verified",
    ),
    (
        "NRAS: a GPU, a second later",
        || hopper(UnixTime(1_749_605_458), NRAS_POLICY, &nras_nonce()),
        "token.expired",
    ),
    (
        "NRAS: a GPU, before",
        || hopper(UnixTime(1_749_601_797), NRAS_POLICY, &nras_nonce()),
        "token.not-yet-valid",
    ),
    (
        "NRAS: a GPU, in another exchange",
        || hopper(HOPPER_NOW, NRAS_POLICY, &TokenBinding::nonce([0; 32])),
        "token.nonce",
    ),
    (
        "NRAS: a GPU where two are expected",
        || hopper(HOPPER_NOW, &NRAS_POLICY.replace("gpus = 1", "gpus = 2"), &nras_nonce()),
        "nras.devices",
    ),
    (
        "NRAS: another GPU is expected",
        || hopper(HOPPER_NOW, &NRAS_POLICY.replace("4781763", "4781764"), &nras_nonce()),
        "nras.device.not-accepted",
    ),
    (
        "NRAS: a newer driver is expected",
        || hopper(HOPPER_NOW, &NRAS_POLICY.replace("550.90.07", "580.95.05"), &nras_nonce()),
        "nras.driver.not-accepted",
    ),
    ("NRAS: without a table", || hopper(HOPPER_NOW, POLICY, &nras_nonce()), "policy.platform-not-accepted"),
    (
        "NRAS: nobody's keys",
        || answer(&file(HOPPER), &TokenAnchors::embedded(), HOPPER_NOW, NRAS_POLICY, &nras_nonce()),
        "token.issuer",
    ),
    (
        "NRAS: recovered keys have no certificates under NVIDIA's intermediate",
        || {
            let anchors = TokenAnchors::embedded().with_nras_keys(&file(HOPPER_KEYS)).expect("keys");
            answer(&file(HOPPER), &anchors, HOPPER_NOW, NRAS_POLICY, &nras_nonce())
        },
        "token.key-unnamed",
    ),
    (
        "NRAS: the keys of staging under the name of production",
        || {
            let anchors = TokenAnchors::embedded().with_jwks(NRAS, &file(SWITCH_KEYS)).expect("keys");
            answer(&file(HOPPER), &anchors, HOPPER_NOW, NRAS_POLICY, &nras_nonce())
        },
        "token.key",
    ),
    ("NRAS: a switch, of staging", || switch(&switch_policy()), "verified"),
    (
        "NRAS: a switch of staging, for a policy of production",
        || switch(&switch_policy().replace(NRAS_STAGING, NRAS)),
        "nras.issuer.not-accepted",
    ),
];

const HOPPER: &str = "nvidia/attestation-sdk/sample_attestation_data/hopperClaimsv3_detached_eat.json";
const HOPPER_KEYS: &str =
    "nvidia/attestation-sdk/sample_attestation_data/hopperClaimsv3_detached_eat_recovered_jwks.json";
const SWITCH: &str = "nvidia/attestation-sdk/sample_attestation_data/switch_detached_eat.json";
const SWITCH_KEYS: &str =
    "nvidia/attestation-sdk/sample_attestation_data/switch_detached_eat_recovered_jwks.json";
const NRAS: &str = "https://nras.attestation.nvidia.com";
const NRAS_STAGING: &str = "https://nras.attestation-stg.nvidia.com";
const NRAS_NONCE: &str = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb";
const HOPPER_NOW: UnixTime = UnixTime(1_749_601_900);
const SWITCH_NOW: UnixTime = UnixTime(1_751_155_100);
const NRAS_POLICY: &str = include_str!("../policies/nras.toml");

fn nras_nonce() -> TokenBinding {
    TokenBinding::nonce(hex::decode(NRAS_NONCE).expect("hexadecimal"))
}

fn hopper(now: UnixTime, policy: &str, binding: &TokenBinding) -> String {
    let anchors = TokenAnchors::embedded().with_jwks(NRAS, &file(HOPPER_KEYS)).expect("keys");
    answer(&file(HOPPER), &anchors, now, policy, binding)
}

/// The staging service, in a policy that accepts it.
fn switch(policy: &str) -> String {
    let anchors = TokenAnchors::embedded().with_jwks(NRAS_STAGING, &file(SWITCH_KEYS)).expect("keys");
    answer(&file(SWITCH), &anchors, SWITCH_NOW, policy, &nras_nonce())
}

fn switch_policy() -> String {
    NRAS_POLICY
        .replace(NRAS, NRAS_STAGING)
        .replace("gpus = 1", "gpus = 0")
        .replace("switches = 0", "switches = 1")
        .replace("478176379286082186618948445787393647364802107249", SWITCH_ID)
        .replace("GH100 A01 GSP BROM", "LS_10 A01 FSP BROM")
        .replace("96.00.9F.00.01", "96.10.55.00.01")
}

const SWITCH_ID: &str = "694931143880983876767046803400974855445978836716";

const DEBUG_NOW: UnixTime = UnixTime(1_764_708_700);

fn confidential_space(now: UnixTime, nonce_text: &str, policy: &str) -> String {
    answer(&file(PKI), &TokenAnchors::embedded(), now, policy, &nonce(nonce_text))
}

/// Its hardware, its age and its audience are accepted here: what remains is that it is a debug image.
fn debug(name: &str) -> String {
    let anchors = TokenAnchors::none()
        .with_jwks("https://confidentialcomputing.googleapis.com", &file("gcp/confidential_space/jwks.json"))
        .expect("keys");
    let token = file(&format!("gcp/confidential_space/{name}.jwt"));
    let policy = POLICY
        .replace("z08381475938604996746", "https://synddb-sequencer.example.com")
        .replace("GCP_INTEL_TDX", "GCP_AMD_SEV")
        .replace("tcb-status = [\"UpToDate\"]", "tcb-status = { any = \"this model reports none\" }");
    answer(&token, &anchors, DEBUG_NOW, &policy, &any())
}

fn midnight_anchors() -> TokenAnchors {
    TokenAnchors::none()
        .with_jwks("https://sharedeus2.eus2.attest.azure.net", &file("maa/sharedeus2_jwks.json"))
        .expect("keys")
}

fn midnight_nonce() -> TokenBinding {
    nonce("midnight-srs")
}

fn midnight(binding: &TokenBinding, policy: &str) -> String {
    answer(&file(MIDNIGHT), &midnight_anchors(), MIDNIGHT_NOW, policy, binding)
}

fn sgx(number: usize) -> String {
    let token = file(&format!("maa/sgx/token_{number}.jwt"));
    let claims = Token::parse(&token).expect("the form is right").unverified_claims().clone();
    let issuer = claims["iss"].as_str().expect("an issuer");
    let anchors = TokenAnchors::none().with_jwks(issuer, &file("maa/sgx/jwks.json")).expect("keys");
    let policy = POLICY.replace("https://sharedeus2.eus2.attest.azure.net", issuer);
    answer(&token, &anchors, UnixTime(1_625_170_500), &policy, &any())
}

pub(crate) fn nonce(text: &str) -> TokenBinding {
    TokenBinding::nonce(text)
}

pub(crate) fn any() -> TokenBinding {
    TokenBinding::danger_unchecked("the case is about something else")
}

/// "verified" with what was waived, or the code of the error.
pub(crate) fn answer(
    token: &[u8],
    anchors: &TokenAnchors,
    now: UnixTime,
    policy: &str,
    binding: &TokenBinding,
) -> String {
    let token = match Token::parse(token) {
        Ok(token) => token,
        Err(error) => return error.code().to_owned(),
    };
    let authentic = match verify_token(&token, anchors, now) {
        Ok(authentic) => authentic,
        Err(rejected) => {
            assert_eq!(rejected.checks.len(), token.kind().rules().len(), "every rule is listed");
            return rejected.code().to_owned();
        }
    };
    let policy = Policy::from_toml(policy).expect("a policy");
    match authentic.appraise(&policy, binding) {
        Ok(verified) => {
            let waived: Vec<_> = verified
                .checks()
                .iter()
                .filter(|check| check.outcome == Outcome::Waived)
                .map(|check| check.rule.id)
                .collect();
            assert_eq!(verified.simulated(), anchors.simulated());
            if waived.is_empty() {
                "verified".to_owned()
            } else {
                format!("verified, waived: {}", waived.join(", "))
            }
        }
        Err(denied) => denied.code().to_owned(),
    }
}

/// No bit of a token can change: not of its signature's text either.
fn every_bit(path: &str, anchors: &TokenAnchors, now: UnixTime) -> Result<(), Failed> {
    every_bit_of(file(path).trim_ascii(), anchors, now)
}

fn every_bit_of(token: &[u8], anchors: &TokenAnchors, now: UnixTime) -> Result<(), Failed> {
    if !is_genuine(token, anchors, now) {
        return Err("the unchanged token is not genuine".into());
    }
    for position in 0..token.len() * 8 {
        let mut changed = token.to_vec();
        changed[position / 8] ^= 1 << (position % 8);
        // A changed end may be white space, which is not part of the token; then the rest must not be genuine either.
        if is_genuine(&changed, anchors, now) {
            return Err(format!("still genuine with bit {} of byte {}", position % 8, position / 8).into());
        }
    }
    Ok(())
}

fn every_length() -> Result<(), Failed> {
    every_length_of(file(PKI).trim_ascii(), &TokenAnchors::embedded(), PKI_NOW)
}

fn every_length_of(token: &[u8], anchors: &TokenAnchors, now: UnixTime) -> Result<(), Failed> {
    for length in 0..token.len() {
        if is_genuine(&token[..length], anchors, now) {
            return Err(format!("still genuine with {length} bytes").into());
        }
    }
    Ok(())
}

fn is_genuine(token: &[u8], anchors: &TokenAnchors, now: UnixTime) -> bool {
    Token::parse(token).is_ok_and(|token| verify_token(&token, anchors, now).is_ok())
}
