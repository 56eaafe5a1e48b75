//! Exit codes: documented in `--help`, tested, and chosen here and nowhere else. Every `match` is exhaustive, so that a
//! new error must choose.

use std::process::ExitCode;

use casemate_attest::nvidia::GpuDenial;
use casemate_attest::{Rejected, RejectionKind};
use casemate_client::operator::OperatorError;
use casemate_client::{ConnectError, SendError};
use casemate_enclave::confidential_space::TokenSocketError;
use casemate_enclave::kms::{KmsError, Refusal};
use casemate_enclave::{
    AttestationError, BootError, GpuError, HardeningError, ListenError, RefreshError, ReleaseError,
    StapleError, VsockError, VtpmError as OwnVtpmError, WeightsError,
};
use casemate_endorse::{EndorseError, EndorseKind};
use casemate_protocol::devices::DevicesError;
use casemate_protocol::receipt::ReceiptError;
use casemate_protocol::statement::StatementError;
use casemate_protocol::vtpm::VtpmError;
use casemate_seal::{ManifestError, OpenError};

use casemate_broker::StoreError;

use crate::error::CliError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Our fault, or the local system's: a bug, a file that cannot be written.
    Internal = 1,
    /// Wrong arguments or configuration (also clap's own code).
    Usage = 2,
    /// Not genuine: a signature, a certificate chain, a revocation, a changed byte.
    NotGenuine = 3,
    /// Genuine but refused by a policy: measurement, TCB, debug, binding, model.
    Refused = 4,
    /// Cannot decide: malformed, expired or missing evidence and endorsements.
    Undecidable = 5,
    /// The peer cannot be reached.
    Unreachable = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code of an error.
pub(crate) fn exit(error: &CliError) -> Exit {
    match error {
        CliError::Read { .. }
        | CliError::Write { .. }
        | CliError::Clock
        | CliError::Randomness
        | CliError::Runtime(_)
        | CliError::Render
        | CliError::Start { .. }
        | CliError::DidNotStart { .. }
        | CliError::NotJson { .. }
        | CliError::Demo { .. }
        | CliError::Listen { .. }
        | CliError::Seal(_)
        | CliError::Sim(_)
        | CliError::NotReady { .. } => Exit::Internal,
        CliError::NotAFile { .. }
        | CliError::NotText { .. }
        | CliError::NothingToSeal { .. }
        | CliError::Hex { .. }
        | CliError::ProductLine { .. }
        | CliError::SimulatedPlatform { .. }
        | CliError::HexUpTo { .. }
        | CliError::MissingFlag { .. }
        | CliError::SuperfluousFlag { .. }
        | CliError::ConfigFile { .. }
        | CliError::ApiKeys { .. }
        | CliError::Tls(_)
        | CliError::BrokerStart(_)
        | CliError::KeyFile { .. }
        | CliError::OtherModelsKey { .. }
        | CliError::Uuid(_)
        | CliError::Publisher(_)
        | CliError::Recipient(_)
        | CliError::Anchor(_)
        | CliError::DeviceAnchor(_)
        | CliError::IssuerKeys { .. }
        | CliError::IssuerTwice { .. }
        | CliError::KeySet(_)
        | CliError::NoCacheFolder
        | CliError::Policy(_)
        | CliError::ProxyAddress { .. }
        | CliError::ProxyServer { .. }
        | CliError::ProxyKey { .. }
        | CliError::PlatformPolicy(_)
        | CliError::Baseline(_)
        | CliError::ReleasePolicy(_)
        | CliError::Resource(_)
        | CliError::Config(_) => Exit::Usage,
        CliError::BrokerSilent => Exit::Unreachable,
        CliError::Undecided { .. }
        | CliError::UnknownKind { .. }
        | CliError::InitPlatform { .. }
        | CliError::InitParts
        | CliError::InitModel
        | CliError::FileTooLarge { .. }
        | CliError::Parse(_)
        | CliError::EventLog(_)
        | CliError::DeviceParse(_)
        | CliError::TokenParse(_)
        | CliError::Bundle(_)
        | CliError::SystemBundle(_)
        | CliError::Document(_) => Exit::Undecidable,
        CliError::Manifest(e) => manifest(e),
        CliError::Rejected(e) => rejected(e),
        CliError::DeviceRejected(e) => kind(e.reason.kind()),
        CliError::Endorse(e) => endorse(e),
        CliError::TokenRejected(e) => kind(e.reason.kind()),
        CliError::BundleRefused(e) => e.reason.kind().map_or(Exit::Refused, kind),
        CliError::DeviceManifest { rejected, .. } => kind(rejected.kind()),
        CliError::DeviceDenied(e) => denied_device(&e.reason),
        CliError::Denied(_) | CliError::DeviceSet(_) | CliError::TokenDenied(_) => Exit::Refused,
        CliError::Statement(e) => statement(&e.reason),
        CliError::Vtpm(e) => vtpm(&e.reason),
        CliError::Devices(e) => devices(&e.reason),
        CliError::Operator(e) => operator(&e.reason),
        CliError::Receipt(e) => receipt(e),
        CliError::ReceiptFolder(_) => Exit::Internal,
        CliError::Connect(e) => connect(&e.error),
        CliError::Fetch(e) => connect(e),
        CliError::Send(e) => send(e),
        CliError::Boot(e) => boot(e),
        CliError::Gpu(e) => gpu(e),
        CliError::Attester(_) => Exit::Undecidable,
        CliError::TokenSocket(e) => token_socket(e),
        CliError::Store(e) => store(e),
    }
}

