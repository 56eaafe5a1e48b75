//! The broker over HTTP, with evidence of the software silicon vendor: what it answers, and what it refuses.

mod attest;
mod auth;
mod fixture;
mod interop;
mod logs;
#[path = "../../../attest/tests/nitro/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod nitro;
mod parts;
mod platforms;
mod resource;
