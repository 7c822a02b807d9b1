//! The arguments of `serve`, and of every command that can do without a file.

use clap::Args;

use super::FileArg;
use crate::config::problem::ConfigError;
use crate::config::{Flag, Loaded, Sources};

/// The arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The file.
    #[command(flatten)]
    pub file: FileArg,
    /// One gate without a file.
    #[command(flatten)]
    pub gate: GateArgs,
    /// The gate that --bootstrap, --jmx, --mode and --window are about
    #[arg(long = "gate", value_name = "NAME", default_value = "default")]
    pub gate_name: String,
    /// Where to serve HTTP, such as 127.0.0.1:10190 or :10190
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// Folder of the durable state
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// What to log, such as info or warn,upgrade_gate::kafka=debug
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// How to log: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// One gate, on the command line.
#[derive(Clone, Debug, Default, Args)]
pub struct GateArgs {
    /// Brokers to find the cluster from; with it, no file is needed
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub bootstrap: Vec<String>,
    /// Every node's JMX exporter, with {host}, {port}, {port+200}, {id}; such as {host}:7071
    #[arg(long, value_name = "TEMPLATE")]
    pub jmx: Option<String>,
    /// What to read: kafka+jmx, kafka or jmx
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// How long everything must have been healthy before opening
    #[arg(long, value_name = "DURATION")]
    pub window: Option<String>,
}

impl ServeArgs {
    /// Everything that makes up the configuration.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(self.file.file.as_deref());
        sources.flags = self.flags();
        sources
    }

    /// The settings.
    ///
    /// # Errors
    /// Every problem of the configuration; to be answered with exit code 2.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.sources().load()
    }

    fn flags(&self) -> Vec<Flag> {
        let listen = (!self.listen.is_empty()).then(|| self.listen.join(","));
        let mut flags = self.gate.flags(&self.gate_name);
        flags.extend(
            [
                flag("--listen", &["listen"], listen.as_ref()),
                flag("--data-dir", &["data_dir"], self.data_dir.as_ref()),
                flag("--log-filter", &["log", "filter"], self.log_filter.as_ref()),
                flag("--log-format", &["log", "format"], self.log_format.as_ref()),
            ]
            .into_iter()
            .flatten(),
        );
        flags
    }
}

impl GateArgs {
    /// Whether any of them was given.
    pub fn is_given(&self) -> bool {
        !self.flags("default").is_empty()
    }

    /// What the flags set, for the gate of this name.
    pub fn flags(&self, gate: &str) -> Vec<Flag> {
        let bootstrap = (!self.bootstrap.is_empty()).then(|| self.bootstrap.join(","));
        let set = |name: &str, rest: &[&str], text: Option<&String>| {
            let path: Vec<&str> = ["gates", gate]
                .into_iter()
                .chain(rest.iter().copied())
                .collect();
            flag(name, &path, text)
        };
        [
            set("--bootstrap", &["kafka", "bootstrap"], bootstrap.as_ref()),
            set("--jmx", &["jmx", "template"], self.jmx.as_ref()),
            set("--mode", &["mode"], self.mode.as_ref()),
            set("--window", &["policy", "window"], self.window.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn flag(name: &str, path: &[&str], text: Option<&String>) -> Option<Flag> {
    text.map(|text| Flag {
        name: String::from(name),
        path: path.iter().copied().map(String::from).collect(),
        text: text.clone(),
    })
}
