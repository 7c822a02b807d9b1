//! The jobs of Rundeck's HTTP step, read from their page and run as Rundeck runs them: a job ends at
//! its first step that fails, and a retry begins with its first step again.

use std::net::SocketAddr;

use serde_json::Value;
use upgrade_gate::gate::question::Command;
use upgrade_gate::gate::state::State;

use super::table::{Caller, RECIPES};
use super::{go, proven_back, says};
use crate::served::{Served, open, serve};

const PAGE: &str = include_str!("../../../docs/recipes/rundeck.md");
const GATE: &str = "https://gate.example.org:10190";

#[derive(Clone, Debug)]
struct Job {
    retries: usize,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The HTTP step, and what it asks for.
    Asks(String),
    Restarts,
}

/// The page's jobs, in their order.
fn jobs() -> Vec<Job> {
    let (_, block) = PAGE.split_once("```yaml\n- name: ").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let jobs: Value = yaml_serde::from_str(&format!("- name: {block}")).unwrap();
    jobs.as_array().unwrap().iter().map(job).collect()
}

fn job(job: &Value) -> Job {
    let sequence = &job["sequence"];
    assert_eq!(sequence["keepgoing"], false);
    let retries = job["retry"]["retry"].as_str();
    let steps = sequence["commands"].as_array().unwrap().iter();
    Job {
        retries: retries.map_or(0, |retries| retries.parse().unwrap()),
        steps: steps.map(step).collect(),
    }
}

fn step(step: &Value) -> Step {
    let asks = &step["configuration"];
    if asks.is_null() {
        assert!(step["exec"].as_str().unwrap().contains("restart"));
        return Step::Restarts;
    }
    // As the table of callers has it.
    assert_eq!(asks["method"], "POST");
    assert_eq!(
        (&asks["checkResponseCode"], &asks["responseCode"]),
        (&Value::from("true"), &Value::from("200"))
    );
    let headers = asks["headers"].as_str().unwrap();
    assert!(headers.contains("X-Upgrade-Gate: 1\n"));
    let url = asks["remoteUrl"].as_str().unwrap();
    let target = url.strip_prefix(GATE).unwrap();
    let target = target.replace("${option.node}", "2");
    Step::Asks(target.replace("${option.roll}", "4711"))
}

/// A gate whose nodes are up and well, so that `enter` is "go", and that has no proof yet when it is
/// first asked for the return.
async fn without_proof_at_first() -> SocketAddr {
    let mut served: Served = serve(open()).await;
    let address = served.address;
    tokio::spawn(async move {
        let mut asked_back = false;
        while let Some(ask) = served.asks.recv().await {
            let reply = match ask.command {
                Command::Enter(_) => go(),
                Command::Leave { .. } if asked_back => proven_back(),
                Command::Leave { .. } => {
                    asked_back = true;
                    says(State::Closed)
                }
                Command::Decide(_)
                | Command::DecideRepair(_)
                | Command::DecideEach(_)
                | Command::Change(_) => {
                    panic!("{:?} of a recipe", ask.command)
                }
            };
            let _ = ask.reply.send(reply);
        }
    });
    address
}

/// Runs a job with its retries: whether it ended well, and how often a node was restarted.
async fn run(job: &Job, caller: &Caller, address: SocketAddr) -> (bool, usize) {
    let mut restarts = 0;
    for _ in 0..=job.retries {
        let mut well = true;
        for step in &job.steps {
            match step {
                Step::Restarts => restarts += 1,
                Step::Asks(target) => {
                    well = (caller.goes_on)(&caller.ask(address, target).await);
                }
            }
            if !well {
                break;
            }
        }
        if well {
            return (true, restarts);
        }
    }
    (false, restarts)
}

fn caller() -> &'static Caller {
    let mut callers = RECIPES.iter();
    let ours = callers.find(|caller| caller.name.starts_with("Rundeck HTTP step"));
    ours.unwrap()
}

#[tokio::test]
async fn a_proof_that_takes_its_time_restarts_nothing_again() {
    let jobs = jobs();
    let address = without_proof_at_first().await;
    let mut restarts = 0;
    for job in &jobs {
        let (well, more) = run(job, caller(), address).await;
        assert!(well, "{job:?}");
        restarts += more;
    }
    assert_eq!(restarts, 1);
    for job in &jobs {
        let changes = job.steps.contains(&Step::Restarts);
        assert_eq!(changes, job.retries == 0, "{job:?}");
        // Whoever restarts has been told "go" just before.
        assert!(!changes || matches!(&job.steps[0], Step::Asks(what) if what.contains("/enter?")));
    }
}

/// What the page warns of.
#[tokio::test]
async fn one_job_with_a_retry_would_restart_it_twice() {
    let jobs = jobs();
    let steps = jobs.iter().flat_map(|job| job.steps.clone());
    let one = Job {
        retries: 60,
        steps: steps.collect(),
    };
    let address = without_proof_at_first().await;
    assert_eq!(run(&one, caller(), address).await, (true, 2));
}
