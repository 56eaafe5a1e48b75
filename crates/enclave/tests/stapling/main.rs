//! A server that fetches its own endorsements, from a local service that replays answers (spec/stapling.md). Time is an
//! argument everywhere: nothing here waits for it.

#[path = "../../../endorse/tests/endorse/replay.rs"]
#[allow(dead_code)] // the cases of endorse use more of it
mod replay;

mod machine;
#[path = "../../../attest/tests/nitro/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod nitro;
mod nitro_lists;
mod renewal;
mod start;
