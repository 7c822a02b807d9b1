//! After a command that has failed. It may have ordered a stop that is still to come: where only the
//! connection to it was lost, a script goes on. So it is not said that it has finished, unless the gate
//! shows that every node of the lease has gone since "go".

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::time::sleep;

use super::signals::Signals;
use super::{Exec, Granted};
use crate::cli::answer::Raw;
use crate::cli::ask::targets;
use crate::cli::out::plain;
use crate::gate::lease::Action;

/// Between two looks. A judgement of before the start is over by the first.
const LOOK: Duration = Duration::from_secs(1);
/// How often to look: a restart shows once the new process's page has been read.
const LOOKS: usize = 5;
/// How long one answer may take: whoever has ended the command waits.
const ANSWER: Duration = Duration::from_secs(2);

/// The gate's document, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Document {
    gate: String,
    expired: bool,
    leases: Vec<Slot>,
    sources: Vec<Source>,
}

/// A lease in it.
#[derive(Debug, Deserialize)]
struct Slot {
    lease: u64,
    token: u64,
    nodes: Vec<i32>,
    gone: Vec<i32>,
    expires_at: String,
}

/// A source in it.
#[derive(Debug, Deserialize)]
struct Source {
    source: String,
    up: Option<bool>,
}

/// What the gate shows of our lease.
#[derive(Debug)]
struct Seen {
    /// Whether every node has gone.
    gone: bool,
    /// Until when it stands.
    expires_at: String,
}

impl Document {
    /// Whether every node of this lease has gone. Where no page tells start times, a connection that was
    /// lost for a moment counts as a node that went, and what took the connection to the command away may
    /// have taken the gate's as well.
    fn shows_gone(&self, slot: &Slot) -> bool {
        let has_page = |node: &i32| {
            let page = format!("jmx:{node}");
            let mut sources = self.sources.iter();
            sources.any(|it| it.source == page && it.up == Some(true))
        };
        let mut nodes = slot.nodes.iter();
        !slot.nodes.is_empty() && nodes.all(|node| slot.gone.contains(node) && has_page(node))
    }
}

impl Exec {
    /// Gives the lease back where its command can stop nothing any more; else says until when it stands.
    pub(super) async fn failed(&self, granted: Granted, code: u8, signals: &mut Signals) {
        let shown = tokio::select! {
            shown = self.look(granted) => shown,
            _ = signals.recv() => Err(String::from("a signal ended the look")),
        };
        let lease = granted.lease;
        match shown {
            Ok(seen) if seen.gone && self.shows_of_now(granted) => {
                self.say(&format!(
                    "the command ended with {code}; its nodes went, so lease {lease} is given back; the slot \
                     stays taken until they are proven back"
                ));
                self.give_back().await;
            }
            Ok(seen) => self.say_kept(lease, code, &format!("until {}", seen.expires_at)),
            Err(why) => {
                let until =
                    format!("until its time is over (what it stands at is not known: {why})");
                self.say_kept(lease, code, &until);
            }
        }
    }

    /// Whether a node that is shown to have gone has gone since this run's "go". One that is repaired was
    /// out before; and where another run was told "go" as well, its command may still be to come.
    fn shows_of_now(&self, granted: Granted) -> bool {
        let given = self.given().is_some_and(|given| given.granted == granted);
        given && self.args.action == Action::Restart
    }

    /// Looks until every node has gone, for some seconds.
    async fn look(&self, granted: Granted) -> Result<Seen, String> {
        let looks = if self.shows_of_now(granted) { LOOKS } else { 1 };
        let mut shown = Err(String::new());
        for _ in 0..looks {
            sleep(LOOK).await;
            shown = self.document(granted).await;
            if shown.as_ref().is_ok_and(|seen| seen.gone) {
                break;
            }
        }
        shown
    }

    async fn document(&self, granted: Granted) -> Result<Seen, String> {
        let gate = self.asked.gate.as_str();
        let sent = self.client.send(Method::GET, gate, &[], &[], ANSWER);
        read(gate, granted, &sent.await?)
    }

