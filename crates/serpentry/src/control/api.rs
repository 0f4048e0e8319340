//! The paths of the control interface: each turns a call into one [`Request`] and its answer into JSON.
//!
//! Route, handler and documentation are one item each, so that the OpenAPI document cannot list what is not served.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::exposition::{self, Form};
use super::incidents::{EventQuery, Events, Incident, IncidentQuery, Incidents};
use super::problem::{Failure, Problem};
use super::request::{Answer, Refusal, Request};
use super::routes::{Routes, RoutesQuery};
use super::types::{
    AppStatus, Changed, Health, Looked, MemoryQuery, Move, Reloaded, Scale, Status, Stopping,
};

/// Largest request body. The only one there is has a few bytes.
const BODY: usize = 64 * 1024;

/// How long a request body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);

/// Calls that only look: a driver that needs longer is in trouble, and the caller should know.
const LOOK: Duration = Duration::from_secs(5);

/// Calls that may wait for an application to boot.
const CHANGE: Duration = Duration::from_secs(120);

#[derive(OpenApi)]
#[openapi(info(
    title = "Serpentry control interface",
    description = "HTTP on the Unix socket `control.sock` in the state directory of a running host. Readers must ignore \
                   fields that they do not know."
))]
struct Document;

#[derive(Debug, Clone)]
struct Api {
    requests: mpsc::Sender<Request>,
}

impl Api {
    /// Ask the driver, within `limit`.
    async fn ask<T>(
        &self,
        limit: Duration,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply)).await.map_err(|_| Refusal::Stopping)?;
            answer.await.unwrap_or(Err(Refusal::Stopping))
        };
        match timeout(limit, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Late(limit.as_secs())),
        }
    }
}

/// The service, and the document of what it serves.
fn parts(requests: mpsc::Sender<Request>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status))
        .routes(routes!(app))
        .routes(routes!(app_routes))
        .routes(routes!(incidents))
        .routes(routes!(incident))
        .routes(routes!(events))
        .routes(routes!(stacks))
        .routes(routes!(memory))
        .routes(routes!(reload))
        .routes(routes!(scale))
        .routes(routes!(stop))
        .routes(routes!(start))
        .routes(routes!(restart))
        .routes(routes!(relocate))
        .routes(routes!(stop_host))
        .routes(routes!(metrics))
        .routes(routes!(health))
        .routes(routes!(openapi))
        .split_for_parts();
    let router = router
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::NoSuchMethod)
        .layer(middleware::from_fn(whole_body))
        // `whole_body` is stricter and says so in the same form as all else.
        .layer(DefaultBodyLimit::disable())
        .with_state(Api { requests });
    (router, document)
}

pub(super) fn router(requests: mpsc::Sender<Request>) -> Router {
    parts(requests).0
}

