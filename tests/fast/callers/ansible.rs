//! The playbook of the recipe: what its tasks ask again, and what they take for "go". `until` takes no
//! notice of `failed`, so that what is not to be asked again has to be named there.

use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/recipes/ansible.md");

/// The tasks that ask the gate.
fn asking() -> Vec<Value> {
    let (_, block) = PAGE.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let plays: Value = yaml_serde::from_str(block).unwrap();
    let tasks = plays[0]["tasks"].as_array().unwrap();
    let asks = |task: &&Value| task["ansible.builtin.uri"].is_object();
    tasks.iter().filter(asks).cloned().collect()
}

#[test]
fn a_closed_gate_is_asked_again_and_a_wrong_token_is_told_at_once() {
    let tasks = asking();
    assert_eq!(tasks.len(), 2);
    for task in tasks {
        let name = task["register"].as_str().unwrap();
        let until = task["until"].as_str().unwrap();
        let again = until.strip_prefix(&format!("{name}.status not in "));
        let again: Vec<i32> = serde_json::from_str(again.unwrap()).unwrap();
        for waits in [-1, 502, 503, 504] {
            assert!(again.contains(&waits), "{until}");
        }
        for tells in [200, 400, 401, 403, 404, 409] {
            assert!(!again.contains(&tells), "{until}");
        }
        let goes_on = format!("{name}.status == 200 and ({name}.json.open | default(false))");
        let fails = format!("{name}.status != 200 or not ({name}.json.open | default(false))");
        assert_eq!(task["failed_when"], fails, "goes on only where {goes_on}");
        assert!(task["retries"].as_u64() > Some(3) && task["delay"].is_u64());
    }
}
