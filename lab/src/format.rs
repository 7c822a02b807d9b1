//! Formatted KRaft log folders without a JVM per node.
//!
//! `StorageTool format` takes 0.7-1.6 s a node (measured), 4 s for six on two cores. What it writes
//! depends on the node only in `meta.properties`; so it runs once per release and level on a
//! scratch folder, and each node gets a copy with its own `node.id` and `directory.id`.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::artifacts::{ArtifactError, Cache, Distribution, tail};
use crate::spec::NodeId;

const META: &str = "meta.properties";

/// Why a log folder could not be formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("write the formatted folder {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("format for Kafka {release} at level {level}: StorageTool says\n{tail}")]
    Tool {
        release: String,
        level: String,
        tail: String,
    },
}

/// A folder that `StorageTool` has formatted, to be copied for each node.
pub(crate) struct Template {
    path: PathBuf,
}

impl Template {
    /// The template for `distribution`, made first when missing (1-2 s). Blocks.
    pub(crate) fn of(
        cache: &Cache,
        distribution: &Distribution,
        level: Option<&str>,
    ) -> Result<Self, FormatError> {
        let name = format!("{}-{}", distribution.release, level.unwrap_or("own"));
        let path = cache.root().join("formatted").join(name);
        if !path.exists() {
            let _lock = cache.lock()?;
            if !path.exists() {
                make(cache, distribution, level, &path)?;
            }
        }
        Ok(Self { path })
    }

    /// Copies the template to `data` for one node of one cluster.
    pub(crate) fn copy_to(
        &self,
        data: &Path,
        cluster_id: &str,
        node: NodeId,
    ) -> Result<(), FormatError> {
        let failed = |source| FormatError::Write {
            path: data.to_owned(),
            source,
        };
        copy(&self.path, data).map_err(failed)?;
        let meta = data.join(META);
        let text = fs::read_to_string(&meta).map_err(failed)?;
        fs::write(&meta, personal(&text, cluster_id, node)).map_err(failed)
    }
}

fn make(
    cache: &Cache,
    distribution: &Distribution,
    level: Option<&str>,
    path: &Path,
) -> Result<(), FormatError> {
    let failed = |source| FormatError::Write {
        path: path.to_owned(),
        source,
    };
    let work = tempfile::tempdir_in(cache.root()).map_err(failed)?;
    let data = work.path().join("data");
    let config = work.path().join("server.properties");
    fs::write(&config, scratch_config(&data)).map_err(failed)?;
    let mut command = Command::new("java");
    command.args([
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
    ]);
    command
        .arg(distribution.class_path())
        .args(["kafka.tools.StorageTool", "format"]);
    command.args(["-t", &random_id(), "-c"]).arg(&config);
    if let Some(level) = level {
        command.args(["--release-version", level]);
    }
    let output = command.output().map_err(failed)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(FormatError::Tool {
            release: distribution.release.to_string(),
            level: level.unwrap_or("own").to_owned(),
            tail: tail(&String::from_utf8_lossy(&said), 8),
        });
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::rename(&data, path).map_err(failed)
}

fn scratch_config(data: &Path) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n",
        data.display()
    )
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// `meta.properties` of another node; releases before 3.7 have no `directory.id` to replace.
fn personal(text: &str, cluster_id: &str, node: NodeId) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some(("cluster.id", _)) => format!("cluster.id={cluster_id}\n"),
        Some(("node.id", _)) => format!("node.id={node}\n"),
        Some(("directory.id", _)) => format!("directory.id={}\n", random_id()),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// A random id as Kafka writes it: 16 bytes in URL-safe base64, never with a leading dash.
/// The standard library's hash keys are random enough here: ids only must not repeat.
pub(crate) fn random_id() -> String {
    let random = || u128::from(RandomState::new().hash_one(()));
    loop {
        let text = base64_url((random() << 64) | random());
        if !text.starts_with('-') {
            return text;
        }
    }
}

fn base64_url(bits: u128) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |index: u128| LETTERS.get((index & 63) as usize).copied().unwrap_or(b'A');
    // 21 groups of six bits and the last two bits, shifted up as base64 does.
    let groups = (0..21).map(|group| bits >> (122 - 6 * group));
    groups
        .chain([bits << 4])
        .map(|index| char::from(letter(index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_base64_as_kafka_writes_them() {
        // Vectors: base64url of 16 zero bytes, of 0..=15, and of 16 bytes of 0xff.
        assert_eq!(base64_url(0), "AAAAAAAAAAAAAAAAAAAAAA");
        let counting = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;
        assert_eq!(base64_url(counting), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!(base64_url(u128::MAX), "_____________________w");
        assert_eq!(random_id().len(), 22);
        assert_ne!(random_id(), random_id());
    }

    #[test]
    fn a_copy_gets_its_own_ids_and_keeps_the_rest() {
        let text = "#comment\nversion=1\nnode.id=1\ndirectory.id=old\ncluster.id=old\n";
        let own = personal(text, "new", 7);
        assert!(
            own.starts_with("#comment\nversion=1\nnode.id=7\ndirectory.id="),
            "{own}"
        );
        assert!(
            own.ends_with("\ncluster.id=new\n") && !own.contains("old"),
            "{own}"
        );
        assert!(!personal("node.id=1\n", "new", 7).contains("directory.id"));
    }
}
