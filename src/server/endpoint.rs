//! Every endpoint there is, in one table: its path, its methods, and the right it needs. Routing,
//! authorisation, the OpenAPI document and the test of rights over all endpoints come from here.

use crate::rights::Right;

/// What stands in the table about one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The methods it answers.
    pub methods: &'static [&'static str],
    /// Its path, with `{gate}`, `{lease}` and `{node}` where names stand.
    pub path: &'static str,
    /// The right it needs once there is authentication; `None`: nobody is asked who they are.
    pub right: Option<Right>,
    /// What it does, in a few words.
    pub summary: &'static str,
}

macro_rules! endpoints {
    ($($name:ident, $methods:expr, $path:literal, $right:expr, $summary:literal;)+) => {
        /// One thing that can be asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Endpoint {
            $(#[doc = $summary] $name,)+
        }

        impl Endpoint {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What the table says.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        methods: $methods,
                        path: $path,
                        right: $right,
                        summary: $summary,
                    },)+
                }
            }

            /// Its name in this program, and its `operationId` in the OpenAPI document.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

const READS: &[&str] = &["GET", "HEAD"];
// With POST, because then no other path of this server answers 2xx to the same request.
const ASKS: &[&str] = &["GET", "HEAD", "POST"];
// Never GET or HEAD: what follows links must not take a lease.
const POST: &[&str] = &["POST"];
const DELETE: &[&str] = &["DELETE"];
const OPEN: Option<Right> = None;
const READ: Option<Right> = Some(Right::Read);
const LEASE: Option<Right> = Some(Right::Lease);
const ADMIN: Option<Right> = Some(Right::Admin);

endpoints! {
    Page, READS, "/", READ, "The page for people.";
    Metrics, READS, "/metrics", READ, "Metrics for Prometheus.";
    // Probes of orchestrators and load balancers have no secrets, and learn nothing else here.
    Healthy, READS, "/-/healthy", OPEN, "Whether this process answers.";
    Ready, READS, "/-/ready", OPEN, "Whether every gate has judged and the process is not ending.";
    Reload, &["POST", "PUT"], "/-/reload", ADMIN, "Loads the configuration anew.";
    OpenApi, READS, "/api/v1/openapi.json", READ, "This description of the API.";
    Gates, READS, "/api/v1/gates", READ, "Every gate's verdict.";
    Document, READS, "/api/v1/gates/{gate}", READ, "Everything a gate says; 200 whatever it says.";
    Check, ASKS, "/api/v1/gates/{gate}/check", READ, "The verdict by status: 200 only when open.";
    Plan, READS, "/api/v1/gates/{gate}/plan", READ, "What each node may do, and a good order.";
    Leases, READS, "/api/v1/gates/{gate}/leases", READ, "Leases and holds.";
    Enter, POST, "/api/v1/gates/{gate}/enter", LEASE, "Takes nodes: 200 is go.";
    Leave, POST, "/api/v1/gates/{gate}/leave", LEASE, "Gives nodes back: 200 is proven back.";
    Renew, POST, "/api/v1/gates/{gate}/leases/{lease}/renew", LEASE, "Moves a lease's end.";
    Break, DELETE, "/api/v1/gates/{gate}/leases/{lease}", ADMIN, "Ends a lease by hand.";
    // A hold can replace one that lasts longer, so it is not merely restrictive.
    Hold, &["PUT"], "/api/v1/gates/{gate}/hold", ADMIN, "Closes the gate, or a node, by hand.";
    Lift, DELETE, "/api/v1/gates/{gate}/hold", ADMIN, "Lifts a hold.";
    Retire, DELETE, "/api/v1/gates/{gate}/nodes/{node}", ADMIN, "A node is gone for good.";
    History, READS, "/api/v1/gates/{gate}/history", READ, "What was decided, and when.";
}

impl Endpoint {
    /// Whether it changes something: everything that needs more than to read.
    pub fn changes(self) -> bool {
        self.row().right > READ
    }

    /// Whether it answers this method.
    pub fn answers(self, method: &str) -> bool {
        self.row().methods.contains(&method)
    }
}
