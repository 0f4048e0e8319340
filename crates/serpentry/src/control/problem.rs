//! Every way in which a call can fail, and what the caller reads then: `application/problem+json` (RFC 9457).
//!
//! `type` is the machine's name for the problem and stays; `detail` is for people and may change.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::Refusal;

/// Seconds after which it makes sense to try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The body of every answer that is not a success (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// For example `urn:serpentry:no-such-app`.
    pub r#type: String,
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What happened and what to do. May be several lines.
    pub detail: String,
    /// Python's own words, if the application failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub traceback: Option<String>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no such path; GET /openapi.json lists them")]
    NoSuchPath,
    #[error("this path does not know that method; the Allow field lists those it knows")]
    NoSuchMethod,
    #[error("{1}")]
    BadBody(StatusCode, String),
    #[error("{0}")]
    BadQuery(String),
    #[error("the request body is larger than {0} bytes")]
    LargeBody(usize),
    #[error("the request body did not arrive within {0} s")]
    SlowBody(u64),
    #[error("the host has not finished within {0} s; what it began goes on")]
    Late(u64),
}

impl Failure {
    /// Status, last part of `type`, title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Failure::Refused(Refusal::NoSuchApp(_)) => {
                (StatusCode::NOT_FOUND, "no-such-app", "No such application")
            }
            Failure::Refused(Refusal::NoSuchIncident(_)) => {
                (StatusCode::NOT_FOUND, "no-such-incident", "No such incident")
            }
            Failure::Refused(Refusal::Invalid(_)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Refused, nothing was changed")
            }
            Failure::Refused(Refusal::Failed { .. }) => {
                (StatusCode::CONFLICT, "failed", "Tried and failed, what served before serves on")
            }
            Failure::Refused(Refusal::Busy(_)) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy"),
            Failure::Refused(Refusal::Stopping) => {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping", "The host is stopping")
            }
            Failure::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "No such path"),
            Failure::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "Method not allowed"),
            Failure::BadBody(status, _) => (*status, "bad-body", "The request body cannot be read"),
            Failure::BadQuery(_) => (StatusCode::BAD_REQUEST, "bad-query", "The query cannot be read"),
            Failure::LargeBody(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "large-body", "The request body is too large")
            }
            Failure::SlowBody(_) => {
                (StatusCode::REQUEST_TIMEOUT, "slow-body", "The request body is too slow")
            }
            Failure::Late(_) => (StatusCode::GATEWAY_TIMEOUT, "late", "Not finished in time"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind();
        let detail = self.to_string();
        let traceback = match self {
            Failure::Refused(Refusal::Failed { traceback, .. }) => traceback,
            _ => None,
        };
        let problem = Problem {
            r#type: format!("urn:serpentry:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            traceback,
        };
        let mut resp = (status, axum::Json(problem)).into_response();
        let headers = resp.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        resp
    }
}
