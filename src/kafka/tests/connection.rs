//! One connection: negotiation, deadlines, the death notice, and broken peers.

use std::future::Future;

use tokio::net::TcpSocket;
use tokio::time::{Instant, timeout};

use super::*;
use crate::evidence::facts::ListenerKind;
use crate::evidence::ids::{Release, Version};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("took too long")
}

#[tokio::test]
async fn the_best_common_version_of_api_versions_is_found() {
    for best in [4, 3, 2, 0] {
        let seen = Seen::default();
        let record = Arc::clone(&seen);
        let address = broker(move |ask| {
            record
                .lock()
                .unwrap()
                .push((ask.header.request_api_key, ask.version()));
            if ask.version() > best {
                let own = vec![api(ApiKey::ApiVersions, 0, best)];
                let refusal = ApiVersionsResponse::default()
                    .with_error_code(35)
                    .with_api_keys(own);
                return ask.answer_at(&refusal, 0);
            }
            let mut apis = all_apis();
            apis.retain(|row| row.api_key != 18);
            apis.push(api(ApiKey::ApiVersions, 0, best));
            let response = ApiVersionsResponse::default().with_api_keys(apis);
            ask.answer(&if best >= 3 {
                versions(response.api_keys)
            } else {
                response
            })
        })
        .await;
        let connection = open(&address).await.unwrap();
        assert_eq!(connection.listener(), ListenerKind::Broker);
        let newest = Release::Is(Version { major: 4, minor: 3 });
        assert_eq!(connection.release() == newest, best >= 3, "v{best}");
        let again = connection.api_versions(SOON).await.unwrap();
        assert_eq!(&again.facts, connection.versions());
        let asked: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|(_, version)| *version)
            .collect();
        let expected = if best == 4 {
            vec![4, 4]
        } else {
            vec![4, best, best]
        };
        assert_eq!(asked, expected);
    }
}

#[tokio::test]
async fn a_listener_without_metadata_is_a_controllers() {
    let address = broker(|ask| {
        let mut apis = all_apis();
        apis.retain(|row| row.api_key != 3);
        ask.answer(&versions(apis))
    })
    .await;
    let connection = open(&address).await.unwrap();
    assert_eq!(connection.listener(), ListenerKind::Controller);
    let failure = connection.metadata(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unsupported);
    assert!(failure.detail.contains("Metadata"), "{failure}");
    assert_eq!(connection.failure(), None);
}

/// The fastest death notice there is: it must not wait for the next question.
#[tokio::test]
async fn an_idle_connection_notices_its_end_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    for reset in [false, true] {
        let (kill, killed) = tokio::sync::oneshot::channel::<()>();
        let serve_one = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u32().await.unwrap();
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut frame).await.unwrap();
            let mut body = Bytes::from(frame);
            let header = decode_request_header_from_buffer(&mut body).unwrap();
            let Reply::Send(bytes) = (Ask {
                header,
                body,
                connection: 0,
            })
            .answer(&versions(all_apis())) else {
                unreachable!()
            };
            stream.write_all(&bytes).await.unwrap();
            killed.await.unwrap();
            if reset {
                stream.set_zero_linger().unwrap();
            }
            drop(stream);
            Instant::now()
        };
        let watch = async {
            let connection = open(&address).await.unwrap();
            let closed = connection.closed();
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(connection.failure(), None);
            kill.send(()).unwrap();
            let failure = soon(closed).await;
            let noticed = Instant::now();
            assert_eq!(failure.class, FailureClass::Closed, "{failure}");
            assert!(failure.detail.contains(&address.to_string()), "{failure}");
            assert_eq!(connection.failure(), Some(failure));
            noticed
        };
        let (dead, noticed) = tokio::join!(serve_one, watch);
        let after = noticed.saturating_duration_since(dead);
        assert!(
            after < Duration::from_millis(250),
            "noticed after {after:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_instead_of_answering_is_closed() {
    let piece = Reply::Send(vec![0, 0, 0, 9, 0]); // and silence after it
    let cases = [
        (Reply::Close, FailureClass::Closed),
        (Reply::Reset, FailureClass::Closed),
        (piece, FailureClass::Timeout),
    ];
    for (reply, class) in cases {
        let connection = connected(move |_| reply.clone()).await;
        let pending = connection.moves(Duration::from_millis(300));
        let failure = soon(pending).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert_eq!(soon(connection.closed()).await, failure);
    }
}

#[tokio::test]
async fn a_late_answer_ends_the_connection() {
    let connection = connected(|_| Reply::Nothing).await;
    let began = Instant::now();
    let failure = connection
        .moves(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert_eq!(soon(connection.closed()).await, failure);
    let next = soon(connection.api_versions(SOON)).await.unwrap_err();
    assert_eq!(next, failure, "what came later would be out of step");
}

#[tokio::test]
async fn an_answer_to_another_question_is_malformed() {
    let connection = connected(|ask| {
        let mut other = ask.clone();
        other.header.correlation_id += 1;
        other.answer(&kafka_protocol::messages::DescribeClusterResponse::default())
    })
    .await;
    let failure = connection.describe_cluster(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Malformed, "{failure}");
    assert!(connection.failure().is_some());
}

#[tokio::test]
async fn frames_that_cannot_be_are_refused_unread() {
    let cases: [(&[u8], FailureClass); 4] = [
        (
            &[0x7f, 0xff, 0xff, 0xff],
            FailureClass::TooLarge(Cap::FrameBytes),
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            FailureClass::TooLarge(Cap::FrameBytes),
        ),
        (&[0xff, 0xff, 0xff, 0xff], FailureClass::Malformed),
        (&[0, 0, 0, 2, 1, 1], FailureClass::Malformed),
    ];
    for (bytes, class) in cases {
        let address = broker(move |_| Reply::Send(bytes.to_vec())).await;
        let failure = soon(open(&address)).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
    }
}

#[tokio::test]
async fn bytes_left_over_in_an_answer_are_malformed() {
    let connection = connected(|ask| {
        let response = kafka_protocol::messages::ListPartitionReassignmentsResponse::default();
        let Reply::Send(mut bytes) = ask.answer(&response) else {
            unreachable!()
        };
        bytes.push(0);
        bytes[3] += 1;
        Reply::Send(bytes)
    })
    .await;
    let failure = connection.moves(SOON).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Malformed);
    assert!(failure.detail.contains("left over"), "{failure}");
}

