//! AWS and Google: one revocation list of each authority, where its certificates say that it is (END-20 to END-22).
//!
//! These addresses come from evidence. Two things stand between whoever wrote it and this machine's network: the
//! certificates verify first, up to the pinned root; and only hosts are asked that the vendor is known to use.

use aws_lc_rs::digest::{SHA256, digest};
use casemate_attest::endorse::{EndorsementBundle, ListNeed, ListNeeds, NeedsError, revocation_list};
use casemate_attest::snp::RejectionKind;
use casemate_attest::{
    Endorsements, Evidence, Platform, Rejected, Revocation, TrustAnchors, UnixTime, verify,
};
use reqwest::Url;

use super::error::EndorseError;
use super::settings::base;
use super::{Answer, Collector, Fault, Item, Known, Origin, Question, Request};

/// Longer addresses are of no vendor's list: AWS's and Google's have about 120 octets.
const MAX_ADDRESS: usize = 512;

/// What the answers are held against, each by itself and then together.
struct Judge<'a> {
    evidence: &'a Evidence,
    ak_chain: &'a [Vec<u8>],
    anchors: &'a TrustAnchors,
}

/// The bundle, and what is kept once the evidence has verified with it.
pub(super) async fn collect(
    collector: &mut Collector<'_>,
    evidence: &Evidence,
    needs: &ListNeeds,
    known: &Known,
    anchors: &TrustAnchors,
) -> Result<(EndorsementBundle, Vec<(String, Answer)>), EndorseError> {
    let now = collector.now;
    let platform = evidence.platform();
    let ak_chain = match (platform, &known.ak_chain) {
        (Platform::GceVtpm, None) => return Err(EndorseError::ChainNotGiven),
        (Platform::GceVtpm, Some(chain)) => {
            collector.items.push(Item { name: "google/ak-chain".to_owned(), origin: Origin::Given });
            chain.as_slice()
        }
        _ => &[],
    };
    let needs = needs.clone().and_of(ak_chain)?;
    if needs.lists().is_empty() {
        return Err(NeedsError::Nothing { platform }.into());
    }
    let judge = Judge { evidence, ak_chain, anchors };
    // Nobody is asked for what a stranger's certificate names.
    let open = Revocation::DangerNotChecked { reason: "the lists are fetched next".to_owned() };
    verify(evidence, &judge.endorsements(open), anchors, now)?;
    // Nor before every address is known to be good.
    let mirror = collector.settings.lists.as_deref().map(base).transpose()?;
    let mut requests: Vec<Request> = Vec::new();
    for need in needs.lists() {
        let request = request(platform, need, mirror.as_deref())?;
        if !requests.contains(&request) {
            requests.push(request);
        }
    }

    let (mut lists, mut unkept) = (Vec::new(), Vec::new());
    for request in requests {
        let check = |answer: &Answer| {
            let (name, service) = (request.name.clone(), request.url.clone());
            let (list, dated) = revocation_list(&answer.body).map_err(|reason| {
                Fault::Wrong(EndorseError::Answer { name: name.clone(), service: service.clone(), reason })
            })?;
            if !dated.holds(now) {
                return Err(Fault::Stale(EndorseError::OutOfDate { name, service, now }));
            }
            judge.alone(list.clone(), now).map(|()| (list, dated))
        };
        let (list, answer, new) = collector.get_dated(&request, check).await?;
        lists.push(list);
        if new {
            unkept.push((request.name, answer));
        }
    }
    let bundle = EndorsementBundle::default();
    let bundle = match platform {
        Platform::GceVtpm => bundle.with_google(ak_chain.to_vec(), lists),
        _ => bundle.with_aws(lists),
    };
    Ok((bundle, unkept))
}

impl Judge<'_> {
    fn endorsements(&self, revocation: Revocation) -> Endorsements {
        match self.evidence.platform() {
            Platform::GceVtpm => Endorsements::gce_vtpm(self.ak_chain.to_vec(), revocation),
            _ => Endorsements::nitro(revocation),
        }
    }

    /// Whether the list is of an authority of the path, and holds. What the others say comes when all are there.
    fn alone(&self, list: Vec<u8>, now: UnixTime) -> Result<(), Fault> {
        let endorsements = self.endorsements(Revocation::of_lists(vec![list]));
        match verify(self.evidence, &endorsements, self.anchors, now) {
            Ok(_) => Ok(()),
            Err(rejected) if OF_THE_OTHERS.contains(&rejected.code()) => Ok(()),
            Err(rejected) => Err(fault(rejected)),
        }
    }
}

