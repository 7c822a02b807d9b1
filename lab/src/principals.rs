//! Users and rights of a cluster with an authorizer, as the lab's super user sets them.

use std::num::NonZeroU32;

use bytes::Bytes;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, DeleteAclsRequest,
};
use kafka_protocol::protocol::StrBytes;
use ring::pbkdf2;

use crate::client::check;
use crate::cluster::{Cluster, ClusterError};

/// A right: (resource type, name, operation), in the protocol's numbers. Types: 2 topic, 3 group,
/// 4 cluster.
/// Operations: 8 describe, 10 describe configs.
pub type Acl = (i8, &'static str, i8);

/// The group that is watched where one is: the gate needs no right on any other.
pub const GROUP: &str = "orders-app";

/// What the gate may do, and no more.
pub const LEAST: [Acl; 5] = [
    (4, "kafka-cluster", 8),
    (4, "kafka-cluster", 10),
    (2, "*", 8),
    (2, "*", 10),
    (3, GROUP, 8),
];
const LITERAL: i8 = 3;
const ALLOW: i8 = 3;
/// Matches every resource type, pattern, operation or permission.
const ANY: i8 = 1;

const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

impl Cluster {
    /// Gives a principal (`User:...`) the gate's least rights.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn grant_least(&self, principal: &str) -> Result<(), ClusterError> {
        let creations = LEAST.map(|(kind, name, operation)| {
            AclCreation::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_static_str(name))
                .with_resource_pattern_type(LITERAL)
                .with_principal(StrBytes::from_string(principal.to_owned()))
                .with_host(StrBytes::from_static_str("*"))
                .with_operation(operation)
                .with_permission_type(ALLOW)
        });
        let request = CreateAclsRequest::default().with_creations(creations.to_vec());
        let answer = self.ask(self.admin_broker().await?, &request, 2).await?;
        for result in &answer.results {
            let message = result.error_message.as_ref();
            check("grant a right", result.error_code, message)?;
        }
        Ok(())
    }

    /// Takes all rights away from a principal.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn revoke_all(&self, principal: &str) -> Result<(), ClusterError> {
        self.revoke(principal, (ANY, "", ANY)).await
    }

    /// Takes one right away from a principal; of every resource where it has no name.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn revoke(
        &self,
        principal: &str,
        (kind, name, operation): Acl,
    ) -> Result<(), ClusterError> {
        let name = (!name.is_empty()).then(|| StrBytes::from_static_str(name));
        let pattern = if name.is_some() { LITERAL } else { ANY };
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(kind)
            .with_resource_name_filter(name)
            .with_pattern_type_filter(pattern)
            .with_principal_filter(Some(StrBytes::from_string(principal.to_owned())))
            .with_host_filter(None)
            .with_operation(operation)
            .with_permission_type(ANY);
        let request = DeleteAclsRequest::default().with_filters(vec![filter]);
        let answer = self.ask(self.admin_broker().await?, &request, 2).await?;
        for result in &answer.filter_results {
            let message = result.error_message.as_ref();
            check("take rights away", result.error_code, message)?;
        }
        Ok(())
    }

    /// Makes a user of SCRAM-SHA-256 and SCRAM-SHA-512 (KIP-554).
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn create_scram_user(&self, user: &str, password: &str) -> Result<(), ClusterError> {
        let hashes = [
            (1, pbkdf2::PBKDF2_HMAC_SHA256, 32),
            (2, pbkdf2::PBKDF2_HMAC_SHA512, 64),
        ];
        // Kafka takes one credential of a user per request.
        for (mechanism, hash, length) in hashes {
            let salt = b"salt of the lab";
            let mut salted = vec![0; length];
            pbkdf2::derive(hash, ITERATIONS, salt, password.as_bytes(), &mut salted);
            let credential = ScramCredentialUpsertion::default()
                .with_name(StrBytes::from_string(user.to_owned()))
                .with_mechanism(mechanism)
                .with_iterations(4096)
                .with_salt(Bytes::from_static(salt))
                .with_salted_password(Bytes::from(salted));
            let request =
                AlterUserScramCredentialsRequest::default().with_upsertions(vec![credential]);
            let answer = self.ask(self.admin_broker().await?, &request, 0).await?;
            for result in &answer.results {
                let message = result.error_message.as_ref();
                check("make a SCRAM user", result.error_code, message)?;
            }
        }
        Ok(())
    }
}