    fn say_kept(&self, lease: u64, code: u8, until: &str) {
        self.say(&plain(&format!(
            "the command ended with {code} and may have left a stop that is still to come: lease {lease} is NOT \
             given back and stands {until}"
        )));
        self.say(&plain(&format!(
            "once nothing goes on there any more: {}",
            self.by_hand()
        )));
    }

    /// The command that says what was not said.
    fn by_hand(&self) -> String {
        let of = [
            ("url", self.args.whom.url.to_string()),
            ("gate", self.asked.gate.to_string()),
        ];
        let owner = [("owner", self.owner.clone())];
        let flags = of.into_iter().chain(targets(&self.asked)).chain(owner);
        let flags = flags.map(|(flag, value)| format!("--{flag} {}", quoted(&value)));
        let words: Vec<String> = [String::from("upgrade-gate leave")]
            .into_iter()
            .chain(flags)
            .collect();
        words.join(" ")
    }
}

/// The lease, in an answer that can be believed.
fn read(gate: &str, granted: Granted, raw: &Raw) -> Result<Seen, String> {
    if raw.status != 200 || raw.cached {
        return Err(format!(
            "HTTP {} in place of the gate's document",
            raw.status
        ));
    }
    let document: Document = serde_json::from_slice(&raw.body)
        .map_err(|error| format!("a body that is no gate's document: {error}"))?;
    if document.gate != gate || document.expired {
        return Err(String::from(
            "another gate's document, or a judgement that is too old",
        ));
    }
    let ours = |slot: &&Slot| slot.lease == granted.lease && slot.token == granted.token;
    let slot = document.leases.iter().find(ours);
    let slot = slot.ok_or_else(|| String::from("the gate shows it no more"))?;
    Ok(Seen {
        gone: document.shows_gone(slot),
        expires_at: slot.expires_at.clone(),
    })
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return String::from(word);
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: Granted = Granted { lease: 3, token: 7 };

    /// A document with this lease of 1 and 101: which have gone, and whose page is read.
    fn shown(gate: &str, expired: bool, [lease, token]: [u64; 2], gone: &[i32], up: bool) -> Raw {
        let slot = json!({
            "lease": lease, "token": token, "owner": "me", "nodes": [1, 101], "gone": gone,
            "expires_at": "T",
        });
        let sources = json!([
            {"source": "kafka:1", "up": true},
            {"source": "jmx:1", "up": true},
            {"source": "jmx:101", "up": up},
        ]);
        let body = json!({"gate": gate, "expired": expired, "leases": [slot], "sources": sources});
        Raw {
            status: 200,
            body: body.to_string().into_bytes(),
            ..Raw::default()
        }
    }

    #[test]
    fn only_every_node_of_this_lease_in_a_judgement_of_now_has_gone() {
        let is_gone = |raw: &Raw| read("default", OURS, raw).is_ok_and(|seen| seen.gone);
        let both = &[1, 101];
        let whole = shown("default", false, [3, 7], both, true);
        assert!(is_gone(&whole));
        for bad in [
            shown("default", false, [3, 7], &[1], true),
            shown("default", false, [3, 7], &[], true),
            shown("default", false, [3, 7], both, false),
            shown("default", false, [3, 8], both, true),
            shown("default", false, [4, 7], both, true),
            shown("default", true, [3, 7], both, true),
            shown("other", false, [3, 7], both, true),
            Raw {
                cached: true,
                ..whole.clone()
            },
            Raw {
                status: 503,
                ..whole.clone()
            },
            Raw {
                body: b"<html>".to_vec(),
                ..whole
            },
        ] {
            assert!(!is_gone(&bad), "{bad:?}");
        }
    }

    #[test]
    fn a_word_for_a_shell_stays_one() {
        for (word, wanted) in [
            ("ci@host:42", "ci@host:42"),
            ("roll 47", "'roll 47'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }
}
