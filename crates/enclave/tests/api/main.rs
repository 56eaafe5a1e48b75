//! The HTTP API over a stub engine: every route, status, code and shape, and no content in any log.

mod answers;
mod cancel;
mod counters;
mod embeddings;
mod logs;
mod messages;
mod receipts;
mod refusals;
mod sealed;
mod stub;
mod tenants;
mod tools;