fn receipt(error: &ReceiptError) -> Exit {
    match error {
        ReceiptError::Key { .. } | ReceiptError::Signature => Exit::NotGenuine,
        ReceiptError::NoKey
        | ReceiptError::Model { .. }
        | ReceiptError::Request
        | ReceiptError::Response
        | ReceiptError::Chain { .. } => Exit::Refused,
        ReceiptError::TooLong { .. }
        | ReceiptError::Malformed { .. }
        | ReceiptError::Schema
        | ReceiptError::ApiVersion
        | ReceiptError::NotCanonical
        | ReceiptError::Future { .. }
        | ReceiptError::Salt { .. } => Exit::Undecidable,
    }
}

fn rejected(error: &Rejected) -> Exit {
    kind(error.reason.kind())
}

fn endorse(error: &EndorseError) -> Exit {
    match error.kind() {
        EndorseKind::Usage => Exit::Usage,
        EndorseKind::Local => Exit::Internal,
        EndorseKind::Unreachable => Exit::Unreachable,
        EndorseKind::Undecidable => Exit::Undecidable,
        EndorseKind::Rejected => Exit::NotGenuine,
    }
}

fn kind(kind: RejectionKind) -> Exit {
    match kind {
        RejectionKind::NotGenuine => Exit::NotGenuine,
        RejectionKind::Stale | RejectionKind::Missing => Exit::Undecidable,
    }
}

fn connect(error: &ConnectError) -> Exit {
    match error {
        ConnectError::Address { .. } => Exit::Usage,
        ConnectError::Tls(_) => Exit::Internal,
        ConnectError::Unreachable { .. } => Exit::Unreachable,
        ConnectError::Sealed(_) => Exit::Refused,
        ConnectError::NoDocument { .. } | ConnectError::Document(_) | ConnectError::Malformed(_) => {
            Exit::Undecidable
        }
        ConnectError::Rejected(e) => rejected(e),
        ConnectError::Denied(_) => Exit::Refused,
        ConnectError::Statement(e) => statement(&e.reason),
        ConnectError::Unreadable(e) => statement(e),
        ConnectError::Vtpm(e) => vtpm(&e.reason),
        ConnectError::Devices(e) => devices(&e.reason),
        ConnectError::Operator(e) => operator(&e.reason),
    }
}

fn operator(error: &OperatorError) -> Exit {
    match error {
        OperatorError::Document(_) => Exit::Undecidable,
        OperatorError::Signature => Exit::NotGenuine,
        OperatorError::Missing
        | OperatorError::Key { .. }
        | OperatorError::Certificate { .. }
        | OperatorError::Name
        | OperatorError::OtherKey
        | OperatorError::Scheme => Exit::Refused,
    }
}

fn vtpm(error: &VtpmError) -> Exit {
    match error {
        VtpmError::Document(_) | VtpmError::Malformed(_) => Exit::Undecidable,
        VtpmError::Rejected(e) => rejected(e),
        VtpmError::Missing
        | VtpmError::NotExpected
        | VtpmError::Platform { .. }
        | VtpmError::Denied(_)
        | VtpmError::NotStated { .. } => Exit::Refused,
    }
}

