//! The thin Kafka client: typed questions to one node over one connection, and rounds of
//! questions over several.
//!
//! Requests are encoded with the `kafka-protocol` crate; answers are decoded by our own bounded
//! reader ([`reader`], [`decode`]) and become the facts of [`crate::evidence`] in [`facts`]. Why not a
//! ready-made client: DESIGN 4.2.
//!
//! ```text
//! Connection::open(&dyn Dial, &Address, &ConnectionSettings) -> Result<Connection, SourceFailure>
//!   .closed() -> impl Future<Output = SourceFailure> + Send + 'static    resolves when it ends
//!   .failure() -> Option<SourceFailure>                                  why it has ended
//!   .throttled() -> Option<Duration>       .listener() -> ListenerKind   .release() -> Release
//!   .lifetime() -> Option<Lifetime>        when its SASL session is to be replaced, and over
//!   .versions() -> &ApiVersions            .address() -> &Address
//! every question is `async (&self, .., deadline: Duration) -> Result<Answer<T>, SourceFailure>`
//! with Answer { facts: T, throttle: Duration, took: Duration }:
//!   .api_versions()                    ApiVersions
//!   .link(identity)                    LinkFacts           ApiVersions asked anew
//!   .describe_cluster()                ClusterFacts        brokers' listeners
//!   .describe_controllers()            ControllersAnswer   controllers' listeners, 3.7 and up
//!   .metadata()                        MetadataAnswer { table, brokers, cluster_id, controller }
//!   .quorum()                          QuorumFacts
//!   .moves()                           Moves
//!   .node_configs(node)                NodeConfigs         WrongNode from any other node
//!   .topic_configs(&[&str])            TopicConfigs
//!   .log_dirs()                        LogDirFacts
//!     .list_offsets(AskAs, &[AskedPartition])   Vec<Known<i64>>, in the order asked
//!   .find_coordinators(&[&GroupId])            Vec<Known<NodeId>>, in the order asked
//!   .fetch_commits(&[&GroupId])                Vec<Known<Vec<Commit>>>, in the order asked
//! identity (no Answer around it):
//!   .prove_node(node)                  Result<Identity, SourceFailure>
//!   .cluster_id()                      Result<Known<ClusterId>, SourceFailure>
//!   .prove_cluster(&ClusterId)         Result<Known<ClusterId>, SourceFailure>
//! rounds, over `Connections` = BTreeMap<NodeId, Arc<Connection>>:
//!   log_end_round(&PartitionTable, &Connections, RoundTimes)
//!       -> BTreeMap<NodeId, Result<LogEndFacts, SourceFailure>>
//!   group_round(&BTreeSet<GroupId>, &PartitionTable, &Connections, deadline)
//!       -> Result<GroupTable, SourceFailure>
//! ```
//!
//! Connections are shared as `Arc<Connection>`; several questions may be under way at once and
//! are answered in order. A late, wrong or oversized answer ends the connection for everybody.
//! After the end every question fails at once with the reason; open a new connection.

pub mod address;
mod answers;
pub mod connection;
pub mod decode;
pub mod encode;
pub mod errors;
pub mod facts;
pub mod groups;
mod identity;
pub mod log_ends;
pub mod questions;
pub mod reader;
pub mod release;
pub mod rights;
mod rounds;
pub mod sasl;
mod secure;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
pub mod transport;
pub mod versions;
mod wire;

pub use address::{Address, AddressMap, BadAddress};
pub use answers::{Commit, offsets_in_order};
pub use connection::{Answer, Connection};
pub use encode::{AskAs, AskedPartition};
pub use facts::{ControllersAnswer, MetadataAnswer};
pub use groups::group_round;
pub use log_ends::{RoundTimes, log_end_round};
pub use questions::NODE_CONFIG_KEYS;
pub use rounds::Connections;
pub use sasl::{BadExtensions, Credentials, Extensions, Login};
pub use secure::TlsDial;
pub use settings::{ConnectionSettings, Lifetime};
pub use transport::{BoxFuture, BoxedStream, Dial, Stream, TcpDial};
