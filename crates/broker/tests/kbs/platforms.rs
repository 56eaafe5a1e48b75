//! Keys for machines of other platforms than SEV-SNP, by simulated vendors: released to what the policy names, and to nothing else.

use std::sync::OnceLock;

use casemate_attest::snp::ProductLine;
use casemate_attest::{Platform, UnixTime};
use casemate_broker::policy::{CLAIM_MEASUREMENT, CLAIM_NITRO_IMAGE, CLAIMS_AZURE, CLAIMS_TDX};
use casemate_broker::{BrokerAnchors, PCRS};
use casemate_protocol::document::DocumentEndorsements;
use casemate_protocol::jwe::TeePrivateKey;
use casemate_protocol::kbs::{PrimaryEvidence, Request, RuntimeData, report_data};
use casemate_protocol::statement::bound;
use casemate_sim::MachineConfig;
use casemate_sim::azure::{AzureConfig, AzureVendor, Hardware, HardwareConfig};
use casemate_sim::tdx::{TdxConfig, TdxVendor};
use serde_json::{Value, json};

use crate::fixture::{Answer, Broker, KEY, NOW, SECRET, policy_with, tee_key};
use crate::nitro::authorities::{REGION, ROOT, Tree, ZONE, revoking, serial};
use crate::nitro::{NOON, bytes};

const MRTD: [u8; 48] = [0x4d; 48];
const KERNEL: [u8; 48] = [0x41; 48];
const BOOT: [u8; 48] = [0x42; 48];

fn intel() -> &'static TdxVendor {
    static VENDOR: OnceLock<TdxVendor> = OnceLock::new();
    VENDOR.get_or_init(|| TdxVendor::create(UnixTime(NOW)).unwrap())
}

fn azure_on_snp() -> &'static AzureVendor {
    static VENDOR: OnceLock<AzureVendor> = OnceLock::new();
    VENDOR.get_or_init(|| AzureVendor::on_snp(ProductLine::Genoa, UnixTime(NOW)).unwrap())
}

fn azure_on_tdx() -> &'static AzureVendor {
    static VENDOR: OnceLock<AzureVendor> = OnceLock::new();
    VENDOR.get_or_init(|| AzureVendor::on_tdx(UnixTime(NOW)).unwrap())
}

fn td() -> TdxConfig {
    let mut config = TdxConfig::new(MRTD);
    config.rtmrs[1] = KERNEL;
    config.rtmrs[2] = BOOT;
    config
}

/// PCR n is 32 bytes of 0x60 + n.
fn vm(vendor: &AzureVendor) -> AzureConfig {
    let mut config = AzureConfig::new(match vendor.hardware() {
        Hardware::Snp(_) => HardwareConfig::Snp(Box::new(MachineConfig::new(MRTD))),
        Hardware::Tdx(_) => HardwareConfig::Tdx(Box::new(TdxConfig::new(MRTD))),
    });
    config.pcrs = PCRS.map(|index| (index, [0x60 + index; 32])).to_vec();
    config
}

fn all(claims: &[(&str, String)]) -> Value {
    let conditions: Vec<_> =
        claims.iter().map(|(claim, value)| json!({ "claim": claim, "equals": value })).collect();
    policy_with(json!({ "allOf": conditions }))
}

fn tdx_policy(kernel: [u8; 48]) -> Value {
    let [mrtd, rtmr1, rtmr2] = CLAIMS_TDX;
    all(&[(mrtd, hex::encode(MRTD)), (rtmr1, hex::encode(kernel)), (rtmr2, hex::encode(BOOT))])
}

fn azure_policy(boot: u8) -> Value {
    let [pcr4, pcr9, _] = CLAIMS_AZURE;
    all(&[(pcr4, hex::encode([boot; 32])), (pcr9, hex::encode([0x69; 32]))])
}

/// One exchange: what the broker answers to the evidence, and, where it is taken, the key under this policy.
struct Exchange {
    broker: Broker,
    key: TeePrivateKey,
    cookie: String,
    runtime: RuntimeData,
}

impl Exchange {
    async fn open(root: &str, platform: Platform, policy: &Value) -> Self {
        Self::open_at(NOW, root, platform, policy).await
    }

