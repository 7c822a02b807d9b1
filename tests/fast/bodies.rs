//! Every body of the API against its schema.

use std::time::Duration;

use upgrade_gate::checks::finding::Subject;
use upgrade_gate::checks::reason::Reason;
use upgrade_gate::evidence::ids::NodeId;
use upgrade_gate::evidence::step::Step;
use upgrade_gate::gate::parts::ViewParts;
use upgrade_gate::gate::view::View;
use upgrade_gate::server::body::{CheckBody, GateBody, GatesBody, LeasesBody, PlanBody};
use upgrade_gate::server::problem::ProblemBody;

use crate::leases::taken;
use crate::served::{START, closed, just_started, open, parts, reason, serve, unknown};

/// The schema of what we write, with nothing allowed beyond it.
pub(crate) fn schema<T: schemars::JsonSchema>() -> jsonschema::Validator {
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let schema = serde_json::to_value(schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[tokio::test]
async fn every_body_fits_its_schema() {
    let mut what = parts(vec![reason(
        Reason::WouldGoOffline,
        Subject::Node(NodeId(2)),
    )]);
    what.reasons[0].step = Some(Step::Sasl);
    what.nodes[1].reasons.clone_from(&what.reasons);
    let bare = ViewParts {
        generation: 0,
        nodes: Vec::new(),
        ..parts(vec![])
    };
    let schemas = [
        ("/api/v1/gates/default/check", schema::<CheckBody>()),
        ("/api/v1/gates/default", schema::<GateBody>()),
        ("/api/v1/gates/default/plan", schema::<PlanBody>()),
        ("/api/v1/gates/default/leases", schema::<LeasesBody>()),
        ("/api/v1/gates", schema::<GatesBody>()),
        ("/api/v1/gates/default/check?node=1", schema::<CheckBody>()),
        ("/nowhere", schema::<ProblemBody<'static>>()),
    ];
    let views = [
        open(),
        closed(),
        unknown(),
        View::new(what),
        View::new(taken()),
        just_started(),
        View::new(ViewParts {
            valid_until: START.mono.minus(Duration::from_secs(1)),
            ..bare.clone()
        }),
    ];
    for view in views {
        let served = serve(view).await;
        for (target, schema) in &schemas {
            let mut body = served.get(target).await.json();
            let errors: Vec<String> = schema.iter_errors(&body).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{target}: {errors:?}\n{body}");
            body["surprise"] = true.into();
            assert!(!schema.is_valid(&body), "{target} allows anything");
        }
    }
}