/// What one list of several leaves open.
const OF_THE_OTHERS: [&str; 2] = ["crl.missing", "crl.unlisted"];
/// A list of these faults says nothing of the certificates; one that names one of them as revoked does.
const OF_ANOTHER_AUTHORITY: [&str; 2] = ["crl.issuer", "crl.signature"];

fn fault(rejected: Rejected) -> Fault {
    let of_another = OF_ANOTHER_AUTHORITY.contains(&rejected.code());
    match rejected.reason.kind() {
        RejectionKind::Stale => Fault::Stale(rejected.into()),
        RejectionKind::NotGenuine if of_another => Fault::Stale(rejected.into()),
        RejectionKind::NotGenuine | RejectionKind::Missing => Fault::Wrong(rejected.into()),
    }
}

/// At the first address that is the vendor's.
fn request(platform: Platform, need: &ListNeed, mirror: Option<&str>) -> Result<Request, EndorseError> {
    let address = need.addresses.iter().find_map(|address| allowed(platform, address));
    let Some((url, host)) = address else {
        let url = need.addresses.first().cloned().unwrap_or_default();
        return Err(EndorseError::ListAddress { platform, url });
    };
    let name = format!("crl/{host}/{}", hex::encode(digest(&SHA256, url.as_str().as_bytes())));
    let url = match mirror {
        Some(mirror) => format!("{mirror}/{host}{}", url.path()),
        None => url.into(),
    };
    Ok(Request { name, url, header: None, question: Question::Get })
}

/// The address with its host, where the vendor is known to have lists there (END-21): `http` or `https` at its usual port,
/// without user name, query or fragment.
fn allowed(platform: Platform, address: &str) -> Option<(Url, String)> {
    if address.len() > MAX_ADDRESS {
        return None;
    }
    let url = Url::parse(address).ok()?;
    let host = url.host_str()?.to_owned();
    let bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none();
    let vendors = match platform {
        Platform::Nitro => is_of_aws(&host),
        Platform::GceVtpm => is_of_google(&host),
        _ => false,
    };
    (bare && vendors && matches!(url.scheme(), "http" | "https")).then_some((url, host))
}

/// The root's bucket, or that of a region: `crl-{region}-aws-nitro-enclaves.s3.{region}.amazonaws.com`.
fn is_of_aws(host: &str) -> bool {
    if host == "aws-nitro-enclaves-crl.s3.amazonaws.com" {
        return true;
    }
    let Some((bucket, rest)) = host.split_once(".s3.") else { return false };
    let Some(region) = rest.strip_suffix(".amazonaws.com") else { return false };
    let named = bucket.strip_prefix("crl-").and_then(|rest| rest.strip_suffix("-aws-nitro-enclaves"));
    named == Some(region) && is_label(region)
}

/// A bucket of Google's private certificate authority, or Google's own host of certificates.
fn is_of_google(host: &str) -> bool {
    let id =
        host.strip_prefix("privateca-content-").and_then(|rest| rest.strip_suffix(".storage.googleapis.com"));
    host == "pki.goog" || id.is_some_and(is_label)
}

