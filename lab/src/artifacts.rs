//! Kafka releases and the JMX exporter agent, fetched from the Maven registry once and cached.
//!
//! Layout of the cache folder: `dist/RELEASE/libs/*.jar`, `agent/jmx_prometheus_javaagent.jar`,
//! `formatted/...` (see `format`), `clusters/BASE_PORT/...` (see `cluster`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::process::mortal;
use crate::release::{Logging, Release};

/// Newest agent the registry serves (measured); its pages are what the fixtures are made of.
const AGENT_VERSION: &str = "1.0.1";
/// Runs on Java 17, as everything here.
const KEYCLOAK_VERSION: &str = "26.0.8";

/// Puts jars side by side.
const COPY: &str = "dependency:copy-dependencies";
/// Unpacks archives.
const UNPACK: &str = "dependency:unpack-dependencies";

/// Why an artifact is not there.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("start `{program}`: not found; install the Debian package {package}")]
    MissingProgram {
        program: &'static str,
        package: &'static str,
    },
    #[error("use the cache folder {path}: {source}")]
    Cache { path: PathBuf, source: io::Error },
    #[error("start `{program}`: {source}")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    #[error(
        "fetch {what} by mvn ({status}); is the Maven registry reachable? Its last lines:\n{tail}"
    )]
    Maven {
        what: String,
        status: std::process::ExitStatus,
        tail: String,
    },
    #[error("prepare {what} ({status}). Its last lines:\n{tail}")]
    Prepare {
        what: &'static str,
        status: std::process::ExitStatus,
        tail: String,
    },
}

/// The folder with everything fetched.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// The jars of one release.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub release: Release,
    libs: PathBuf,
}

impl Distribution {
    /// The class path, as `java -cp` takes it.
    pub fn class_path(&self) -> String {
        format!("{}/*", self.libs.display())
    }
}

impl Cache {
    /// The folder named by `LAB_CACHE`, else `.lab/` beside the workspace's manifest.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open() -> Result<Self, ArtifactError> {
        let root = match std::env::var_os("LAB_CACHE") {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => workspace_root().join(".lab"),
        };
        Self::at(root)
    }

    /// Uses this folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let root = root.into();
        let made = fs::create_dir_all(&root).and_then(|()| fs::canonicalize(&root));
        match made {
            Ok(root) => Ok(Self { root }),
            Err(source) => Err(ArtifactError::Cache { path: root, source }),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The jars of `release`, fetched first when missing (6-20 s). Blocks.
    ///
    /// # Errors
    /// When java or mvn are missing, or the registry does not serve the release.
    pub fn kafka(&self, release: Release) -> Result<Distribution, ArtifactError> {
        require("java", "openjdk-17-jre-headless")?;
        require("setpriv", "util-linux")?;
        let home = self.root.join("dist").join(release.to_string());
        let what = format!("Kafka {release}");
        self.fetch_into(&home, &what, &kafka_pom(release), COPY, |_| Ok(()))?;
        Ok(Distribution {
            release,
            libs: home.join("libs"),
        })
    }

    /// The JMX exporter's Java agent, fetched first when missing. Blocks.
    ///
    /// # Errors
    /// As [`Cache::kafka`].
    pub fn jmx_agent(&self) -> Result<PathBuf, ArtifactError> {
        let home = self.root.join("agent").join(AGENT_VERSION);
        let what = "the JMX exporter agent";
        self.fetch_into(&home, what, &agent_pom(), COPY, |_| Ok(()))?;
        Ok(home
            .join("libs")
            .join(format!("jmx_prometheus_javaagent-{AGENT_VERSION}.jar")))
    }

    /// The home of a Keycloak that imports this realm, fetched (150 MB) and prepared first when
    /// missing. Blocks.
    ///
    /// # Errors
    /// As [`Cache::kafka`], and when it cannot be prepared.
    pub fn keycloak(&self, realm: &str) -> Result<PathBuf, ArtifactError> {
        require("java", "openjdk-17-jre-headless")?;
        let name = format!("keycloak-{KEYCLOAK_VERSION}");
        let home = self.root.join("dist").join(&name);
        let within = Path::new("libs").join(&name);
        let prepare = |work: &Path| prepare_keycloak(&work.join(&within), realm);
        self.fetch_into(&home, "Keycloak", &keycloak_pom(), UNPACK, prepare)?;
        Ok(home.join(within))
    }

    /// Held by one process at a time, so that two labs do not build the same thing.
    pub(crate) fn lock(&self) -> Result<File, ArtifactError> {
        let path = self.root.join("fetch.lock");
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| ArtifactError::Cache { path, source })
    }

    /// Fetches by a goal of Maven's dependency plugin, and prepares what came before it is used.
    fn fetch_into(
        &self,
        home: &Path,
        what: &str,
        pom: &str,
        goal: &str,
        prepare: impl Fn(&Path) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        if home.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        if home.exists() {
            return Ok(());
        }
        require("mvn", "maven")?;
        tracing::info!(what, "fetching by mvn, this takes 5-20 s");
        let cache_error = |source| ArtifactError::Cache {
            path: self.root.clone(),
            source,
        };
        let work = tempfile::tempdir_in(&self.root).map_err(cache_error)?;
        fs::write(work.path().join("pom.xml"), pom).map_err(cache_error)?;
        fetch(work.path(), what, goal)?;
        prepare(work.path())?;
        if let Some(parent) = home.parent() {
            fs::create_dir_all(parent).map_err(cache_error)?;
        }
        // The rename makes it whole or absent: a fetch that was killed leaves no half release.
        fs::rename(work.path(), home).map_err(cache_error)
    }
}

