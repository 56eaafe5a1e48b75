//! `GET /openapi.json`: the routes as an OpenAPI document (spec/openapi.json), with this server's version and model in it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::ApiState;
use super::error::ApiError;

/// As it stands in the specification.
const DOCUMENT: &str = include_str!("../../../../spec/openapi.json");

pub(super) async fn openapi(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let mut document: Value = serde_json::from_str(DOCUMENT).map_err(|_| ApiError::NotFound)?;
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["components"]["schemas"]["Model"]["enum"] = json!([state.model_id]);
    Ok(axum::Json(document).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::metrics::Route;
    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let written: BTreeSet<_> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let routed: BTreeSet<_> = Route::ALL.into_iter().map(Route::path).collect();
        assert_eq!(written, routed);
    }
}
