//! The OpenAPI document: valid, and about every endpoint there is.

use serde_json::Value;
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
            assert_eq!(
                operation["x-right"].as_str(),
                row.right.map(|right| right.as_str())
            );
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

#[test]
fn its_references_lead_somewhere_and_its_schemas_are_schemas() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for to in found {
        let pointer = to.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{to}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
    }
    for key in ["openapi", "info", "paths", "components"] {
        assert!(!document[key].is_null(), "{key}");
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
