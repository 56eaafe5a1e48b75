//! NVIDIA GPUs and NVSwitches.

use super::{Rule, rules};

rules! {
    /// The rules for NVIDIA devices. NV-01 to NV-07 answer "is it genuine?", the others "is it ours?".
    NVIDIA
    FORMAT "NV-01" "report has the one layout of an SPDM 1.1 measurement report" "attest.md §14 NV-01"
        "A byte behind the end, an index twice or a field twice can show two readers two reports."
    CERTIFICATES "NV-02" "certificates are a device's, all of one chip" "attest.md §14 NV-02"
        "A key of one kind of device must not vouch for another kind: the key of a switch is not a GPU's."
    ROOT "NV-03" "root is pinned and valid, and the root that was sent is the same" "attest.md §14 NV-03"
        "A device delivers a root too. It proves only that the sender has a file."
    CHAIN "NV-04" "certificate path is valid" "attest.md §14 NV-04"
        "Signatures, validity, authority flags, key usage and key types, from the root down."
    REVOCATION "NV-05" "no certificate of the path is revoked" "attest.md §14 NV-05"
        "These certificates never expire; revocation is the only way to withdraw a broken device."
    SIGNATURE "NV-06" "report is signed by the endorsed key" "attest.md §14 NV-06"
        "Only firmware of a genuine device holds the key."
    FIRMWARE_ID "NV-07" "reported firmware identity is the certified one" "attest.md §14 NV-07"
        "The boot ROM certified the firmware that holds the key. Firmware that claims another identity is lying."
    ARCHITECTURE "NV-08" "policy accepts this architecture" "attest.md §14 NV-08"
        "A policy that does not speak of a kind of device has not thought about it."
    FIRMWARE_ID_REPORTED "NV-09" "device reports its firmware identity" "attest.md §14 NV-09"
        "Without it NV-07 has nothing to compare: whose firmware signed is known only by the certificate."
    DEVICE "NV-10" "device is expected" "attest.md §14 NV-10"
        "A genuine GPU somewhere is not the GPU of your machine."
    DRIVER "NV-11" "driver version is expected" "attest.md §14 NV-11"
        "Measurements of an old driver with a known hole are measurements too."
    VBIOS "NV-12" "VBIOS version is expected" "attest.md §14 NV-12"
        "Measurements of an old VBIOS with a known hole are measurements too."
    MEASUREMENTS "NV-13" "measurements are expected" "attest.md §14 NV-13"
        "They are the firmware and its configuration, confidential mode included. A signature alone says only who measured."
    NONCE "NV-14" "nonce is the verifier's" "attest.md §14 NV-14"
        "Without it, a genuine report of somebody else, or of yesterday, passes."
}