/// The OpenAPI document as it is served: JSON, indented, with a line end.
#[must_use]
pub fn document() -> String {
    // Nothing is asked while the document is made.
    let (requests, _) = mpsc::channel(1);
    let mut text = parts(requests).1.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Take the whole body before anything else, bounded in size and time, also where none is expected.
async fn whole_body(req: axum::extract::Request, next: Next) -> Response {
    let (head, body) = req.into_parts();
    match timeout(BODY_TIME, axum::body::to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => next.run(axum::extract::Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(_)) => Failure::LargeBody(BODY).into_response(),
        Err(_) => Failure::SlowBody(BODY_TIME.as_secs()).into_response(),
    }
}

type Outcome<T> = Result<Json<T>, Failure>;

/// A name that is not even text is a name that no application has.
fn named(path: Result<Path<String>, PathRejection>) -> Result<String, Failure> {
    path.map(|Path(app)| app).map_err(|rejection| Failure::BadBody(rejection.status(), rejection.body_text()))
}

/// What the host and all applications are doing.
#[utoipa::path(get, path = "/v1/status", tag = "look", responses(
    (status = OK, body = Status),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn status(State(api): State<Api>) -> Outcome<Status> {
    Ok(Json(api.ask(LOOK, |reply| Request::Status { reply }).await?))
}

/// What one application is doing.
#[utoipa::path(get, path = "/v1/apps/{app}", tag = "look", params(("app" = String, Path, description = "Its name")), responses(
    (status = OK, body = AppStatus),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn app(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Outcome<AppStatus> {
    let name = named(path)?;
    let status = api.ask(LOOK, |reply| Request::Status { reply }).await?;
    let found = status.apps.into_iter().find(|app| app.name == name);
    found.map(Json).ok_or(Failure::Refused(Refusal::NoSuchApp(name)))
}

/// What the requests of one application take, route by route: time in the queue, CPU time, waiting. At most 64 routes.
#[utoipa::path(get, path = "/v1/apps/{app}/routes", tag = "look", params(("app" = String, Path, description = "Its name"), RoutesQuery), responses(
    (status = OK, body = Routes),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn app_routes(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<RoutesQuery>, QueryRejection>,
) -> Outcome<Routes> {
    let app = named(path)?;
    let with_samples = asked(query)?.samples.unwrap_or(false);
    let mut found = api.ask(LOOK, |reply| Request::Routes { app, reply }).await?;
    if !with_samples {
        found.routes.iter_mut().for_each(|route| route.samples_us.clear());
    }
    Ok(Json(found))
}

/// What went wrong, newest first: open incidents and closed ones.
#[utoipa::path(get, path = "/v1/incidents", tag = "look", params(IncidentQuery), responses(
    (status = OK, body = Incidents),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn incidents(
    State(api): State<Api>,
    query: Result<Query<IncidentQuery>, QueryRejection>,
) -> Outcome<Incidents> {
    let IncidentQuery { app, limit } = asked(query)?;
    let limit = limit.unwrap_or(IncidentQuery::USUAL);
    if !(1..=IncidentQuery::MOST).contains(&limit) {
        let text = format!("limit: {limit} is not between 1 and {}", IncidentQuery::MOST);
        return Err(Failure::BadQuery(text));
    }
    let limit = limit as usize;
    Ok(Json(api.ask(LOOK, |reply| Request::Incidents { app, limit, reply }).await?))
}

/// One incident, by any name that a visitor was told for it.
#[utoipa::path(get, path = "/v1/incidents/{id}", tag = "look", params(("id" = String, Path, description = "For example N11-36NPJZM01")), responses(
    (status = OK, body = Incident),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn incident(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Outcome<Incident> {
    let text = named(path)?;
    let name = text.parse().map_err(|_| Refusal::NoSuchIncident(text))?;
    Ok(Json(api.ask(LOOK, |reply| Request::Incident { name, reply }).await?))
}

/// What happened to incidents since a number, oldest first. The latest thousand are kept.
#[utoipa::path(get, path = "/v1/events", tag = "look", params(EventQuery), responses(
    (status = OK, body = Events),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn events(State(api): State<Api>, query: Result<Query<EventQuery>, QueryRejection>) -> Outcome<Events> {
    let EventQuery { app, after } = asked(query)?;
    if let Some(after) = after.filter(|after| i64::try_from(*after).is_err()) {
        return Err(Failure::BadQuery(format!("after: {after} is larger than any number of an event")));
    }
    Ok(Json(api.ask(LOOK, |reply| Request::Events { app, after, reply }).await?))
}

/// Where the threads of an application's workers are at this moment.
#[utoipa::path(get, path = "/v1/apps/{app}/stacks", tag = "look", params(("app" = String, Path, description = "Its name")), responses(
    (status = OK, body = Looked),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn stacks(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Outcome<Looked> {
    let app = named(path)?;
    Ok(Json(api.ask(LOOK, |reply| Request::Stacks { app, reply }).await?))
}

/// Which lines of an application allocate memory that stays. Its workers are traced for so long, and are slower meanwhile.
/// Answers after that.
#[utoipa::path(post, path = "/v1/apps/{app}/memory", tag = "look", params(("app" = String, Path, description = "Its name"), MemoryQuery), responses(
    (status = OK, body = Looked),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn memory(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<MemoryQuery>, QueryRejection>,
) -> Outcome<Looked> {
    let app = named(path)?;
    let seconds = asked(query)?.seconds.unwrap_or(MemoryQuery::USUAL);
    if !(1..=MemoryQuery::MOST).contains(&seconds) {
        let text = format!("seconds: {seconds} is not between 1 and {}", MemoryQuery::MOST);
        return Err(Failure::BadQuery(text));
    }
    Ok(Json(api.ask(CHANGE, |reply| Request::Memory { app, seconds, reply }).await?))
}

fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    query.map(|Query(query)| query).map_err(|rejection| Failure::BadQuery(rejection.body_text()))
}

/// Read the configuration file again and apply the difference. Answers when every application has switched to its new
/// generation or has failed to; 200 also when some failed: they are listed, and serve on as before.
#[utoipa::path(post, path = "/v1/reload", tag = "change", responses(
    (status = OK, body = Reloaded),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json",
     description = "The file has mistakes; nothing was changed"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn reload(State(api): State<Api>) -> Outcome<Reloaded> {
    Ok(Json(api.ask(CHANGE, |reply| Request::Reload { reply }).await?))
}

/// Set the number of workers.
#[utoipa::path(post, path = "/v1/apps/{app}/scale", tag = "change", params(("app" = String, Path, description = "Its name")), request_body = Scale, responses(
    (status = OK, body = Changed),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    (status = PAYLOAD_TOO_LARGE, body = Problem, content_type = "application/problem+json"),
    (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json"),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn scale(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<Scale>, JsonRejection>,
) -> Outcome<Changed> {
    let app = named(path)?;
    let Json(Scale { workers }) =
        body.map_err(|rejection| Failure::BadBody(rejection.status(), rejection.body_text()))?;
    if !(1..=Scale::MOST).contains(&workers) {
        let text = format!("workers: {workers} is not between 1 and {}", Scale::MOST);
        return Err(Failure::BadBody(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    Ok(Json(api.ask(LOOK, |reply| Request::Scale { app, workers, reply }).await?))
}

/// Refuse new requests with 503, let the running ones finish, end the workers.
#[utoipa::path(post, path = "/v1/apps/{app}/stop", tag = "change", params(("app" = String, Path, description = "Its name")), responses(
    (status = OK, body = Changed),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn stop(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Outcome<Changed> {
    let app = named(path)?;
    Ok(Json(api.ask(LOOK, |reply| Request::Stop { app, reply }).await?))
}

/// Start an application that was stopped. Answers when it serves or has failed to.
#[utoipa::path(post, path = "/v1/apps/{app}/start", tag = "change", params(("app" = String, Path, description = "Its name")), responses(
    (status = OK, body = Changed),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json",
     description = "It did not start; `traceback` has Python's own words"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn start(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Outcome<Changed> {
    let app = named(path)?;
    Ok(Json(api.ask(CHANGE, |reply| Request::Start { app, reply }).await?))
}

/// Boot a new generation beside the old one and switch when it is ready. Answers when it serves or has failed to.
#[utoipa::path(post, path = "/v1/apps/{app}/restart", tag = "change", params(("app" = String, Path, description = "Its name")), responses(
    (status = OK, body = Changed),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json",
     description = "It did not start, the old generation serves on; `traceback` has Python's own words"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn restart(State(api): State<Api>, path: Result<Path<String>, PathRejection>) -> Outcome<Changed> {
    let app = named(path)?;
    Ok(Json(api.ask(CHANGE, |reply| Request::Restart { app, reply }).await?))
}

/// Give an application another tenancy while it serves: a new generation boots there, takes over when it is ready, and the
/// old one finishes its requests. Holds until the host ends or the file gives the application another tenancy.
#[utoipa::path(post, path = "/v1/apps/{app}/move", tag = "change", params(("app" = String, Path, description = "Its name")), request_body = Move, responses(
    (status = OK, body = Changed),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json",
     description = "It was not admitted or did not start there: it serves on where it was"),
    (status = PAYLOAD_TOO_LARGE, body = Problem, content_type = "application/problem+json"),
    (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json"),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn relocate(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<Move>, JsonRejection>,
) -> Outcome<Changed> {
    let app = named(path)?;
    let Json(Move { tenancy }) =
        body.map_err(|rejection| Failure::BadBody(rejection.status(), rejection.body_text()))?;
    Ok(Json(api.ask(CHANGE, |reply| Request::Move { app, tenancy, reply }).await?))
}

/// Stop the host: no new requests, the running ones finish, then everything ends. Answers at once.
#[utoipa::path(post, path = "/v1/stop", tag = "change", responses(
    (status = OK, body = Stopping),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn stop_host(State(api): State<Api>) -> Outcome<Stopping> {
    Ok(Json(api.ask(LOOK, |reply| Request::StopHost { reply }).await?))
}

/// Counters and histograms for Prometheus: text format 0.0.4, or OpenMetrics 1.0 for those who accept it.
#[utoipa::path(get, path = "/metrics", tag = "look", responses(
    (status = OK, content((String = "text/plain"), (String = "application/openmetrics-text"))),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Failure> {
    let snapshot = api.ask(LOOK, |reply| Request::Metrics { reply }).await?;
    let form = Form::accepted(headers.get(header::ACCEPT).map_or(&[], |accept| accept.as_bytes()));
    let text = exposition::write(&snapshot, form);
    Ok(([(header::CONTENT_TYPE, form.content_type())], text).into_response())
}

/// Whether the host answers: its server and, behind it, what drives the applications.
#[utoipa::path(get, path = "/health", tag = "look", responses(
    (status = OK, body = Health),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
    (status = GATEWAY_TIMEOUT, body = Problem, content_type = "application/problem+json"),
))]
async fn health(State(api): State<Api>) -> Outcome<Health> {
    let status = api.ask(LOOK, |reply| Request::Status { reply }).await?;
    Ok(Json(Health { state: status.host.state }))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "look", responses((status = OK, body = serde_json::Value)))]
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document()).into_response()
}
