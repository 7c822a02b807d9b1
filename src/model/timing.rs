//! Durations that the lab measured, and those that are assumed: fields of which the text below says
//! nothing are assumed.

/// How long things take, in milliseconds, as (shortest, longest).
///
/// Traces in `tests/fixtures/traces` (3.9.2) hold `exporter` to `open`, `leave` to `exit` and
/// `fence_check` to what was seen. Of the `Default`, `exporter`, `leave`, `left`, `exit`,
/// `controller_exit`, `controller_load`, `election`, `handover` and `register_retry` are edges that
/// the lab saw (kafka-lab.md, sections 3 to 5). The parts of a start (`boot` to `open`,
/// `controller_series`) are fitted so that the sums come near what the lab saw; `recovery`,
/// `publish`, `fetch_lag`, `catch_up_rate` and `coordinator_load` have no measurement yet.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Spawn of the process to the exporter's HTTP server.
    pub exporter: (u64, u64),
    /// Spawn to the first Kafka beans (BrokerState 1).
    pub boot: (u64, u64),
    /// First beans to the first registration request.
    pub register: (u64, u64),
    /// Time between registration requests after DUPLICATE_BROKER_REGISTRATION.
    pub register_retry: u64,
    /// Registration to "caught up with the metadata log".
    pub catch_up: (u64, u64),
    /// Caught up to unfenced (the next heartbeats).
    pub unfence: (u64, u64),
    /// Caught up to listeners that answer (measured on 3.9.2: before the broker is unfenced).
    pub open: (u64, u64),
    /// Log recovery after an unclean stop.
    pub recovery: (u64, u64),
    /// SIGTERM to the controller moving leaders and shrinking ISRs.
    pub leave: (u64, u64),
    /// SIGTERM to fenced, listeners closed.
    pub left: (u64, u64),
    /// From the controller's yes to fenced, listeners closed, where the broker led nothing: it is
    /// let go in the same heartbeat instead of the next one.
    pub left_idle: (u64, u64),
    /// SIGTERM to exit of a broker.
    pub exit: (u64, u64),
    /// SIGTERM to exit of a controller.
    pub controller_exit: (u64, u64),
    /// SIGTERM to the end of the Kafka series on the JMX page.
    pub series_gone: u64,
    /// A controller's boot to its first KafkaController series.
    pub controller_series: (u64, u64),
    /// First KafkaController series (all 0) to loaded values.
    pub controller_load: (u64, u64),
    /// Loss of the active controller to the next one.
    pub election: (u64, u64),
    /// The same when it resigns on SIGTERM.
    pub handover: (u64, u64),
    /// Commit in the metadata log to a node's published image.
    pub publish: (u64, u64),
    /// End of a session to the controller's check that sees it.
    pub fence_check: (u64, u64),
    /// A follower that is in sync reads this far behind its leader.
    pub fetch_lag: u64,
    /// A follower's catch-up speed, records per second and partition.
    pub catch_up_rate: u64,
    /// A new group coordinator loads its partition this long.
    pub coordinator_load: u64,
    /// Records per second that a broker reads on top of `recovery` after an unclean stop.
    pub recovery_rate: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            exporter: (400, 1_200),
            boot: (1_300, 1_900),
            register: (200, 900),
            register_retry: 2_000,
            catch_up: (100, 500),
            unfence: (50, 700),
            open: (20, 80),
            recovery: (300, 1_500),
            leave: (60, 600),
            left: (2_100, 2_500),
            left_idle: (0, 60),
            exit: (2_800, 3_900),
            controller_exit: (300, 700),
            series_gone: 100,
            controller_series: (1_500, 2_200),
            controller_load: (500, 1_000),
            election: (1_000, 1_800),
            handover: (150, 250),
            publish: (5, 60),
            fence_check: (100, 1_000),
            fetch_lag: 5,
            catch_up_rate: 20_000,
            coordinator_load: 500,
            recovery_rate: 20_000_000,
        }
    }
}

impl Timing {
    /// What the lab saw in ZooKeeper mode (kafka-lab.md, sections 5 and 6): a start takes 2.8 to
    /// 3.4 s, an exit 0.8 to 1.6 s, another controller is there after 0.06 to 1.06 s.
    #[must_use]
    pub fn zookeeper() -> Self {
        Self {
            register: (900, 1_100),
            catch_up: (200, 300),
            unfence: (50, 100),
            leave: (60, 480),
            left: (700, 900),
            exit: (900, 1_600),
            handover: (60, 900),
            fence_check: (0, 1_500),
            ..Self::default()
        }
    }
}
