//! Class archives (AppCDS): a JVM that finds its classes ready to map starts a node in 4 instead of
//! 5 s on two quiet cores (measured), and saves a third of the CPU time of a start.
//!
//! Once per release, a throw-away node is started, used a little and stopped with
//! `-XX:ArchiveClassesAtExit`. A JVM ignores an archive that does not fit, so nothing depends on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::artifacts::{Cache, Distribution};
use crate::cluster::{Cluster, ClusterError};
use crate::http;
use crate::release::Release;
use crate::spec::{Layout, Rules, Spec};

/// The archive of a release, inside its folder.
pub(crate) fn path(cache: &Cache, release: Release) -> PathBuf {
    cache
        .root()
        .join("dist")
        .join(release.to_string())
        .join("classes.jsa")
}

/// The option for a node, when there is an archive.
pub(crate) fn option(cache: &Cache, distribution: &Distribution) -> Option<String> {
    let path = path(cache, distribution.release);
    path.exists()
        .then(|| format!("-XX:SharedArchiveFile={}", path.display()))
}

/// Makes the archive of `release` when it is missing (15-25 s, once). A failure costs nothing but
/// time at later starts; it is logged and tried again.
pub(crate) async fn ensure(cache: &Cache, release: Release) {
    if path(cache, release).exists() {
        return;
    }
    tracing::info!(%release, "making the class archive, once per release");
    if let Err(error) = make(cache, release).await {
        tracing::warn!(%release, "no class archive, nodes start slower: failed to {error}");
    }
}

async fn make(cache: &Cache, release: Release) -> Result<(), ClusterError> {
    let target = path(cache, release);
    let folder = |source| ClusterError::Folder {
        path: target.clone(),
        source,
    };
    let lock = cache.root().join("archive.lock");
    let locked = tokio::task::spawn_blocking(move || {
        File::create(lock).and_then(|file| file.lock().map(|()| file))
    });
    let _lock = locked.await?.map_err(folder)?;
    if target.exists() {
        return Ok(());
    }
    let draft = target.with_extension("draft");
    train(release, &draft).await?;
    fs::rename(&draft, &target).map_err(folder)
}

/// A node of every role at once, so that one archive serves all.
async fn train(release: Release, draft: &Path) -> Result<(), ClusterError> {
    let layout = if release.has_kraft() {
        Layout::KraftCombined { nodes: 1 }
    } else {
        Layout::ZooKeeper { brokers: 1 }
    };
    let spec = Spec::new(layout, release).quick().rules(Rules::Small);
    let cluster = Cluster::start_training(spec, draft.to_owned()).await?;
    cluster.create_topic("classes", 2, 1, &[]).await?;
    let node = cluster.node(1)?;
    // Whether a page comes does not matter, only that its classes were loaded.
    let _ = http::metrics(node.jmx_port(), Duration::from_secs(10)).await;
    node.stop_and_wait().await?;
    Ok(())
}