#[tokio::test]
async fn questions_are_answered_in_order_and_a_dropped_one_harms_nobody() {
    let connection = connected(|ask| match ask.header.request_api_key {
        46 => ask.answer(&kafka_protocol::messages::ListPartitionReassignmentsResponse::default()),
        _ => ask.answer(&kafka_protocol::messages::MetadataResponse::default()),
    })
    .await;
    let dropped = timeout(Duration::ZERO, connection.metadata(SOON)).await;
    drop(dropped);
    let (metadata, moves) = tokio::join!(connection.metadata(SOON), connection.moves(SOON));
    assert!(metadata.unwrap().facts.table.is_empty());
    assert!(moves.unwrap().facts.list.is_empty());
    assert_eq!(connection.failure(), None);
}

#[tokio::test]
async fn a_short_throttle_is_waited_out_and_a_long_one_is_said() {
    let moves = kafka_protocol::messages::ListPartitionReassignmentsResponse::default;
    let connection = connected(move |ask| ask.answer(&moves().with_throttle_time_ms(80))).await;
    let first = connection.moves(SOON).await.unwrap();
    assert_eq!(first.throttle, Duration::from_millis(80));
    let began = Instant::now();
    connection.moves(SOON).await.unwrap();
    assert!(
        began.elapsed() >= Duration::from_millis(60),
        "it asked too early"
    );

    // 700 ms: what takes turns on this connection would be told of two seconds late.
    for (millis, within) in [(700, SOON), (60_000, Duration::from_secs(1))] {
        let answer = move || moves().with_throttle_time_ms(millis);
        let connection = connected(move |ask| ask.answer(&answer())).await;
        connection.moves(SOON).await.unwrap();
        let failure = soon(connection.moves(within)).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Throttled);
        assert!(connection.throttled().is_some());
        assert_eq!(
            connection.failure(),
            None,
            "throttling is no reason to hang up"
        );
    }
}

#[tokio::test]
async fn dropping_a_connection_closes_it() {
    let address = broker_with(|_| Reply::Nothing).await;
    let connection = open(&address).await.unwrap();
    let closed = connection.closed();
    drop(connection);
    assert_eq!(soon(closed).await.class, FailureClass::Closed);
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = Address::new("127.0.0.1", free.port());
    let failure = open(&refused).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(failure.detail.contains(&refused.to_string()), "{failure}");

    let nobody: Address = "no-such-host.invalid:9092".parse().unwrap();
    let failure = soon(open(&nobody)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Resolve, "{failure}");

    // A listener whose queue is full drops what knocks.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let target = full.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(target)).await
    {
        held.push(stream);
    }
    let dial = TcpDial;
    let address = Address::new("127.0.0.1", target.port());
    let dialled = dial.dial(&address, Duration::from_millis(100)).await;
    let failure = dialled.err().unwrap();
    assert_eq!(failure.class, FailureClass::ConnectTimeout, "{failure}");
}

/// The seam: any stream of bytes will do, in pieces of any size.
#[derive(Debug)]
struct InMemory(usize);

impl Dial for InMemory {
    fn dial<'a>(
        &'a self,
        _address: &'a Address,
        _deadline: Duration,
    ) -> BoxFuture<'a, Result<BoxedStream, SourceFailure>> {
        let (ours, mut theirs) = tokio::io::duplex(self.0);
        tokio::spawn(async move {
            while let Ok(length) = theirs.read_u32().await {
                let mut frame = vec![0; usize::try_from(length).unwrap()];
                theirs.read_exact(&mut frame).await.unwrap();
                let mut body = Bytes::from(frame);
                let header = decode_request_header_from_buffer(&mut body).unwrap();
                assert_eq!(body.remaining() > 0, header.request_api_version >= 3);
                let reply = (Ask {
                    header,
                    body,
                    connection: 0,
                })
                .answer(&versions(all_apis()));
                if let Reply::Send(bytes) = reply {
                    theirs.write_all(&bytes).await.unwrap();
                }
            }
        });
        Box::pin(async move { Ok(Box::new(ours) as BoxedStream) })
    }
}

#[tokio::test]
async fn any_stream_of_bytes_will_do() {
    let address = Address::new("nowhere", 1);
    for size in [1, 3, 4096] {
        let settings = ConnectionSettings::default();
        let dial = InMemory(size);
        let connection = soon(Connection::open(&dial, &address, &settings))
            .await
            .unwrap();
        assert!(connection.versions().range(3).is_some());
        soon(connection.api_versions(SOON)).await.unwrap();
    }
}
