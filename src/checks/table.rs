//! temporary
use super::finding::Judged;
use super::reason::Reason;
use crate::evidence::ids::NodeId;
use crate::evidence::snapshot::Snapshot;
use std::collections::BTreeMap;
/// row
#[derive(Debug)]
pub struct CheckRow {
    /// id
    pub id: &'static str,
    /// t
    pub title: &'static str,
    /// r
    pub reasons: &'static [Reason],
}
/// e
#[derive(Debug)]
pub struct Evaluation {
    /// rows
    pub rows: Vec<(&'static CheckRow, Judged)>,
    /// n
    pub nodes: BTreeMap<NodeId, Judged>,
    /// p
    pub progress_proven: bool,
}
/// e
pub fn evaluate(_s: &Snapshot<'_>) -> Evaluation {
    Evaluation {
        rows: vec![],
        nodes: BTreeMap::new(),
        progress_proven: false,
    }
}
