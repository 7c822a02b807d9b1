//! The proofs without Kafka: the simulation, its curve, and fuzzing.

use serde_json::Value;

use crate::proofs::{at_most, is_of, measured, number, proof};

/// The proofs of this commit have neither the count by D as asked nor the rows of safe time that is in
/// no needless wait.
const BEFORE_ALL_WAITS_WERE_TOLD: &str = "655cfb59e090";
/// The proof of this commit has only the first three targets.
const BEFORE_EVERY_TARGET_WAS_FUZZED: &str = "b939d3376915";
/// Pages and answers of this commit were at most 512 and 256 bytes long.
const BEFORE_LONG_INPUTS: &str = "5f0ad05a76f8";

/// The rules in use today, by issue 4: at our interval and at their own; sleeps have none.
const RULES: [&str; 15] = [
    "sum(URP) == 0, every 5 s",
    "sum(URP) == 0, every 30 s",
    "PromQL sum(URP) == 0, scraped every 5 s",
    "PromQL sum(URP) == 0, scraped every 15 s",
    "URP 0 twelve times, every 5 s",
    "URP 0 twelve times, every 10 s",
    "every ISR full, every 0.5 s",
    "every ISR full, every 10 s",
    "min ISR without the broker, every 0.5 s",
    "min ISR without the broker, every 10 s",
    "broker up and running, every 5 s",
    "broker up and running, every 10 s",
    "sleep 30 s",
    "sleep 120 s",
    "sleep 300 s",
];

/// Ways to break a gate.
const SABOTAGES: [&str; 14] = [
    "NoWindow",
    "LastKnown",
    "LastPageAndLink",
    "MissingAsZero",
    "StaleAllowed",
    "UnionOfIsrs",
    "OneTable",
    "IdentityUnchecked",
    "NodesFromMetadata",
    "WallClock",
    "NoExpiry",
    "OwnGrants",
    "LeaveIsProof",
    "OpenDebounce",
];

#[test]
fn every_target_was_fuzzed_at_length_and_nothing_is_open() {
    let Some(proof) = proof("fuzz") else { return };
    for name in ["jmx", "kafka", "server", "config", "scram", "token"] {
        let target = &proof["targets"][name];
        if target.is_null() && is_of(&proof, BEFORE_EVERY_TARGET_WAS_FUZZED) {
            println!("{name} is not fuzzed at length yet: docs/lab.md says how");
            continue;
        }
        assert!(!target.is_null(), "{name} is not fuzzed at length");
        let reads_much = ["jmx", "kafka"].contains(&name);
        if reads_much && target["commit"] != BEFORE_LONG_INPUTS {
            assert!(number(target, "/longest_input") >= 4096.0, "{name}");
        }
        assert!(
            target["commit"]
                .as_str()
                .is_some_and(|commit| !commit.is_empty()),
            "{name}"
        );
        assert!(number(target, "/runs") >= 10e6, "{name}: too few runs");
        assert_eq!(number(target, "/findings"), 0.0, "{name}");
        assert!(
            number(target, "/seconds") > 0.0 && number(target, "/corpus") > 50.0,
            "{name}"
        );
    }
}

#[test]
fn ten_thousand_trials_without_a_false_open() {
    let Some(proof) = proof("simulate") else {
        return;
    };
    assert_eq!(proof["depth"].as_str(), Some("machine"));
    assert!(number(&proof, "/trials") >= 10_000.0);
    assert_eq!(number(&proof, "/false_opens"), 0.0);
    // Who never opens never lies.
    assert!(number(&proof, "/opened") >= 0.9 * number(&proof, "/trials"));
    let seconds = number(&proof, "/seconds");
    measured(
        "seconds for it",
        seconds,
        |limit| seconds <= limit,
        600.0,
        600.0,
    );
    waits_are_short(&proof);
    if !is_of(&proof, BEFORE_ALL_WAITS_WERE_TOLD) {
        every_safe_time_is_told(&proof);
        lies_by_the_table_as_asked_are_told(&proof);
    }
    rules_in_use_today_are_judged(&proof);
    let ours = |table: &str| {
        let mut rows = proof[table].as_array().expect("a table").iter();
        rows.find(|row| row["name"] == "upgrade-gate")
            .cloned()
            .unwrap()
    };
    // Per mode: what each zero rests on is beside it.
    let modes = proof["modes"].as_array().expect("modes");
    assert_eq!(modes.len(), 3);
    for mode in modes {
        assert_eq!(number(mode, "/false_opens"), 0.0, "{mode:#}");
        assert!(number(mode, "/trials") >= 300.0, "{mode:#}");
        let of_pages = mode["mode"] == "jmx";
        let allowed = number(mode, "/allowed_seconds/1");
        assert_eq!(allowed, if of_pages { 20.0 } else { 2.0 }, "{mode:#}");
    }
    assert_eq!(number(&ours("rivals"), "/false_opens"), 0.0);
    assert_eq!(number(&ours("rival_rolls"), "/harmful"), 0.0);
}

