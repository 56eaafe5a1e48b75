//! Who releases the model key: the model owner's broker (spec/release.md), or AWS KMS by the owner's key policy (spec/kms.md).

use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_attest::Platform;
use casemate_seal::{Manifest, ModelKey, Recipient};

use crate::attestation::AttestationService;
use crate::attester::{Attester, AttesterError};
use crate::boot::{BootError, broker_authorities};
use crate::composite::CompositeAttester;
use crate::config::KeySource;
use crate::kms::{KeyOf, Kms};
use crate::locked::Locked;
use crate::release::{BrokerClient, ReleaseError, Released};

/// Who has the model key, with every input open.
pub(crate) enum Owner {
    /// A broker, and the key's address there.
    Broker { client: Box<BrokerClient>, resource: String },
    /// AWS KMS.
    Kms(Box<Kms>),
}

/// A model key on a page of its own.
pub(crate) struct Given {
    pub(crate) key: Locked<ModelKey>,
    /// The broker's attestation result. KMS gives none.
    pub(crate) token: Option<String>,
}

impl Owner {
    /// Opens what was written, for this model and this machine.
    pub(crate) fn open(
        source: KeySource,
        manifest: &Manifest,
        platform: Platform,
    ) -> Result<Self, BootError> {
        match source {
            KeySource::Broker { url, authorities, path } => {
                let Some(Recipient::Kbs { uri }) = manifest.recipients().first() else {
                    return Err(BootError::NoRecipient);
                };
                let authorities = broker_authorities(authorities.as_deref())?;
                let client = Box::new(BrokerClient::new(&url, path, authorities)?);
                Ok(Self::Broker { client, resource: uri.clone() })
            }
            // Before anybody is asked for anything.
            KeySource::AwsKms(_) if platform != Platform::Nitro => {
                Err(AttesterError::NoRecipient { platform }.into())
            }
            KeySource::AwsKms(settings) => Ok(Self::Kms(Box::new(Kms::open(&settings)?))),
        }
    }

    /// Asks for the key of this model, for this machine.
    pub(crate) async fn give(
        &self,
        attester: &Arc<dyn Attester>,
        machine: &CompositeAttester,
        manifest: &Manifest,
    ) -> Result<Given, BootError> {
        match self {
            Self::Broker { client, resource } => {
                let released = release(client, machine, resource).await?;
                let key = model_key(&released.secret)?;
                tracing::info!(resource, memory = %key.locked_by(), "broker released the model key");
                Ok(Given { key, token: Some(released.token) })
            }
            Self::Kms(kms) => {
                let key = kms.key(attester, KeyOf::manifest(manifest)).await?;
                let key = Locked::new(key).map_err(BootError::KeyMemory)?;
                tracing::info!(memory = %key.locked_by(), "AWS KMS released the model key");
                Ok(Given { key, token: None })
            }
        }
    }

    /// Keeps the broker's attestation result fresh. A failure is logged; the document then goes without a token, as with KMS always.
    pub(crate) async fn renew_token(self, machine: CompositeAttester, service: Arc<AttestationService>) {
        let Self::Broker { client, .. } = self else { return };
        loop {
            tokio::time::sleep(TOKEN_RENEWAL).await;
            match client.renew_token(&machine).await {
                Ok(token) => {
                    if let Err(e) = service.set_token(token) {
                        tracing::info!(code = e.code(), "attestation result not renewed");
                    }
                }
                Err(e) => tracing::info!(code = e.code(), "attestation result not renewed"),
            }
        }
    }
}

/// Asks the broker, again and again while it cannot be reached: machines of one start-up come up in any order. A refusal
/// is final.
async fn release(
    broker: &BrokerClient,
    machine: &CompositeAttester,
    resource: &str,
) -> Result<Released, ReleaseError> {
    let deadline = Instant::now() + BROKER_PATIENCE;
    loop {
        match broker.release(machine, resource).await {
            Err(error) if error.may_pass() && Instant::now() < deadline => {
                tracing::info!(code = error.code(), "broker cannot be reached yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            ended => return ended,
        }
    }
}

fn model_key(secret: &[u8]) -> Result<Locked<ModelKey>, BootError> {
    let bytes: [u8; 32] = secret.try_into().map_err(|_| BootError::KeyLength { found: secret.len() })?;
    Locked::new(ModelKey::from_bytes(bytes)).map_err(BootError::KeyMemory)
}

/// How long a broker that cannot be reached is waited for.
const BROKER_PATIENCE: Duration = Duration::from_secs(20);
/// The broker's results live five minutes; a minute is left for a broker that answers late.
const TOKEN_RENEWAL: Duration = Duration::from_secs(240);
