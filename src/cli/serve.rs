//! The arguments of `serve`, and of every command that can do without a file.

use clap::Args;

use super::{Exit, FileArg};
use crate::config::problem::ConfigError;
use crate::config::{Flag, Loaded, Sources};

/// The gate that flags are about where none is named.
const DEFAULT_GATE: &str = "default";

/// The arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The file.
    #[command(flatten)]
    pub file: FileArg,
    /// One gate without a file.
    #[command(flatten)]
    pub gate: GateArgs,
    /// The gate that --bootstrap, --jmx, --mode and --window are about [default: default]
    #[arg(long = "gate", value_name = "NAME")]
    pub gate_name: Option<String>,
    /// Where to serve HTTP, such as 127.0.0.1:10190 or :10190
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// TLS and users, in a file as Prometheus' exporters have it
    #[arg(long, value_name = "FILE")]
    pub web_config_file: Option<String>,
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
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// A bad configuration, an address that cannot be had.
    pub async fn run(self) -> anyhow::Result<Exit> {
        crate::app::serve::serve(self.load()?, self.sources()).await?;
        Ok(Exit::Open)
    }

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
        let gate = self.gate_name.as_deref();
        let mut flags = self.gate.flags(gate.unwrap_or(DEFAULT_GATE));
        flags.extend(
            [
                flag("--listen", &["listen"], listen.as_ref()),
                flag(
                    "--web-config-file",
                    &["web_config"],
                    self.web_config_file.as_ref(),
                ),
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
        !self.flags(DEFAULT_GATE).is_empty()
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

pub(super) fn flag(name: &str, path: &[&str], text: Option<&String>) -> Option<Flag> {
    text.map(|text| Flag {
        name: String::from(name),
        path: path.iter().copied().map(String::from).collect(),
        text: text.clone(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::evidence::policy::Mode;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(args: &str) -> ServeArgs {
        let args = std::iter::once("serve").chain(args.split_whitespace());
        Line::try_parse_from(args).unwrap().serve
    }

    fn of_flags(args: &ServeArgs) -> Result<Loaded, ConfigError> {
        Sources {
            flags: args.flags(),
            ..Sources::default()
        }
        .load()
    }

    #[test]
    fn two_flags_are_enough() {
        let args = parse("--bootstrap a:9092,b:9092 --jmx {host}:{port+200}");
        assert!(args.gate.is_given());
        let loaded = of_flags(&args).unwrap();
        let (name, gate) = loaded.settings.gates.iter().next().unwrap();
        assert_eq!((loaded.settings.gates.len(), name.as_str()), (1, "default"));
        assert_eq!(gate.policy.mode, Mode::KafkaJmx);
        assert_eq!(gate.kafka.as_ref().unwrap().bootstrap.len(), 2);
        let template = gate.jmx.as_ref().unwrap().template.clone().unwrap();
        assert_eq!(template, "http://{host}:{port+200}/metrics");
    }

    #[test]
    fn every_flag_reaches_its_key() {
        let args = parse(
            "--bootstrap a:1 --mode kafka --window 2s --gate eu --listen :1,127.0.0.1:2 \
             --data-dir /d --log-filter warn --log-format json",
        );
        let loaded = of_flags(&args).unwrap();
        let settings = loaded.settings;
        let (name, gate) = settings.gates.iter().next().unwrap();
        assert_eq!(name.as_str(), "eu");
        assert_eq!(gate.policy.window, Some(std::time::Duration::from_secs(2)));
        assert!(gate.jmx.is_none());
        assert_eq!(settings.listen.len(), 2);
        assert_eq!(settings.data_dir.unwrap().to_str(), Some("/d"));
        assert_eq!(settings.log.filter, "warn");
        let origins = loaded
            .effective
            .iter()
            .map(|(_, _, origin)| origin.to_string());
        assert_eq!(origins.filter(|origin| origin.starts_with("--")).count(), 7);
    }

    #[test]
    fn a_bad_flag_is_named() {
        let error = of_flags(&parse("--bootstrap a --jmx {host}:1 --log-format xml")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("[--bootstrap]") && text.contains("[--log-format]"),
            "{text}"
        );
    }
}
