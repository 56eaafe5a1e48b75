//! The broker over HTTP, with evidence of the software silicon vendor: what it answers, and what it refuses.

mod attest;
mod auth;
mod fixture;
mod interop;
mod logs;
mod platforms;
mod resource;