fn devices(error: &DevicesError) -> Exit {
    match error {
        DevicesError::Document(_) | DevicesError::Malformed(_) => Exit::Undecidable,
        DevicesError::Manifest(rejected) => kind(rejected.kind()),
        DevicesError::Rejected(rejected) => kind(rejected.reason.kind()),
        DevicesError::Denied(denied) => denied_device(&denied.reason),
        DevicesError::Missing { .. }
        | DevicesError::NotExpected
        | DevicesError::Set(_)
        | DevicesError::NotStated { .. }
        | DevicesError::Mixed => Exit::Refused,
    }
}

fn gpu(error: &GpuError) -> Exit {
    match error {
        GpuError::Policy { .. } | GpuError::Rule { .. } | GpuError::Anchor(_) => Exit::Usage,
        GpuError::File(e) => staple(e),
        GpuError::Refused(e) => devices(&e.reason),
        GpuError::Bundle(_)
        | GpuError::NoDriver
        | GpuError::NoGpu
        | GpuError::NotSupported
        | GpuError::Off
        | GpuError::Developer
        | GpuError::Driver { .. }
        | GpuError::NoSwitchDriver
        | GpuError::SwitchLibrary
        | GpuError::NoSwitch
        | GpuError::SwitchOpen { .. }
        | GpuError::Switch { .. }
        | GpuError::Timeout { .. }
        | GpuError::Evidence(_)
        | GpuError::NotReady
        | GpuError::Expired { .. } => Exit::Undecidable,
        GpuError::Stopped | GpuError::Randomness | GpuError::Simulator(_) => Exit::Internal,
    }
}

fn token_socket(error: &TokenSocketError) -> Exit {
    match error {
        TokenSocketError::Nonce { .. } | TokenSocketError::Audience => Exit::Usage,
        TokenSocketError::Absent { .. } | TokenSocketError::Unreachable(_) => Exit::Unreachable,
        TokenSocketError::TooLong
        | TokenSocketError::Form
        | TokenSocketError::Status { .. }
        | TokenSocketError::Token(_)
        | TokenSocketError::Kind { .. }
        | TokenSocketError::Other { .. } => Exit::Undecidable,
    }
}

fn own_vtpm(error: &OwnVtpmError) -> Exit {
    match error {
        OwnVtpmError::Attester(_) | OwnVtpmError::Document(_) => Exit::Undecidable,
        OwnVtpmError::Staple(e) => staple(e),
        OwnVtpmError::Rejected(e) => rejected(e),
    }
}

fn denied_device(reason: &GpuDenial) -> Exit {
    match reason {
        GpuDenial::ManifestMissing { .. } => Exit::Undecidable,
        _ => Exit::Refused,
    }
}

fn statement(error: &StatementError) -> Exit {
    match error {
        StatementError::TooLong { .. }
        | StatementError::Malformed { .. }
        | StatementError::NotCanonical
        | StatementError::Format { .. }
        | StatementError::Expired { .. } => Exit::Undecidable,
        StatementError::NotBound
        | StatementError::Nonce
        | StatementError::TlsKey { .. }
        | StatementError::SealedKeys { .. }
        | StatementError::OperatorHoldsTlsKey
        | StatementError::Model { .. }
        | StatementError::NoModel
        | StatementError::Engine { .. } => Exit::Refused,
    }
}

fn send(error: &SendError) -> Exit {
    match error {
        SendError::Expired { .. } => Exit::Undecidable,
        SendError::Broken(_) | SendError::NotSealed { .. } => Exit::Unreachable,
        SendError::Sealed(_) | SendError::Randomness => Exit::Undecidable,
        SendError::Refused { .. } => Exit::Refused,
        SendError::Shape => Exit::Undecidable,
    }
}

