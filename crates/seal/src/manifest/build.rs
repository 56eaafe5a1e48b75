//! Making a manifest: the publisher's side.

use super::envelope::Envelope;
use super::statement::Statement;
use super::{FileEntry, Manifest, ManifestError, Recipient};
use crate::key::{ModelId, ModelKey};
use crate::publisher::PublisherSecret;

/// Collects what a manifest says, then signs it.
#[must_use]
pub struct ManifestBuilder {
    statement: Statement,
}

impl ManifestBuilder {
    /// A manifest of model `id` with display name `name`, sealed under `key`. `created` is in seconds since
    /// 1970.
    pub fn new(id: ModelId, name: impl Into<String>, created: u64, key: &ModelKey) -> Self {
        let mk_commitment = key.commitment();
        let name = name.into();
        Self { statement: Statement { id, name, created, mk_commitment, files: vec![], recipients: vec![] } }
    }

    /// Adds a file, in any order: what [`crate::Sealer::seal`] returned.
    pub fn file(mut self, file: FileEntry) -> Self {
        self.statement.files.push(file);
        self
    }

    /// Adds a recipient; their order is kept.
    pub fn recipient(mut self, recipient: Recipient) -> Self {
        self.statement.recipients.push(recipient);
        self
    }

    /// Signs, and gives the bytes of `sealed.json`, which the verifier accepts: it is asked.
    ///
    /// # Errors
    /// [`ManifestError`], where a rule of content is broken or a key cannot sign.
    pub fn sign(self, publisher: &PublisherSecret) -> Result<Vec<u8>, ManifestError> {
        self.sign_with_all(&[publisher])
    }

    /// As [`ManifestBuilder::sign`], with several keys: for a publisher who changes keys.
    ///
    /// # Errors
    /// As [`ManifestBuilder::sign`].
    pub fn sign_with_all(mut self, publishers: &[&PublisherSecret]) -> Result<Vec<u8>, ManifestError> {
        self.statement.files.sort_by(|a, b| a.name.cmp(&b.name));
        self.statement.check()?;
        let envelope = Envelope::sign(self.statement.to_payload()?, publishers)?.to_json()?;
        let keys = publishers.iter().map(|publisher| publisher.public()).collect::<Result<Vec<_>, _>>();
        Manifest::verify(&envelope, &keys.map_err(|problem| ManifestError::Signing { problem })?)?;
        Ok(envelope)
    }
}
