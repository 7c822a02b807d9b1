//! DescribeCluster: brokers (fenced ones from version 2 on) or, on the controller listener, the
//! controllers (KIP-700, KIP-919, KIP-1073; `AuthHelper.computeDescribeClusterResponse`).
//!
//! Assumed: all controllers are registered (there only from metadata.version 3.7-IV0 on,
//! `ControllerRegistrationsPublisher`).

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::metadata::some_broker;
use super::{At, Reply, code, text};
use crate::model::{Listener, NodeId};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn answer(
    at: &At<'_>,
    request: DescribeClusterRequest,
) -> Reply<DescribeClusterResponse> {
    let asked = if at.version >= 1 {
        request.endpoint_type
    } else {
        BROKERS
    };
    let own = match at.listener {
        Listener::Broker => BROKERS,
        Listener::Controller => CONTROLLERS,
    };
    if asked != own {
        return Reply::Is(mismatch(at, own));
    }
    let mut response = DescribeClusterResponse::default()
        .with_cluster_id(text(at.cluster.spec.cluster_id.clone()))
        .with_error_message(None);
    if at.version >= 1 {
        response = response.with_endpoint_type(own);
    }
    let response = match at.listener {
        Listener::Broker => brokers(at, request.include_fenced_brokers, response),
        Listener::Controller => controllers(at, response),
    };
    Reply::Is(response)
}

fn mismatch(at: &At<'_>, own: i8) -> DescribeClusterResponse {
    let (own_name, wanted) = match own {
        BROKERS => ("BROKER", "CONTROLLER"),
        _ => ("CONTROLLER", "BROKER"),
    };
    let message = format!(
        "The request was sent to an endpoint of type {own_name}, but we wanted an endpoint of type {wanted}"
    );
    // Version 0 does not know the endpoints' error.
    let error = if at.version == 0 {
        code::INVALID_REQUEST
    } else {
        code::MISMATCHED_ENDPOINT_TYPE
    };
    let mut response = DescribeClusterResponse::default()
        .with_error_code(error)
        .with_error_message(Some(text(message)));
    if at.version >= 1 {
        response = response.with_endpoint_type(own);
    }
    response
}

fn brokers(
    at: &At<'_>,
    with_fenced: bool,
    response: DescribeClusterResponse,
) -> DescribeClusterResponse {
    let image = &at.node.image;
    let mut list = Vec::new();
    let mut alive: Vec<NodeId> = Vec::new();
    for (id, registration) in &image.brokers {
        if registration.fenced && !(with_fenced && at.version >= 2) {
            continue;
        }
        let mut entry = entry(at, *id, Listener::Broker);
        if at.version >= 2 {
            entry = entry.with_is_fenced(registration.fenced);
        }
        if !registration.fenced {
            alive.push(*id);
        }
        list.push(entry);
    }
    response
        .with_controller_id(BrokerId(some_broker(at, &alive)))
        .with_brokers(list)
}

fn controllers(at: &At<'_>, response: DescribeClusterResponse) -> DescribeClusterResponse {
    let list = at
        .cluster
        .voters()
        .map(|id| entry(at, id, Listener::Controller))
        .collect();
    let leader = BrokerId(at.node.leader.unwrap_or(-1));
    response.with_controller_id(leader).with_brokers(list)
}

fn entry(at: &At<'_>, id: NodeId, listener: Listener) -> DescribeClusterBroker {
    let (host, port) = at.cluster.address(id, listener);
    DescribeClusterBroker::default()
        .with_broker_id(BrokerId(id))
        .with_host(host)
        .with_port(port)
        .with_rack(None)
}