fn boot(error: &BootError) -> Exit {
    match error {
        BootError::Hardening(HardeningError::SwapOn { .. }) => Exit::Usage,
        BootError::Hardening(HardeningError::System { .. }) => Exit::Internal,
        BootError::Weights(e) => weights(e),
        BootError::File { .. } | BootError::ApiKeys { .. } | BootError::Receipts(_) => Exit::Usage,
        BootError::Manifest(e) => manifest(e),
        BootError::Attester(_) => Exit::Undecidable,
        BootError::Attestation(e) => attestation(e),
        BootError::Gpu(e) => gpu(e),
        BootError::Vtpm(e) => own_vtpm(e),
        BootError::Staple(e) => staple(e),
        BootError::Endorsements(e) => endorsements(e),
        BootError::Tls(_) | BootError::Operator(_) => Exit::Usage,
        BootError::Release(e) => release(e),
        BootError::Kms(e) => kms(e),
        BootError::NoRecipient => Exit::Usage,
        BootError::KeyLength { .. } => Exit::Undecidable,
        BootError::Listen(ListenError::Vsock(e)) => vsock(e),
        BootError::Upstream(e) if e.is_configuration() => Exit::Usage,
        BootError::Confine(_)
        | BootError::Upstream(_)
        | BootError::KeyMemory(_)
        | BootError::Engine(_)
        | BootError::ReceiptKey(_)
        | BootError::Clock
        | BootError::Forward(_)
        | BootError::Memory(_)
        | BootError::Listen(ListenError::Tcp { .. }) => Exit::Internal,
    }
}

fn attestation(error: &AttestationError) -> Exit {
    match error {
        AttestationError::Attester(_) => Exit::Undecidable,
        AttestationError::Gpu(e) => gpu(e),
        AttestationError::Vtpm(e) => own_vtpm(e),
        AttestationError::Staple(e) => staple(e),
        AttestationError::Operator(_)
        | AttestationError::Statement(_)
        | AttestationError::Sealed(_)
        | AttestationError::Clock
        | AttestationError::Render
        | AttestationError::NotReady => Exit::Internal,
    }
}

fn staple(error: &StapleError) -> Exit {
    match error {
        StapleError::Unreadable => Exit::Usage,
        StapleError::Bundle(_)
        | StapleError::Missing { .. }
        | StapleError::NotNewer
        | StapleError::Expired { .. } => Exit::Undecidable,
    }
}

fn endorsements(error: &RefreshError) -> Exit {
    match error {
        RefreshError::Staple(e) => staple(e),
        RefreshError::Fetch(e) => endorse(e),
        RefreshError::Rejected(e) => rejected(e),
        RefreshError::Gpu(e) => gpu(e),
        RefreshError::Attester(_)
        | RefreshError::Document(_)
        | RefreshError::Unreadable(_)
        | RefreshError::Older { .. } => Exit::Undecidable,
    }
}

fn weights(error: &WeightsError) -> Exit {
    match error {
        WeightsError::Unreadable { .. } | WeightsError::Memory { .. } => Exit::Internal,
        WeightsError::EnvelopeTooLarge { .. } => Exit::Undecidable,
        WeightsError::NotOneGguf { .. } => Exit::Usage,
        WeightsError::Open(e) => open(e),
    }
}

fn open(error: &OpenError) -> Exit {
    match error {
        OpenError::WrongKey
        | OpenError::Commitment { .. }
        | OpenError::Truncated { .. }
        | OpenError::Trailing { .. }
        | OpenError::Header { .. }
        | OpenError::Chunk { .. }
        | OpenError::Digest { .. } => Exit::NotGenuine,
        OpenError::NoSuchFile { .. }
        | OpenError::Destination { .. }
        | OpenError::Range { .. }
        | OpenError::Read { .. }
        | OpenError::Write { .. }
        | OpenError::Layout { .. }
        | OpenError::Library => Exit::Internal,
    }
}

fn kms(error: &KmsError) -> Exit {
    match error {
        KmsError::File { .. } | KmsError::Endpoint { .. } | KmsError::Authority(_) => Exit::Usage,
        KmsError::Vsock(e) => vsock(e),
        KmsError::Unreachable { .. } => Exit::Unreachable,
        KmsError::Refused { refusal: Refusal::Busy, .. } => Exit::Unreachable,
        KmsError::Refused { .. } => Exit::Refused,
        KmsError::Credentials { .. }
        | KmsError::Attester(_)
        | KmsError::Answer { .. }
        | KmsError::OtherKey { .. }
        | KmsError::Envelope { .. }
        | KmsError::KeyLength { .. } => Exit::Undecidable,
        KmsError::InTheClear | KmsError::NotTheKey => Exit::NotGenuine,
        KmsError::KeyPair | KmsError::Clock => Exit::Internal,
    }
}

