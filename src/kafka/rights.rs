//! The rights that the gate needs at Kafka's authorizer, and which one is missing.
//!
//! Tried with the real `StandardAuthorizer` and `AclAuthorizer` by `lab prove security`. ApiVersions
//! and DescribeCluster need none.

use std::fmt;

use serde::{Serialize, Serializer};

use super::errors::{
    CLUSTER_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED, TOPIC_AUTHORIZATION_FAILED,
};
use super::versions::{
    Api, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS, DESCRIBE_QUORUM, FIND_COORDINATOR, LIST_MOVES,
    LIST_OFFSETS, METADATA, OFFSET_FETCH,
};

/// One right: an operation on a kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Kafka's name of the operation.
    pub operation: &'static str,
    /// The resource.
    pub resource: Resource,
    /// What is asked with it.
    pub apis: &'static [Api],
    /// What the gate cannot know without it.
    pub lost: &'static str,
}

/// What a right is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The cluster.
    Cluster,
    /// Topics; the gate needs all of them, those to come as well.
    Topic,
    /// Consumer groups that are watched.
    Group,
}

impl Resource {
    /// As `kafka-acls` takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster kafka-cluster",
            Self::Topic => "Topic *",
            Self::Group => "Group *",
        }
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.operation, self.resource.as_str())
    }
}

/// What each broker hosts, the quorum, reassignments.
pub const CLUSTER_DESCRIBE: Right = Right {
    operation: "Describe",
    resource: Resource::Cluster,
    apis: &[DESCRIBE_LOG_DIRS, LIST_MOVES, DESCRIBE_QUORUM],
    lost: "what each broker hosts, the quorum, reassignments",
};
/// Nodes' own configuration.
pub const CLUSTER_CONFIGS: Right = Right {
    operation: "DescribeConfigs",
    resource: Resource::Cluster,
    apis: &[DESCRIBE_CONFIGS],
    lost: "who a node is, and its settings",
};
/// Topics and their replicas.
pub const TOPIC_DESCRIBE: Right = Right {
    operation: "Describe",
    resource: Resource::Topic,
    apis: &[METADATA, LIST_OFFSETS, OFFSET_FETCH],
    lost: "partitions, replicas and how far they are",
};
/// Topics' configuration.
pub const TOPIC_CONFIGS: Right = Right {
    operation: "DescribeConfigs",
    resource: Resource::Topic,
    apis: &[DESCRIBE_CONFIGS],
    lost: "min.insync.replicas of topics",
};
/// Groups that are watched.
pub const GROUP_DESCRIBE: Right = Right {
    operation: "Describe",
    resource: Resource::Group,
    apis: &[FIND_COORDINATOR, OFFSET_FETCH],
    lost: "the lag of the groups that are watched; needed for those only",
};

/// The least that the gate needs: it only ever looks.
pub const RIGHTS: [Right; 5] = [
    CLUSTER_DESCRIBE,
    CLUSTER_CONFIGS,
    TOPIC_DESCRIBE,
    TOPIC_CONFIGS,
    GROUP_DESCRIBE,
];

impl Right {
    /// The command that grants it to `User:USER`.
    pub fn grant(self, bootstrap: &str, user: &str) -> String {
        let on = match self.resource {
            Resource::Cluster => "--cluster",
            Resource::Topic => "--topic '*'",
            Resource::Group => "--group '*'",
        };
        let user = user.replace('\'', r"'\''");
        format!(
            "kafka-acls.sh --bootstrap-server {bootstrap} --add --allow-principal 'User:{user}' \
             --operation {} {on}",
            self.operation
        )
    }
}

/// The right that is missing when a question is answered with this error code.
pub fn missing(api: Api, code: i16) -> Option<Right> {
    let resource = match code {
        TOPIC_AUTHORIZATION_FAILED => Resource::Topic,
        GROUP_AUTHORIZATION_FAILED => Resource::Group,
        CLUSTER_AUTHORIZATION_FAILED => Resource::Cluster,
        _ => return None,
    };
    RIGHTS
        .into_iter()
        .find(|right| right.resource == resource && right.apis.contains(&api))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named() {
        let name = |api, code| missing(api, code).map(|right| right.to_string());
        assert_eq!(
            name(DESCRIBE_CONFIGS, CLUSTER_AUTHORIZATION_FAILED).as_deref(),
            Some("DescribeConfigs on Cluster kafka-cluster")
        );
        assert_eq!(
            name(LIST_OFFSETS, TOPIC_AUTHORIZATION_FAILED).as_deref(),
            Some("Describe on Topic *")
        );
        assert_eq!(name(METADATA, 0), None);
    }

    #[test]
    fn the_command_grants_just_that() {
        assert_eq!(
            TOPIC_CONFIGS.grant("b:9092", "o'gate"),
            r"kafka-acls.sh --bootstrap-server b:9092 --add --allow-principal 'User:o'\''gate' --operation DescribeConfigs --topic '*'"
        );
        let cluster = CLUSTER_DESCRIBE.grant("b:9092", "gate");
        assert!(
            cluster.ends_with("'User:gate' --operation Describe --cluster"),
            "{cluster}"
        );
    }

    #[test]
    fn the_docs_name_every_right() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
        let text = std::fs::read_to_string(docs).unwrap();
        for right in RIGHTS {
            let (operation, resource) = (right.operation, right.resource.as_str());
            let row = format!("| `{operation}` | `{resource}` |");
            assert!(text.contains(&row), "{row}");
        }
    }
}
