//! Programs that must not compile. Each refused program is the accepted one above it with one line changed, because
//! stable rustdoc checks that a program is refused and not for which reason.

/// Only [`casemate_attest::verify`] says that evidence is genuine.
///
/// ```no_run
/// use casemate_attest::Authentic;
/// fn simulated(authentic: Authentic) -> bool {
///     authentic.simulated()
/// }
/// ```
/// ```compile_fail,E0616
/// use casemate_attest::Authentic;
/// fn simulated(authentic: Authentic) -> bool {
///     authentic.simulated
/// }
/// ```
/// ```compile_fail,E0451
/// use casemate_attest::Authentic;
/// fn simulated(authentic: Authentic) -> bool {
///     Authentic { simulated: false, ..authentic }.simulated()
/// }
/// ```
struct AuthenticIsNotBuilt;

/// Only [`casemate_attest::Authentic::appraise`] says that evidence is ours.
///
/// ```no_run
/// use casemate_attest::Verified;
/// fn simulated(verified: Verified) -> bool {
///     verified.simulated()
/// }
/// ```
/// ```compile_fail,E0451
/// use casemate_attest::Verified;
/// fn simulated(verified: Verified) -> bool {
///     Verified { simulated: false, ..verified }.simulated()
/// }
/// ```
struct VerifiedIsNotBuilt;

/// Only [`crate::decide`] permits a release.
///
/// ```no_run
/// use casemate_broker::{Permit, ResourcePath};
/// use casemate_seal::ModelId;
/// fn forge(resource: ResourcePath, model: ModelId) -> Option<Permit> {
///     None
/// }
/// ```
/// ```compile_fail,E0451
/// use casemate_broker::{Permit, ResourcePath};
/// use casemate_seal::ModelId;
/// fn forge(resource: ResourcePath, model: ModelId) -> Option<Permit> {
///     Some(Permit { resource, policy_sha256: [0; 32], model })
/// }
/// ```
struct PermitIsNotBuilt;

/// The store takes the permit away.
///
/// ```no_run
/// use casemate_broker::{Permit, Store};
/// fn release(store: &Store, permit: Permit) {
///     let _ = store.unwrap(permit);
/// }
/// ```
/// ```compile_fail,E0382
/// use casemate_broker::{Permit, Store};
/// fn release(store: &Store, permit: Permit) {
///     let _ = (store.unwrap(permit), store.unwrap(permit));
/// }
/// ```
struct PermitIsUsedOnce;

/// A record says what a key is, and opens nothing.
///
/// ```no_run
/// use casemate_broker::{KeyRecord, Permit, Store};
/// fn release(store: &Store, permit: Permit) {
///     let _ = store.unwrap(permit);
/// }
/// ```
/// ```compile_fail,E0308
/// use casemate_broker::{KeyRecord, Permit, Store};
/// fn release(store: &Store, permit: KeyRecord) {
///     let _ = store.unwrap(permit);
/// }
/// ```
struct KeyNeedsAPermit;

/// A verified processor is not yet the machine: what stands beside it must have been looked at.
///
/// ```no_run
/// use casemate_attest::{UnixTime, Verified};
/// use casemate_protocol::additional::AttestedComposite;
/// fn early(evidence: &AttestedComposite, key: &casemate_broker::KeyRecord) {
///     let _ = casemate_broker::decide(evidence, key, "https://casemate.dev/broker", UnixTime(0));
/// }
/// ```
/// ```compile_fail,E0308
/// use casemate_attest::{UnixTime, Verified};
/// use casemate_protocol::additional::AttestedComposite;
/// fn early(evidence: &Verified, key: &casemate_broker::KeyRecord) {
///     let _ = casemate_broker::decide(evidence, key, "https://casemate.dev/broker", UnixTime(0));
/// }
/// ```
struct DecisionNeedsTheWholeMachine;

/// A released key is encrypted to one machine, once, and nothing else.
///
/// ```no_run
/// use casemate_broker::{Entropy, store::ContentKey};
/// fn send(key: ContentKey, machine: &casemate_protocol::kbs::TeePubKey, entropy: &dyn Entropy) {
///     let _ = key.encrypt_to(machine, entropy);
/// }
/// ```
/// ```compile_fail,E0382
/// use casemate_broker::{Entropy, store::ContentKey};
/// fn send(key: ContentKey, machine: &casemate_protocol::kbs::TeePubKey, entropy: &dyn Entropy) {
///     let _ = (key.encrypt_to(machine, entropy), key.encrypt_to(machine, entropy));
/// }
/// ```
/// ```compile_fail,E0616
/// use casemate_broker::{Entropy, store::ContentKey};
/// fn send(key: ContentKey, machine: &casemate_protocol::kbs::TeePubKey, entropy: &dyn Entropy) {
///     let _ = key.0.len();
/// }
/// ```
struct ContentKeyIsOnlyEncrypted;