/// Needless waiting, at either depth: in all, by kind, by mode and by node.
fn waits_are_short(proof: &Value) {
    assert!(number(proof, "/needless/count") > 0.0);
    let (median, p99) = (
        "s of needless waiting, median",
        "s of needless waiting on stock settings, 99 of 100",
    );
    at_most(median, number(proof, "/needless/median"), 10.0, 10.0);
    at_most(p99, number(proof, "/needless_on_stock/p99"), 60.0, 60.0);
    let told_on_stock = !is_of(proof, BEFORE_ALL_WAITS_WERE_TOLD);
    let on_stock = if told_on_stock {
        "/needless_on_stock/p99"
    } else {
        "/needless/p99"
    };
    // The same by kind: where nobody throttles the gate and no node is far away.
    let kinds = proof["kinds"].as_array().expect("kinds").iter();
    for row in kinds.filter(|row| row["kind"] != "throttled" && row["kind"] != "distant") {
        let kind = row["kind"].as_str().expect("a kind");
        let (half, most) = (number(row, "/needless/median"), number(row, on_stock));
        at_most(&format!("{kind}: {median}"), half, 10.0, 10.0);
        at_most(&format!("{kind}: {p99}"), most, 60.0, 60.0);
    }
    let modes = proof["modes"].as_array().expect("modes");
    let names: Vec<_> = modes.iter().map(|row| row["mode"].as_str()).collect();
    assert_eq!(names, [Some("kafka+jmx"), Some("kafka"), Some("jmx")]);
    for row in modes {
        let mode = row["mode"].as_str().expect("a mode");
        // Mode `jmx` misses what is aimed at: nothing proves there how far replicas are, so that the
        // whole window has to pass.
        let most = if mode == "jmx" {
            (60.0, 120.0)
        } else {
            (10.0, 60.0)
        };
        let half = number(row, "/needless/median");
        at_most(&format!("mode {mode}: {median}"), half, most.0, 10.0);
        let long = number(row, on_stock);
        at_most(&format!("mode {mode}: {p99}"), long, most.1, 60.0);
    }
    let node = number(proof, "/needless_per_node/p99");
    at_most(
        "s that a node of a roll waits, 99 of 100",
        node,
        120.0,
        120.0,
    );
}

/// Safe time that is in no needless wait has rows of its own: none is left out.
fn every_safe_time_is_told(proof: &Value) {
    let opened = number(proof, "/opened");
    assert_eq!(number(proof, "/before_first_open/count"), opened);
    for row in ["before_first_open", "cut_off_at_end"] {
        let (median, p99) = (
            number(proof, &format!("/{row}/median")),
            number(proof, &format!("/{row}/p99")),
        );
        println!("{row}: {median} s at the median, {p99} s for 99 of 100");
        assert!(median <= p99, "{row}");
    }
    assert!(number(proof, "/cut_off_at_end/count") <= number(proof, "/cut_off/count"));
    let never = proof["never_opened_and_safe"].as_array().expect("causes");
    let trials: f64 = never.iter().map(|row| number(row, "/trials")).sum();
    assert_eq!(trials, number(proof, "/trials") - opened);
    for row in never {
        assert!(number(row, "/safe_seconds") >= 0.0, "{row}");
    }
}

/// By 100 ms for a kill and 2 s for everything else, with what nothing shows: not zero, but told, with
/// why each is none by the oracle's own count.
fn lies_by_the_table_as_asked_are_told(proof: &Value) {
    let as_asked = &proof["as_asked"];
    assert_eq!(as_asked["allowed_seconds"], serde_json::json!([0.1, 2.0]));
    let modes = as_asked["by_mode"].as_array().expect("modes");
    let names: Vec<_> = modes.iter().map(|row| row["mode"].as_str()).collect();
    assert_eq!(names, [Some("kafka+jmx"), Some("kafka"), Some("jmx")]);
    for row in modes.iter().chain([as_asked]) {
        let of = |kind: &str| number(row, &format!("/kinds/{kind}/false_opens"));
        let kinds = ["counted", "hidden_truth", "silent_kill", "page", "over"];
        let sum: f64 = kinds.into_iter().map(of).sum();
        assert_eq!(number(row, "/false_opens"), sum, "{row:#}");
        assert!(number(row, "/seconds") >= 0.0);
        if row["mode"] == "kafka+jmx" || row["mode"] == "kafka" {
            assert_eq!(of("page"), 0.0, "only mode jmx has nothing but pages");
        }
    }
    // Whatever the oracle counts is among them.
    let counted = number(as_asked, "/kinds/counted/false_opens");
    assert_eq!(counted, number(proof, "/false_opens"));
    let by_mode: f64 = modes.iter().map(|row| number(row, "/false_opens")).sum();
    assert_eq!(by_mode, number(as_asked, "/false_opens"));
}

