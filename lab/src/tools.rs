//! Kafka's own command-line tools, run from the release's jars.

use std::fs;
use std::process::Stdio;

use tokio::process::Command;

use crate::artifacts::tail;
use crate::cluster::{Cluster, ClusterError};
use crate::release::Release;

impl Cluster {
    /// Runs a tool's main class (about 1 s) and answers what it prints. The bootstrap address and,
    /// with ACLs on, the super user's login are added.
    ///
    /// # Errors
    /// When it cannot be started or says that it failed.
    pub async fn tool(&self, class: &str, args: &[&str]) -> Result<String, ClusterError> {
        let cache = self.shared.cache.clone();
        let release = self
            .spec()
            .releases()
            .into_iter()
            .max()
            .unwrap_or(self.spec().release);
        let fetched = tokio::task::spawn_blocking(move || cache.kafka(release.tools())).await;
        let distribution = fetched??;
        let login = self.write_login()?;
        let run = Command::new("java")
            .args([
                "-Xmx128m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
            ])
            .arg(distribution.class_path())
            .arg(class)
            .args([
                "--bootstrap-server",
                &self.app_bootstrap(),
                "--command-config",
            ])
            .arg(&login)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let output = run.map_err(|source| ClusterError::Folder {
            path: login,
            source,
        })?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(ClusterError::Tool {
            class: class.to_owned(),
            tail: tail(&text, 12),
        })
    }

    /// Raises `metadata.version` to a release's level, for example 4.3: the last step of an
    /// upgrade.
    ///
    /// # Errors
    /// When a node does not support the level, or the tool cannot run.
    pub async fn finalize(&self, release: Release) -> Result<String, ClusterError> {
        let level = release.feature_level();
        self.tool(
            "org.apache.kafka.tools.FeatureCommand",
            &["upgrade", "--metadata", &level],
        )
        .await
    }

    fn write_login(&self) -> Result<std::path::PathBuf, ClusterError> {
        let path = self.dir().join("client.properties");
        let text = self.app_login().map(|(user, password)| {
            format!(
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
                 sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
                 required username=\"{user}\" password=\"{password}\";\n"
            )
        });
        match fs::write(&path, text.unwrap_or_default()) {
            Ok(()) => Ok(path),
            Err(source) => Err(ClusterError::Folder { path, source }),
        }
    }
}