/// Letters, digits and hyphens: no dot, so that nothing else than one label is in the pattern's place.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vendors_hosts_are_asked() {
        use Platform::{GceVtpm, Nitro, SevSnp};
        const AWS: &str =
            "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl/ab4960cc-7d63-42bd-9e9f-59338cb67f84.crl";
        const REGION: &str =
            "http://crl-us-east-1-aws-nitro-enclaves.s3.us-east-1.amazonaws.com/crl/f3e8f31a.crl";
        const GOOGLE: &str = concat!(
            "http://privateca-content-62d71773-0000-21da-852e-f4f5e80d7778.storage.googleapis.com",
            "/032bf9d39db4fa06aade/crl.crl"
        );
        const OLDER: &str = "https://pki.goog/cloud_integrity/tpm_ek_intermediate_2.crl";
        for (platform, good) in [(Nitro, AWS), (Nitro, REGION), (GceVtpm, GOOGLE), (GceVtpm, OLDER)] {
            assert_eq!(allowed(platform, good).expect(good).0.as_str(), good);
        }
        for (platform, bad) in [
            (Nitro, GOOGLE),
            (Nitro, OLDER),
            (GceVtpm, AWS),
            (GceVtpm, REGION),
            (SevSnp, AWS),
            (Nitro, "http://169.254.169.254/latest/meta-data/"),
            (Nitro, "http://127.0.0.1/crl"),
            (Nitro, "http://localhost/crl"),
            (Nitro, "file:///etc/passwd"),
            (Nitro, "ftp://aws-nitro-enclaves-crl.s3.amazonaws.com/crl"),
            (Nitro, "http://aws-nitro-enclaves-crl.s3.amazonaws.com:8080/crl"),
            (Nitro, "http://user@aws-nitro-enclaves-crl.s3.amazonaws.com/crl"),
            (Nitro, "http://:secret@aws-nitro-enclaves-crl.s3.amazonaws.com/crl"),
            (Nitro, "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl?acl"),
            (Nitro, "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl#a"),
            (Nitro, "http://aws-nitro-enclaves-crl.s3.amazonaws.com.evil.example/crl"),
            (Nitro, "http://evil.example/aws-nitro-enclaves-crl.s3.amazonaws.com"),
            (Nitro, "http://aws-nitro-enclaves-crl.s3.amazonaws.com@evil.example/crl"),
            (Nitro, "http://crl-us-east-1-aws-nitro-enclaves.s3.us-east-2.amazonaws.com/crl"),
            (Nitro, "http://crl-a.b-aws-nitro-enclaves.s3.a.b.amazonaws.com/crl"),
            (Nitro, "http://crl--aws-nitro-enclaves.s3..amazonaws.com/crl"),
            (Nitro, "http://crl-us-east-1-aws-nitro-enclaves.s3.us-east-1.evil.example/crl"),
            (Nitro, "http://evil-aws-nitro-enclaves.s3.us-east-1.amazonaws.com/crl"),
            (Nitro, "aws-nitro-enclaves-crl.s3.amazonaws.com/crl"),
            (GceVtpm, "http://privateca-content-.storage.googleapis.com/crl.crl"),
            (GceVtpm, "http://privateca-content-a.b.storage.googleapis.com/crl.crl"),
            (GceVtpm, "http://privateca-content-a.storage.googleapis.com.evil.example/crl.crl"),
            (GceVtpm, "http://storage.googleapis.com/privateca-content-a/crl.crl"),
            (GceVtpm, "http://evil.pki.goog/crl"),
            (GceVtpm, "http://pki.goog.evil.example/crl"),
            (GceVtpm, ""),
        ] {
            assert!(allowed(platform, bad).is_none(), "{bad}");
        }
        let long = format!("https://pki.goog/{}", "a".repeat(MAX_ADDRESS));
        assert!(allowed(GceVtpm, &long).is_none());
    }

    #[test]
    fn the_first_address_of_the_vendors_is_asked() {
        let need = |addresses: &[&str]| ListNeed {
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
        };
        let (evil, good) = ("http://evil.example/a.crl", "https://pki.goog/../b.crl");
        let asked = request(Platform::GceVtpm, &need(&[evil, good]), None).expect("an address");
        assert_eq!(asked.url, "https://pki.goog/b.crl");
        let asked = request(Platform::GceVtpm, &need(&[good]), Some("http://127.0.0.1:1")).expect("one");
        assert_eq!(asked.url, "http://127.0.0.1:1/pki.goog/b.crl");
        assert!(asked.name.starts_with("crl/pki.goog/") && asked.name.len() == 13 + 64);
        let error = request(Platform::GceVtpm, &need(&[evil]), None).expect_err("nobody's");
        assert_eq!((error.code(), error.to_string().contains(evil)), ("endorse.list-address", true));
    }
}