/// Every one by name, watched and as the one who says go, beside ours.
fn rules_in_use_today_are_judged(proof: &Value) {
    let row = |table: &str, name: &str| {
        let mut rows = proof[table].as_array().expect("a table of rivals").iter();
        let found = rows.find(|row| row["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{table}: no {name}"))
    };
    for table in ["rivals", "rival_rolls"] {
        for name in RULES.into_iter().chain(["upgrade-gate"]) {
            let row = row(table, name);
            assert!(number(&row, "/exposed_seconds") > 0.0, "{table}: {name}");
            assert!(
                number(&row, "/needless_seconds_per_node") > 0.0,
                "{table}: {name}"
            );
        }
    }
    for name in RULES {
        let watched = row("rivals", name);
        assert!(number(&watched, "/false_opens") > 0.0, "{name}");
        assert!(
            number(&watched, "/false_opens_per_1000_steps") > 0.0,
            "{name}"
        );
        // The same rolls for everybody.
        let (rolled, ours) = (row("rival_rolls", name), row("rival_rolls", "upgrade-gate"));
        assert_eq!(number(&rolled, "/rolls"), number(&ours, "/rolls"), "{name}");
    }
    // Twelve readings in a row are eleven intervals, at every node.
    for (name, least) in [
        ("URP 0 twelve times, every 5 s", 55.0),
        ("URP 0 twelve times, every 10 s", 110.0),
    ] {
        let rolled = row("rival_rolls", name);
        let waited = number(&rolled, "/waited_seconds_per_node");
        assert!(waited >= least, "{name}: {waited} s per node");
        // Little of that is time in which the next node could not have gone.
        let needless = number(&rolled, "/needless_seconds_per_node");
        assert!(
            needless <= waited && needless >= 0.8 * least,
            "{name}: {needless} s"
        );
    }
    roles_add_up(proof);
    // Ours with nothing but pages, by the D of the rules: told, not demanded.
    for table in ["rivals", "rival_rolls"] {
        let pages = row(table, "upgrade-gate, mode jmx");
        assert!(number(&pages, "/steps") > 100.0, "{table}");
        println!("{table}: {pages:#}");
    }
}

/// What was stopped is a broker or a controller: a rule about brokers is not charged with controllers
/// unseen.
fn roles_add_up(proof: &Value) {
    for table in ["rolls", "rival_rolls"] {
        for row in proof[table].as_array().expect("a table of rolls") {
            for what in ["steps", "harmful", "harmful_within_allowance"] {
                let of = |role: &str| number(row, &format!("/by_role/{role}/{what}"));
                let sum = of("broker") + of("controller");
                assert_eq!(sum, number(row, &format!("/{what}")), "{table}: {row:#}");
            }
            assert!(number(row, "/by_role/broker/steps") > 0.0, "{row:#}");
        }
    }
}

/// Each way to break a gate is noticed often enough, and not by trials in which everybody is wrong.
#[test]
fn every_broken_gate_is_caught() {
    let Some(proof) = proof("sabotages") else {
        return;
    };
    assert!(number(&proof, "/trials") <= 1_000.0);
    let rows = proof["sabotages"].as_array().expect("sabotages");
    let row = |name: &str, depth: &str| {
        let mut rows = rows.iter();
        let found = rows.find(|row| row["sabotage"] == name && row["depth"] == depth);
        found.unwrap_or_else(|| panic!("{name} is not tried at depth {depth}"))
    };
    // Its home is the collectors: with reports alone it shows less often.
    let least = |name| {
        if name == "IdentityUnchecked" {
            10.0
        } else {
            20.0
        }
    };
    let machine = SABOTAGES.map(|name| (row(name, "machine"), least(name)));
    let driven = ["NoExpiry", "IdentityUnchecked"].map(|name| (row(name, "drivers"), 5.0));
    for (row, least) in machine.into_iter().chain(driven) {
        assert!(number(row, "/caught") >= least, "{row:#}");
        assert!(number(row, "/trials") <= 1_000.0, "{row:#}");
        assert!(number(row, "/wrong_when_sound") <= least, "{row:#}");
        if row["depth"] == "machine" {
            let (trials, caught) = ("/ordinary/trials", "/ordinary/caught");
            assert_eq!(number(row, trials), number(&proof, "/trials"), "{row:#}");
            let name = &row["sabotage"];
            println!(
                "{name}: {} ordinary trials of {} catch it",
                number(row, caught),
                number(row, trials)
            );
        }
    }
}