fn fetch(work: &Path, what: &str, goal: &str) -> Result<(), ArtifactError> {
    let output = mortal("mvn")
        .args(["-q", "-B", goal])
        .arg(format!("-DoutputDirectory={}", work.join("libs").display()))
        .current_dir(work)
        .output()
        .map_err(|source| ArtifactError::Start {
            program: "mvn",
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Err(ArtifactError::Maven {
        what: what.to_owned(),
        status: output.status,
        tail: tail(&text, 12),
    })
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.iter()
        .skip(from)
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// Fails unless `program` is in one of the folders of `PATH`.
pub(crate) fn require(program: &'static str, package: &'static str) -> Result<(), ArtifactError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    found
        .then_some(())
        .ok_or(ArtifactError::MissingProgram { program, package })
}

fn kafka_pom(release: Release) -> String {
    let version = release.to_string();
    let mut wanted = String::new();
    if release.has_tools() {
        wanted += &dependency("org.apache.kafka", "kafka_2.13", &version, "");
        wanted += &dependency("org.apache.kafka", "kafka-tools", &version, "");
    } else {
        // Its pom names kafka-tools-api, which the registry does not have; the broker runs without.
        let without = "<exclusions><exclusion><groupId>org.apache.kafka</groupId>\
             <artifactId>kafka-tools-api</artifactId></exclusion></exclusions>";
        wanted += &dependency("org.apache.kafka", "kafka_2.13", &version, without);
    }
    match release.logging() {
        Logging::Reload4j => {
            wanted += &dependency("org.slf4j", "slf4j-reload4j", "1.7.36", "");
        }
        Logging::Log4j2 => {
            let group = "org.apache.logging.log4j";
            wanted += &dependency(group, "log4j-slf4j-impl", "2.24.3", "");
            wanted += &dependency(group, "log4j-core", "2.24.3", "");
        }
    }
    pom(&wanted)
}

/// Keycloak builds itself anew for its options once, which takes longer than to start it.
fn prepare_keycloak(home: &Path, realm: &str) -> Result<(), ArtifactError> {
    let cache_error = |source| ArtifactError::Cache {
        path: home.to_owned(),
        source,
    };
    let import = home.join("data/import");
    fs::create_dir_all(&import).map_err(cache_error)?;
    fs::write(import.join("realm.json"), realm).map_err(cache_error)?;
    let output = mortal("bash")
        .arg(home.join("bin/kc.sh"))
        .args(["build", "--db=dev-mem"])
        .output()
        .map_err(|source| ArtifactError::Start {
            program: "bash",
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Err(ArtifactError::Prepare {
        what: "Keycloak",
        status: output.status,
        tail: tail(&text, 12),
    })
}

fn keycloak_pom() -> String {
    let zip = "<type>zip</type>\
         <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>";
    pom(&dependency(
        "org.keycloak",
        "keycloak-quarkus-dist",
        KEYCLOAK_VERSION,
        zip,
    ))
}

fn agent_pom() -> String {
    pom(&dependency(
        "io.prometheus.jmx",
        "jmx_prometheus_javaagent",
        AGENT_VERSION,
        "",
    ))
}

fn dependency(group: &str, artifact: &str, version: &str, rest: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version>{rest}</dependency>\n"
    )
}

fn pom(dependencies: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
         <modelVersion>4.0.0</modelVersion>\n\
         <groupId>lab</groupId><artifactId>lab</artifactId><version>1</version>\n\
         <packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies>\n</project>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_gets_its_log_binding_and_tools() {
        let old = kafka_pom(Release::V3_9_2);
        assert!(old.contains("slf4j-reload4j") && old.contains("kafka-tools<"));
        let new = kafka_pom(Release::V4_3_1);
        assert!(new.contains("log4j-slf4j-impl") && new.contains("log4j-core"));
        let without_tools = kafka_pom(Release::V4_4_0);
        assert!(!without_tools.contains("<artifactId>kafka-tools</artifactId>"));
        assert!(without_tools.contains("<artifactId>kafka-tools-api</artifactId></exclusion>"));
    }

    #[test]
    fn tail_keeps_the_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = require("no-such-program-here", "maven").unwrap_err();
        assert!(
            error.to_string().contains("Debian package maven"),
            "{error}"
        );
    }
}
