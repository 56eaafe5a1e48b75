//! An enclave with its files, and a stand-in of KMS that knows its key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::Platform;
use casemate_enclave::kms::{CredentialSource, KeyOf, Kms, KmsError, KmsKey, KmsLimits, KmsSettings};
use casemate_enclave::{Attester, AttesterError, BrokerPath, Brought, RawEvidence};
use casemate_seal::ModelKey;
use tempfile::TempDir;

use crate::nitro::authorities::Tree;
use crate::nitro::bytes;
use crate::standin::{self, Does, Knows};

pub(crate) const ARN: &str = "arn:aws:kms:eu-test-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const SECRET: [u8; 32] = [0x42; 32];
pub(crate) const MANIFEST: [u8; 32] = [0xd1; 32];
pub(crate) const CIPHERTEXT: [u8; 150] = [0xc0; 150];
const ACCESS: (&str, &str, Option<&str>) =
    ("ASIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", Some("IQoJb3/+=="));

/// Keys take a moment to make: one tree for all cases.
pub(crate) static TREE: LazyLock<Tree> = LazyLock::new(Tree::good);
/// Another AWS.
pub(crate) static STRANGER: LazyLock<Tree> = LazyLock::new(Tree::good);

/// Names recipients, as `/dev/nsm` does.
pub(crate) struct Enclave {
    pub(crate) tree: &'static Tree,
    pub(crate) pcr0: u8,
}

impl Attester for Enclave {
    fn platform(&self) -> Platform {
        Platform::Nitro
    }

    fn evidence(&self, _: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        panic!("KMS is shown a document for a recipient");
    }

    fn recipient(&self, public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        let pcrs = (0..16_u8).map(|index| {
            let first = if index == 0 { self.pcr0 } else { 0x10 + index };
            (crate::nitro::uint(index.into()), bytes(&[first; 48]))
        });
        let payload = self
            .tree
            .module
            .payload()
            .with("pcrs", crate::nitro::map(pcrs))
            .with("public_key", bytes(public_key))
            .with("user_data", vec![0xf6]);
        Ok(self.tree.module.sign(&payload.encode()))
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// A machine of another platform.
pub(crate) struct Other;

impl Attester for Other {
    fn platform(&self) -> Platform {
        Platform::SevSnp
    }

    fn evidence(&self, _: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        Ok(RawEvidence { platform: Platform::SevSnp, evidence: Vec::new(), endorsements: Brought::default() })
    }

    fn simulated(&self) -> bool {
        true
    }
}

pub(crate) struct Site {
    folder: TempDir,
    pub(crate) kms: standin::Kms,
    pub(crate) enclave: Arc<dyn Attester>,
    pub(crate) of: KeyOf,
    pub(crate) limits: KmsLimits,
}

impl Site {
    pub(crate) fn new(does: Vec<Does>) -> Self {
        let knows = Knows {
            anchors: TREE.anchors.clone(),
            lists: TREE.lists(),
            pcr0: [0x10; 48],
            key: ARN.to_owned(),
            ciphertext: CIPHERTEXT.to_vec(),
            context: BTreeMap::from([("casemate-manifest-sha256".to_owned(), hex::encode(MANIFEST))]),
            secret: SECRET.to_vec(),
            access: ACCESS,
        };
        let site = Self {
            folder: TempDir::new().expect("a folder"),
            kms: standin::Kms::start(knows, does),
            enclave: Arc::new(Enclave { tree: &TREE, pcr0: 0x10 }),
            of: KeyOf { manifest: MANIFEST, commitment: ModelKey::from_bytes(SECRET).commitment() },
            limits: KmsLimits {
                call: Duration::from_secs(10),
                patience: Duration::ZERO,
                pause: Duration::from_millis(10),
            },
        };
        site.write("ciphertext", &format!("{}\n", BASE64_STANDARD.encode(CIPHERTEXT)));
        site.credentials(ACCESS);
        site.write("ca.pem", &site.kms.authority);
        site
    }

    pub(crate) fn its() -> Self {
        Self::new(vec![Does::Its])
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn credentials(&self, (id, secret, token): (&str, &str, Option<&str>)) {
        let token = token.map_or(String::new(), |token| format!(r#","SessionToken":"{token}""#));
        let text = format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"{secret}"{token}}}"#);
        self.write("credentials", &text);
    }

    pub(crate) fn settings(&self) -> KmsSettings {
        KmsSettings {
            key: KmsKey::parse(ARN).expect("an ARN"),
            ciphertext: self.path("ciphertext"),
            credentials: CredentialSource::File(self.path("credentials")),
            endpoint: Some(self.kms.url.clone()),
            authorities: Some(self.path("ca.pem")),
            path: BrokerPath::Tcp,
        }
    }

    pub(crate) async fn ask(&self) -> Result<ModelKey, KmsError> {
        self.ask_with(&self.settings()).await
    }

    pub(crate) async fn ask_with(&self, settings: &KmsSettings) -> Result<ModelKey, KmsError> {
        Kms::open(settings)?.with_limits(self.limits).key(&self.enclave, self.of).await
    }

    /// The code of the error that the question ends with.
    pub(crate) async fn code(&self) -> &'static str {
        self.ask().await.err().map_or("none", |error| error.code())
    }
}