#[test]
fn ten_thousand_trials_of_leases_without_a_false_grant() {
    let Some(proof) = proof("simulate-leases") else {
        return;
    };
    assert!(number(&proof, "/trials") >= 10_000.0);
    let grants = |what: &str| number(&proof, &format!("/grants/{what}"));
    assert!(grants("go") >= number(&proof, "/trials"));
    // Second slots are among them.
    assert!(grants("beside") > 0.0);
    for wrong in [
        "false_grants",
        "doubled",
        "lost",
        "old_tokens",
        "ended_early",
    ] {
        assert_eq!(grants(wrong), 0.0, "{wrong}");
    }
    // Owners who stop their nodes late, or have said "finished" by then, are among them.
    assert!(grants("late") > 100.0 && grants("left_early") > 100.0);
    // Every answer a store can give came at a write.
    for said in [
        "written",
        "lost",
        "refused",
        "unclear_and_there",
        "unclear_and_not_there",
    ] {
        assert!(grants(&format!("store_said/{said}")) > 100.0, "{said}");
    }
    assert_eq!(number(&proof, "/false_opens"), 0.0);
}

/// The same with the real collectors, engine and view, on the same model and by the same oracle.
#[test]
fn hundreds_of_trials_with_drivers_and_engine_without_a_false_open() {
    let Some(proof) = proof("simulate-drivers") else {
        return;
    };
    assert_eq!(proof["depth"].as_str(), Some("drivers"));
    assert!(number(&proof, "/trials") >= 300.0);
    assert_eq!(number(&proof, "/false_opens"), 0.0);
    assert!(number(&proof, "/opened") >= 0.9 * number(&proof, "/trials"));
    waits_are_short(&proof);
    if !is_of(&proof, BEFORE_ALL_WAITS_WERE_TOLD) {
        every_safe_time_is_told(&proof);
        lies_by_the_table_as_asked_are_told(&proof);
    }
    let rolls = proof["rolls"].as_array().expect("rolls");
    assert!(!rolls.is_empty());
    for roll in rolls {
        assert_eq!(number(roll, "/harmful"), 0.0, "{roll}");
    }
}

/// The shortest window is three times the smallest one without a false open.
#[test]
fn the_shortest_window_follows_from_its_curve() {
    let Some(proof) = proof("curve") else { return };
    let points = proof["points"].as_array().expect("points");
    // The others are for the blip and for the intervals.
    let usual = |point: &&Value| {
        let blip = upgrade_gate::evidence::policy::Policy::default().longest_blip;
        number(point, "/longest_blip_seconds") == blip.as_secs_f64()
            && point["intervals_percent"] == 100
    };
    let both = points
        .iter()
        .filter(usual)
        .filter(|point| point["shortest_window_seconds"] == point["leadership_quiet_seconds"]);
    let sound = both.clone().filter(|point| point["false_opens"] == 0);
    let sound: Vec<f64> = sound
        .map(|point| number(point, "/shortest_window_seconds"))
        .collect();
    let lies = both.filter(|point| point["false_opens"] != 0);
    let lies: Vec<f64> = lies
        .map(|point| number(point, "/shortest_window_seconds"))
        .collect();
    assert!(
        !lies.is_empty(),
        "a curve that shows where it begins to lie"
    );
    let smallest = sound.iter().copied().fold(f64::MAX, f64::min);
    assert!(lies.iter().all(|lie| *lie < smallest), "{lies:?} {sound:?}");
    let chosen = upgrade_gate::evidence::policy::SHORTEST_WINDOW.as_secs_f64();
    assert_eq!(chosen, 3.0 * smallest);
    // What is chosen of the others is among the points, and none of them lies.
    let with = |field: &str, value: u64| {
        let mut at = points.iter().filter(|point| {
            point[field] == value
                && number(point, "/shortest_window_seconds") == chosen
                && number(point, "/leadership_quiet_seconds") == chosen
        });
        at.next()
            .unwrap_or_else(|| panic!("no point with {field} {value}"))
    };
    for blip in [0, 2, 5, 10] {
        let point = with("longest_blip_seconds", blip);
        assert_eq!(point["false_opens"], 0, "{point:#}");
    }
    let waits = [50, 100, 200, 400].map(|percent| {
        let point = with("intervals_percent", percent);
        assert_eq!(point["false_opens"], 0, "{point:#}");
        number(point, "/needless_median_seconds")
    });
    // Asked more rarely it waits longer; twice as often it does not wait less by a second.
    assert!(waits.is_sorted() && waits[1] - waits[0] < 1.0, "{waits:?}");
}
