//! Every single bit of what is signed, every length, and garbage.

use casemate_attest::{Endorsements, Evidence, TrustAnchors, UnixTime, verify};

use crate::{Case, Recording, td10, td15};

/// Sweeps over a genuine quote.
pub(crate) const SWEEPS: &[Case] = &[
    ("sweep: every bit of the signed part, the signature, the key and the QE report", bits, "none passes"),
    ("sweep: every byte of the certificates, without a panic", certificates, "done"),
    ("sweep: every length, and every length with zeros", lengths, "only padding passes"),
    ("sweep: garbage", garbage, "none passes"),
    ("sweep: collateral, every 13th byte, without a panic", collateral, "done"),
];

/// Those whose answer does not depend on what is remembered, by bytes that were not changed.
pub(crate) const REMEMBERED: &[Case] = &[
    ("sweep: every bit of the signed part, the signature, the key and the QE report", bits, "none passes"),
    ("sweep: collateral, every 13th byte, means the same", same_collateral, "the same"),
];

/// Up to the end of the QE's authentication data of a version 4 quote.
const SIGNED: usize = 1252;

fn passes(case: &Recording) -> bool {
    let Ok(evidence) = Evidence::parse(&case.quote) else {
        return false;
    };
    let endorsements = Endorsements::tdx(case.collateral.clone());
    verify(&evidence, &endorsements, &TrustAnchors::vendors(), UnixTime(case.now)).is_ok()
}

fn bits() -> String {
    let mut case = td10();
    assert!(passes(&case));
    for at in 0..SIGNED {
        for bit in 0..8 {
            case.quote[at] ^= 1 << bit;
            if passes(&case) {
                return format!("byte {at} bit {bit} passes");
            }
            case.quote[at] ^= 1 << bit;
        }
    }
    assert!(passes(&case));
    "none passes".to_owned()
}

/// The text around a certificate (line ends, for example) may change without a change of the certificate.
fn certificates() -> String {
    let mut case = td10();
    for at in SIGNED..case.quote.len() {
        case.quote[at] ^= 1;
        passes(&case);
        case.quote[at] ^= 1;
    }
    "done".to_owned()
}

fn lengths() -> String {
    for case in [td10(), td15()] {
        let end = case.quote.iter().rposition(|&octet| octet != 0).expect("not only zeros") + 1;
        for len in 0..case.quote.len() {
            let short = Recording { quote: case.quote[..len].to_vec(), ..case.clone() };
            let mut padded = short.clone();
            padded.quote.resize(case.quote.len(), 0);
            // The certificates end with a zero byte, which padding cannot be told from.
            if len < end && (passes(&short) || passes(&padded)) {
                return format!("{len} bytes pass");
            }
        }
    }
    "only padding passes".to_owned()
}

fn garbage() -> String {
    let mut case = td10();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..20_000_usize {
        let mut quote = if round % 2 == 0 { vec![0; round % 6000] } else { case.quote.clone() };
        let start = if round % 2 == 0 { 0 } else { 48 + round % 4000 };
        for octet in quote.iter_mut().skip(start).take(64) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *octet = state.to_le_bytes()[0];
        }
        let kept = std::mem::replace(&mut case.quote, quote);
        // Within the certificates' text, a change may be without a meaning.
        if start < SIGNED && passes(&case) {
            return format!("round {round} passes");
        }
        case.quote = kept;
    }
    "none passes".to_owned()
}

fn collateral() -> String {
    let mut case = td10();
    for at in (0..case.collateral.len()).step_by(13) {
        case.collateral[at] ^= 1;
        passes(&case);
        case.collateral[at] ^= 1;
    }
    "done".to_owned()
}

/// Collateral with a changed byte passes or not as it does where nothing is remembered, and so does the unchanged one behind it.
fn same_collateral() -> String {
    let mut case = td10();
    for at in (0..case.collateral.len()).step_by(13) {
        case.collateral[at] ^= 1;
        let with = passes(&case);
        let without = std::thread::scope(|scope| scope.spawn(|| passes(&case)).join().expect("no panic"));
        if with != without {
            return format!("byte {at}: {with} with a cache");
        }
        case.collateral[at] ^= 1;
        if !passes(&case) {
            return format!("after byte {at}: refused");
        }
    }
    "the same".to_owned()
}