    async fn open_at(now: u64, root: &str, platform: Platform, policy: &Value) -> Self {
        let broker = Broker::with_anchors(BrokerAnchors::danger_simulated(root).unwrap());
        broker.now_is(now);
        broker.put(KEY, policy, 1);
        let request = serde_json::to_string(&Request::of(platform).unwrap()).unwrap();
        let answer = broker.post("/kbs/v0/auth", None, request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.cookie.clone().unwrap().split(';').next().unwrap().to_owned();
        let key = tee_key();
        let nonce = answer.json()["nonce"].as_str().unwrap().to_owned();
        let runtime = RuntimeData { nonce, tee_pubkey: key.public() };
        Self { broker, key, cookie, runtime }
    }

    fn data(&self) -> [u8; 64] {
        report_data(&self.runtime, "").unwrap()
    }

    async fn attest(&self, evidence: &[u8], endorsements: DocumentEndorsements) -> Answer {
        let body = json!({
            "init-data": null,
            "runtime-data": self.runtime,
            "tee-evidence": {
                "primary_evidence": PrimaryEvidence::new(evidence, endorsements),
                "additional_evidence": "",
            },
        });
        self.broker.post("/kbs/v0/attest", Some(&self.cookie), body.to_string()).await
    }

    /// The answer to the request for the key, after the evidence was taken.
    async fn resource(&self, attested: Answer) -> Answer {
        assert_eq!(attested.status, 200, "{}", attested.text);
        let cookie = (axum::http::header::COOKIE, self.cookie.as_str());
        self.broker.get(&format!("/kbs/v0/resource/{KEY}"), &[cookie]).await
    }

    /// The key opens what was released. Gives the broker, for its record.
    async fn opens(self, attested: Answer) -> Broker {
        let jwe = self.resource(attested).await.jwe();
        assert_eq!(self.key.open(&jwe).unwrap().as_slice(), SECRET);
        self.broker
    }
}

fn collateral(vendor: &TdxVendor) -> DocumentEndorsements {
    DocumentEndorsements::intel(serde_json::from_slice(&vendor.collateral().unwrap()).unwrap())
}

async fn tdx(config: &TdxConfig, policy: &Value) -> (Exchange, Answer) {
    let exchange = Exchange::open(&intel().root_pem(), Platform::Tdx, policy).await;
    let quote = intel().machine(config).unwrap().quote(&exchange.data()).unwrap();
    let answer = exchange.attest(&quote, collateral(intel())).await;
    (exchange, answer)
}

async fn azure(vendor: &AzureVendor, config: &AzureConfig, policy: &Value) -> (Exchange, Answer) {
    let platform = match vendor.hardware() {
        Hardware::Snp(_) => Platform::AzureVtpm,
        Hardware::Tdx(_) => Platform::AzureVtpmTdx,
    };
    let exchange = Exchange::open(&vendor.root_pem(), platform, policy).await;
    let machine = vendor.machine(config).unwrap();
    let evidence = machine.evidence(&bound(platform, &exchange.data())).unwrap();
    let endorsements = match (machine.snp(), vendor.hardware()) {
        (Some(snp), _) => DocumentEndorsements::amd(snp.vek_der(), snp.crl_der()),
        (None, Hardware::Tdx(intel)) => collateral(intel),
        (None, Hardware::Snp(_)) => panic!("a machine on SEV-SNP has its VEK"),
    };
    let path = std::iter::once(machine.ak_der()).chain(machine.ak_issuers().iter().map(Vec::as_slice));
    let answer = exchange.attest(&evidence, endorsements.with_ak(path)).await;
    (exchange, answer)
}

/// A Nitro enclave, its document with these revocation lists, at the hour in which its certificates hold.
async fn enclave(tree: &Tree, lists: &[Vec<u8>], image: u8) -> (Exchange, Answer) {
    let policy = all(&[(CLAIM_NITRO_IMAGE, hex::encode([image; 48]))]);
    let exchange = Exchange::open_at(NOON.0, &tree.root_pem, Platform::Nitro, &policy).await;
    let payload = tree.module.payload().with("user_data", bytes(&exchange.data()));
    let document = tree.module.sign(&payload.encode());
    let endorsements = DocumentEndorsements::default().with_lists(lists.iter().map(Vec::as_slice));
    let answer = exchange.attest(&document, endorsements).await;
    (exchange, answer)
}

#[tokio::test]
async fn a_nitro_enclave_of_the_image_that_the_policy_names_gets_its_key() {
    let tree = Tree::good();
    let (exchange, attested) = enclave(&tree, &tree.lists(), 0x10).await;
    exchange.opens(attested).await;
    let (exchange, attested) = enclave(&tree, &tree.lists(), 0x11).await;
    exchange.resource(attested).await.assert_refused(403, "release.policy.not-met");
}

#[tokio::test]
async fn a_nitro_enclave_brings_the_lists_of_its_authorities() {
    let tree = Tree::good();
    enclave(&tree, &[], 0x10).await.1.assert_refused(401, "crl.missing");
    enclave(&tree, &tree.lists()[..1], 0x10).await.1.assert_refused(401, "crl.missing");
    let revoked = [tree.list(ROOT, |_| ()), tree.list(REGION, revoking(serial(ZONE)))];
    enclave(&tree, &revoked, 0x10).await.1.assert_refused(401, "crl.revoked");
}

#[tokio::test]
async fn a_td_that_the_policy_names_gets_its_key() {
    let (exchange, attested) = tdx(&td(), &tdx_policy(KERNEL)).await;
    let rows = exchange.opens(attested).await.audit();
    assert_eq!(rows.last().unwrap()["measurement"], hex::encode(MRTD));
    assert_eq!(rows.last().unwrap()["outcome"], "released");
}

#[tokio::test]
async fn another_kernel_in_the_same_firmware_gets_none() {
    let (exchange, attested) = tdx(&td(), &tdx_policy([0x43; 48])).await;
    exchange.resource(attested).await.assert_refused(403, "release.policy.not-met");
    let (exchange, attested) = tdx(&TdxConfig::new(MRTD), &tdx_policy(KERNEL)).await;
    exchange.resource(attested).await.assert_refused(403, "release.policy.not-met");
}

#[tokio::test]
async fn a_policy_for_another_platform_is_not_met() {
    let for_snp = all(&[(CLAIM_MEASUREMENT, hex::encode(MRTD))]);
    let (exchange, attested) = tdx(&td(), &for_snp).await;
    exchange.resource(attested).await.assert_refused(403, "release.policy.not-met");
    // Azure's launch measurement is the paravisor's: no condition on a guest's is met by it.
    for vendor in [azure_on_snp(), azure_on_tdx()] {
        for policy in [&for_snp, &tdx_policy(KERNEL)] {
            let (exchange, attested) = azure(vendor, &vm(vendor), policy).await;
            exchange.resource(attested).await.assert_refused(403, "release.policy.not-met");
        }
    }
}

#[tokio::test]
async fn an_azure_machine_that_booted_what_the_policy_names_gets_its_key() {
    for vendor in [azure_on_snp(), azure_on_tdx()] {
        let (exchange, attested) = azure(vendor, &vm(vendor), &azure_policy(0x64)).await;
        exchange.opens(attested).await;
        let (exchange, attested) = azure(vendor, &vm(vendor), &azure_policy(0x65)).await;
        exchange.resource(attested).await.assert_refused(403, "release.policy.not-met");
    }
}

#[tokio::test]
async fn the_baseline_holds_on_every_platform() {
    let td_attributes = 1 << 28 | 1;
    let (_, answer) = tdx(&TdxConfig { td_attributes, ..td() }, &tdx_policy(KERNEL)).await;
    answer.assert_refused(401, "tdx.td.debug");
    let vendor = azure_on_snp();
    let insecure = AzureConfig { secure_boot: false, ..vm(vendor) };
    azure(vendor, &insecure, &azure_policy(0x64)).await.1.assert_refused(401, "azure.secure-boot.off");
    let mut short = vm(vendor);
    short.pcrs.truncate(15);
    azure(vendor, &short, &azure_policy(0x64)).await.1.assert_refused(401, "azure.pcr.selection");
}

#[tokio::test]
async fn evidence_must_bind_the_exchange_and_bring_its_own_endorsements() {
    let exchange = Exchange::open(&intel().root_pem(), Platform::Tdx, &tdx_policy(KERNEL)).await;
    let machine = intel().machine(&td()).unwrap();
    let answer = exchange.attest(&machine.quote(&[0; 64]).unwrap(), collateral(intel())).await;
    answer.assert_refused(401, "binding.report-data");

    let exchange = Exchange::open(&intel().root_pem(), Platform::Tdx, &tdx_policy(KERNEL)).await;
    let quote = machine.quote(&exchange.data()).unwrap();
    let answer = exchange.attest(&quote, DocumentEndorsements::amd(b"v", b"c")).await;
    answer.assert_refused(401, "kbs.endorsements");
}
