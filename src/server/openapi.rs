//! The OpenAPI 3.1 document at `/api/v1/openapi.json`: made of the table of endpoints, the
//! parameters and the bodies that are really written.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::body::{
    ChangedBody, CheckBody, EnterBody, GateBody, GatesBody, HistoryBody, LeasesBody, LeaveBody,
    PlanBody,
};
use super::endpoint::Endpoint;
use super::problem::ProblemBody;
use super::query::CLOSED_STATUSES;
use super::reply::{Content, Reply};
use crate::rights::Right;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_string()));

pub(super) fn reply() -> Reply {
    Content::new("application/json", DOCUMENT.clone()).reply(StatusCode::OK)
}

/// What an endpoint answers with.
enum Body {
    /// Plain text, or a page.
    Text(&'static [&'static str]),
    /// JSON of this schema.
    Json(Value),
    /// A verdict: JSON, or text on request.
    Verdict(Value),
}

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
        });
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<ProblemBody<'static>>().to_value();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in Endpoint::ALL {
        let row = endpoint.row();
        let item = paths.entry(row.path).or_insert_with(|| json!({}));
        for method in row.methods {
            let operation = operation(*endpoint, method, &mut schemas, &problem);
            if let Some(item) = item.as_object_mut() {
                item.insert(method.to_ascii_lowercase(), operation);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "upgrade-gate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Whether the next step of a Kafka rolling upgrade is safe. Only 200 of \
                check, enter and leave lets anyone through.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    })
}

fn operation(
    endpoint: Endpoint,
    method: &str,
    schemas: &mut SchemaGenerator,
    problem: &Value,
) -> Value {
    let row = endpoint.row();
    let body = body(endpoint, schemas);
    let mut responses = Map::new();
    for (status, says) in statuses(endpoint) {
        let content = content(&body, status, endpoint, problem);
        let mut response = json!({"description": says});
        if let Some(response) = response.as_object_mut()
            && method != "HEAD"
        {
            response.insert(String::from("content"), content);
        }
        responses.insert(status.to_string(), response);
    }
    // Nothing where nobody is asked; else any of the means, or none while authentication is off.
    let security = match row.right {
        None => json!([]),
        Some(_) => json!([{"token": []}, {"user": []}, {"certificate": []}, {}]),
    };
    json!({
        "operationId": format!("{}{}", method.to_ascii_lowercase(), endpoint.name()),
        "summary": row.summary,
        "parameters": endpoint.document_parameters(),
        "responses": responses,
        "security": security,
        "x-right": row.right.map(Right::as_str),
    })
}

/// Every status that an endpoint answers with, and what it means there.
fn statuses(endpoint: Endpoint) -> Vec<(u16, &'static str)> {
    let row = endpoint.row();
    let mut all = vec![
        (200, "Done, or open, or what was asked for."),
        (
            400,
            "A parameter that is not understood, or a body that did not come.",
        ),
        (413, "A body above 64 KiB; bodies are ignored."),
        (503, "Closed or unknown, or the server has no answer now."),
    ];
    if row.right.is_some() {
        all.push((401, "Nobody knows who asks. No verdict."));
    }
    if row.right > Some(Right::Read) {
        all.push((
            403,
            "Who asks has not the right, or X-Upgrade-Gate is missing. No verdict.",
        ));
    }
    if row.path.contains('{') {
        all.push((
            404,
            "No such gate (title `not found`) or lease (title `no such lease`).",
        ));
    }
    match endpoint {
        Endpoint::Check => {
            all.extend(CLOSED_STATUSES.map(|status| (status, "Closed or unknown, as asked for.")));
        }
        Endpoint::Enter | Endpoint::Leave => {
            all.extend(CLOSED_STATUSES.map(|status| {
                (
                    status,
                    "Not yet, as asked for; 409 also: over, or given up.",
                )
            }));
        }
        Endpoint::Renew | Endpoint::Break | Endpoint::Hold | Endpoint::Lift | Endpoint::Retire => {
            all.push((409, "Refused as things stand; detail says why."));
        }
        Endpoint::Reload => all.push((
            503,
            "The configuration cannot be used; the one before goes on. Or it was not loaded in time: look \
             at the reload's metrics.",
        )),
        Endpoint::Page
        | Endpoint::Metrics
        | Endpoint::Healthy
        | Endpoint::Ready
        | Endpoint::OpenApi
        | Endpoint::Gates
        | Endpoint::Document
        | Endpoint::Plan
        | Endpoint::Leases
        | Endpoint::History => {}
    }
    all
}

fn body(endpoint: Endpoint, schemas: &mut SchemaGenerator) -> Body {
    const TEXT: &[&str] = &["text/plain"];
    let mut of = |schema: fn(&mut SchemaGenerator) -> schemars::Schema| schema(schemas).to_value();
    match endpoint {
        Endpoint::Page => Body::Text(&["text/html"]),
        Endpoint::Metrics => Body::Text(&["text/plain", "application/openmetrics-text"]),
        Endpoint::Healthy | Endpoint::Ready | Endpoint::Reload => Body::Text(TEXT),
        Endpoint::OpenApi => Body::Json(json!({"type": "object"})),
        Endpoint::Gates => Body::Json(of(SchemaGenerator::subschema_for::<GatesBody>)),
        Endpoint::Document => Body::Verdict(of(SchemaGenerator::subschema_for::<GateBody>)),
        Endpoint::Check => Body::Verdict(of(SchemaGenerator::subschema_for::<CheckBody>)),
        Endpoint::Plan => Body::Json(of(SchemaGenerator::subschema_for::<PlanBody>)),
        Endpoint::Leases => Body::Json(of(SchemaGenerator::subschema_for::<LeasesBody>)),
        Endpoint::Enter => Body::Verdict(of(SchemaGenerator::subschema_for::<EnterBody>)),
        Endpoint::Leave => Body::Verdict(of(SchemaGenerator::subschema_for::<LeaveBody>)),
        Endpoint::Renew | Endpoint::Break | Endpoint::Hold | Endpoint::Lift | Endpoint::Retire => {
            Body::Json(of(SchemaGenerator::subschema_for::<ChangedBody>))
        }
        Endpoint::History => Body::Json(of(SchemaGenerator::subschema_for::<HistoryBody>)),
    }
}

/// The media types of one status: the endpoint's own with 200 and where a verdict is told by
/// status, a problem with everything else.
fn content(body: &Body, status: u16, endpoint: Endpoint, problem: &Value) -> Value {
    let by_status = matches!(
        endpoint,
        Endpoint::Check | Endpoint::Enter | Endpoint::Leave
    ) && CLOSED_STATUSES.contains(&status);
    let mut types = Map::new();
    if status == 200 || by_status || (status == 503 && endpoint == Endpoint::Ready) {
        match body {
            Body::Text(kinds) => {
                for kind in *kinds {
                    types.insert(String::from(*kind), json!({"schema": {"type": "string"}}));
                }
            }
            Body::Json(schema) => {
                types.insert(String::from("application/json"), json!({"schema": schema}));
            }
            Body::Verdict(schema) => {
                types.insert(String::from("application/json"), json!({"schema": schema}));
                types.insert(
                    String::from("text/plain"),
                    json!({"schema": {"type": "string"}}),
                );
            }
        }
    }
    if status != 200 {
        types.insert(
            String::from("application/problem+json"),
            json!({"schema": problem}),
        );
    }
    Value::Object(types)
}
