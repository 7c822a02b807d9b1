//! The OpenAPI document: valid, and about every endpoint there is.

use serde_json::Value;
use upgrade_gate::rights::Right;
use upgrade_gate::server::endpoint::Endpoint;
use upgrade_gate::server::openapi::document;

use crate::served::{closed, serve};

/// Every `$ref` in it.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(parts) => {
            if let Some(Value::String(to)) = parts.get("$ref") {
                found.push(to.clone());
            }
            parts.values().for_each(|part| references(part, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| references(part, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn it_has_every_endpoint_with_its_parameters_and_right() {
    let document = document();
    let mut operations = 0;
    for endpoint in Endpoint::ALL {
        let row = endpoint.row();
        for method in row.methods {
            let operation = &document["paths"][row.path][method.to_ascii_lowercase()];
            assert_eq!(operation["summary"], row.summary);
            assert_eq!(operation["x-right"].as_str(), row.right.map(Right::as_str));
            let parameters = operation["parameters"].as_array().unwrap();
            let in_path = row.path.matches('{').count();
            let wanted = in_path + endpoint.parameters().len() + usize::from(endpoint.changes());
            assert_eq!(parameters.len(), wanted, "{endpoint:?}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") && responses.contains_key("503"));
            assert_eq!(responses.contains_key("401"), row.right.is_some());
            assert_eq!(responses.contains_key("403"), endpoint.changes());
            operations += 1;
        }
    }
    let paths = document["paths"].as_object().unwrap();
    let there: usize = paths
        .values()
        .map(|path| path.as_object().unwrap().len())
        .sum();
    assert_eq!(there, operations);
}

/// Every schema in it: the components', and those of parameters and bodies.
fn schemas<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(parts) => {
            found.extend(parts.get("schema"));
            if let Some(named) = parts.get("schemas").and_then(Value::as_object) {
                found.extend(named.values());
            }
            parts.values().for_each(|part| schemas(part, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| schemas(part, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// By the OpenAPI Initiative's own schema, which leaves schemas to JSON Schema.
#[test]
fn it_is_an_openapi_3_1_document() {
    let path = "tests/fixtures/openapi/schema-3.1.json";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let meta: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let meta = jsonschema::validator_for(&meta).unwrap();
    let problems = |document: &Value| -> Vec<String> {
        let errors = meta.iter_errors(document);
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    };
    let document = document();
    assert_eq!(problems(&document), Vec::<String>::new());
    // It does find faults.
    for (at, wrong) in [
        ("/openapi", serde_json::json!("3.0.0")),
        ("/info/title", Value::Null),
        (
            "/paths/~1metrics/get/responses",
            serde_json::json!({"2000": {}}),
        ),
        (
            "/paths/~1metrics/get/parameters",
            serde_json::json!([{"name": "x", "in": "nowhere"}]),
        ),
        (
            "/components/securitySchemes/token/type",
            serde_json::json!("password"),
        ),
    ] {
        let mut broken = document.clone();
        *broken.pointer_mut(at).unwrap() = wrong;
        assert!(!problems(&broken).is_empty(), "{at}");
    }
    let mut found = Vec::new();
    schemas(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for schema in found {
        assert!(jsonschema::meta::is_valid(schema), "{schema:#}");
    }
}

#[test]
fn its_references_lead_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for to in found {
        let pointer = to.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{to}");
    }
}

/// What is really answered is what the document says.
#[tokio::test]
async fn answers_fit_it() {
    let served = serve(closed()).await;
    let got = served.get("/api/v1/openapi.json").await;
    assert_eq!(
        (got.status, got.header("content-type")),
        (200, Some("application/json"))
    );
    let document = got.json();
    for (path, status) in [
        ("/api/v1/gates/{gate}/check", 503),
        ("/api/v1/gates/{gate}", 200),
        ("/api/v1/gates/{gate}/plan", 200),
        ("/api/v1/gates/{gate}/leases", 200),
        ("/api/v1/gates/{gate}/history", 200),
        ("/api/v1/gates", 200),
    ] {
        let answer = served.get(&path.replace("{gate}", "default")).await;
        assert_eq!(answer.status, status, "{path}");
        let pointer = format!("/paths/{}/get/responses/{status}", path.replace('/', "~1"));
        let content = &document.pointer(&pointer).unwrap()["content"];
        let mut schema = content[answer.header("content-type").unwrap()]["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let problems: Vec<_> = validator
            .iter_errors(&answer.json())
            .map(|it| it.to_string())
            .collect();
        assert!(problems.is_empty(), "{path}: {problems:?}");
    }
}