fn release(error: &ReleaseError) -> Exit {
    match error {
        ReleaseError::Address { .. } | ReleaseError::ResourceUri { .. } | ReleaseError::Authority(_) => {
            Exit::Usage
        }
        ReleaseError::Unreachable { .. } => Exit::Unreachable,
        ReleaseError::Vsock { source, .. } => vsock(source),
        ReleaseError::Refused { .. } => Exit::Refused,
        ReleaseError::Protocol { .. }
        | ReleaseError::Message(_)
        | ReleaseError::Attester(_)
        | ReleaseError::Staple(_)
        | ReleaseError::Platform { .. } => Exit::Undecidable,
        ReleaseError::Jwe(_) => Exit::NotGenuine,
        ReleaseError::Gpu(e) => gpu(e),
        ReleaseError::Vtpm(e) => own_vtpm(e),
        ReleaseError::Randomness | ReleaseError::Clock => Exit::Internal,
    }
}

fn vsock(error: &VsockError) -> Exit {
    match error {
        VsockError::Refused { .. } | VsockError::TimedOut { .. } | VsockError::NoRoute { .. } => {
            Exit::Unreachable
        }
        VsockError::Absent { .. }
        | VsockError::InUse { .. }
        | VsockError::NotPermitted { .. }
        | VsockError::NotOurs { .. }
        | VsockError::System { .. } => Exit::Internal,
    }
}

fn manifest(error: &ManifestError) -> Exit {
    match error {
        // What the signature says, and what a signed manifest may not say.
        ManifestError::Unsigned
        | ManifestError::UnknownPublisher { .. }
        | ManifestError::BadSignature { .. }
        | ManifestError::RootDigest => Exit::NotGenuine,
        ManifestError::NoTrustedPublisher | ManifestError::Signing { .. } => Exit::Usage,
        ManifestError::Oversized { .. }
        | ManifestError::Syntax { .. }
        | ManifestError::DuplicateMember { .. }
        | ManifestError::Missing { .. }
        | ManifestError::Unknown { .. }
        | ManifestError::Type { .. }
        | ManifestError::NotCanonical { .. }
        | ManifestError::Base64 { .. }
        | ManifestError::Hex { .. }
        | ManifestError::Integer { .. }
        | ManifestError::PayloadType { .. }
        | ManifestError::TooManySignatures { .. }
        | ManifestError::SignatureOrder { .. }
        | ManifestError::StatementType { .. }
        | ManifestError::PredicateType { .. }
        | ManifestError::Format { .. }
        | ManifestError::Suite { .. }
        | ManifestError::Subjects { .. }
        | ManifestError::Uuid
        | ManifestError::ModelName { .. }
        | ManifestError::NoFiles
        | ManifestError::TooManyFiles { .. }
        | ManifestError::FileName { .. }
        | ManifestError::FileOrder { .. }
        | ManifestError::DuplicateName { .. }
        | ManifestError::NameConflict { .. }
        | ManifestError::FileTooLarge { .. }
        | ManifestError::TotalTooLarge
        | ManifestError::BlobName { .. }
        | ManifestError::DuplicateBlob { .. }
        | ManifestError::NoRecipients
        | ManifestError::TooManyRecipients { .. }
        | ManifestError::Recipient { .. }
        | ManifestError::DuplicateRecipient { .. } => Exit::Undecidable,
    }
}

fn store(error: &StoreError) -> Exit {
    match error {
        StoreError::Exists { .. }
        | StoreError::NoStore { .. }
        | StoreError::RootKeyMode { .. }
        | StoreError::RootKeyLength { .. }
        | StoreError::Anchors { .. }
        | StoreError::KeyExists { .. }
        | StoreError::NoKey { .. }
        | StoreError::SecretLength { .. }
        | StoreError::VersionRange { .. }
        | StoreError::BelowFloor { .. }
        | StoreError::FloorFalls { .. } => Exit::Usage,
        StoreError::Policy(_) => Exit::Refused,
        StoreError::Format { .. } => Exit::Undecidable,
        StoreError::RootKey
        | StoreError::FloorTampered
        | StoreError::KeyTampered { .. }
        | StoreError::Audit(_) => Exit::NotGenuine,
        StoreError::File { .. }
        | StoreError::Changed { .. }
        | StoreError::Database(_)
        | StoreError::Entropy(_)
        | StoreError::Crypto => Exit::Internal,
    }
}
